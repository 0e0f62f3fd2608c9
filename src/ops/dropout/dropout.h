// Element-wise dropout whose mask is a pure function of (key, element): base/rng.h, Dropout.
#pragma once

#include "base/rng.h"
#include "longspan/context.h"
#include "longspan/tensor.h"

namespace longspan {

// x *= mask / (1 - p), element (t, c) of x (T, C) being element first + t*C + c of the site.
// The backward pass is the same call on the gradient. Does nothing when the site is off.
void ApplyDropout(Context& context, const Dropout& dropout, const View<float, 2>& x,
                  idx_t first = 0);

// y += x * mask / (1 - p): the residual form. x and y (T, C). With the site off y += x.
void AddDropout(Context& context, const Dropout& dropout, const View<const float, 2>& x,
                const View<float, 2>& y, idx_t first = 0);

// Both for rows of x that have numbers of their own: element (t, c) is number(t)*C + c of the site.
void ApplyDropout(Context& context, const Dropout& dropout, const View<float, 2>& x,
                  const RowNumbers& numbers);
void AddDropout(Context& context, const Dropout& dropout, const View<const float, 2>& x,
                const View<float, 2>& y, const RowNumbers& numbers);

// y -= x * mask / (1 - p): what a reversible layer undoes, bit for bit the same product.
void SubtractDropout(Context& context, const Dropout& dropout, const View<const float, 2>& x,
                     const View<float, 2>& y, idx_t first = 0);

}  // namespace longspan
