// Row by row products of two arrays of heads.
#pragma once

#include "longspan/context.h"
#include "longspan/tensor.h"
#include "tensor/mixed_view.h"

namespace longspan {

// dots (B, H, T) = sum over d of a (B, H, T, D) times b, each fp32 or bf16 and with any strides but
// the last, 1. Throws kUsage on shapes that differ. Cost 2 B H T D flop.
void HeadDots(Context& context, const InView& a, const InView& b, const View<float, 3>& dots);

}  // namespace longspan
