// What a layer's products multiply, in the operand type T of a call: float or bfloat16. A call is
// any struct that has `parameters` and, where T is bfloat16, `bf16` (its bf16 weights).
#pragma once

#include "base/arena.h"
#include "gemm/gemm.h"
#include "model/bf16_weights.h"
#include "model/parameters.h"

namespace longspan {

// A matrix of the parameter table as an operand. `rows` > 0 includes rows of the next parameters.
template <class T, class Call>
View<const T, 2> WeightOf(const Call& call, ParameterId id, idx_t rows = 0) {
  if constexpr (sizeof(T) == 2) {
    return call.bf16->matrix(id, rows);
  } else {
    return call.parameters.matrix(id, rows);
  }
}

// x (T, N) as an operand: x itself, or rounded into `room` of OperandCount elements.
template <class T>
gemm::ConstMatrix Operand(Context& context, const View<const float, 2>& x, T* room) {
  if constexpr (sizeof(T) == 4) {
    (void)room;
    return x;
  } else {
    const View<bfloat16, 2> rounded(room, x.extent);
    gemm::Round(context, x, rounded);
    return rounded;
  }
}
template <class T>
idx_t OperandCount(idx_t count) {
  return sizeof(T) == 4 ? 0 : count;
}

}  // namespace longspan
