// Reversible residual layers (Gomez et al. 2017; Reformer, section 3): y1 = x1 + f(x2),
// y2 = x2 + g(y1). The inputs are computed back from the outputs, so the memory for activations
// does not grow with the depth.
#pragma once

#include <functional>

#include "longspan/context.h"
#include "longspan/tensor.h"

namespace longspan {

// A residual function of any kind: attention, feed-forward. x and y are (T, C).
struct ReversibleBranch {
  // y += f(x)
  std::function<void(const View<const float, 2>& x, const View<float, 2>& y)> add;
  // y -= f(x), the very bits that add() added, and dx += f'(x)^T dy; parameter gradients
  // accumulate inside.
  std::function<void(const View<const float, 2>& x, const View<float, 2>& y,
                     const View<const float, 2>& dy, const View<float, 2>& dx)>
      reverse;
};

// In place: (x1, x2) becomes (y1, y2).
void ReversibleForward(const ReversibleBranch& f, const ReversibleBranch& g,
                       const View<float, 2>& x1, const View<float, 2>& x2);

// In place: (y1, y2) becomes (x1, x2), (dy1, dy2) becomes (dx1, dx2).
void ReversibleBackward(const ReversibleBranch& f, const ReversibleBranch& g,
                        const View<float, 2>& y1, const View<float, 2>& y2,
                        const View<float, 2>& dy1, const View<float, 2>& dy2);

}  // namespace longspan
