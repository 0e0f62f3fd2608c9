// Weights of a reversible layer's products in the type that the call computes in, and the memory of
// its saved activations.
#pragma once

#include <cstddef>

#include "base/arena.h"
#include "families/reformer/residual_branch.h"
#include "model/bf16_weights.h"

namespace longspan {

// A matrix in operand type T, which is bf16 where the call has bf16 weights. `rows` > 0 includes
// rows of the next parameters.
template <class T>
View<const T, 2> WeightOf(const BranchCall& call, ParameterId id, idx_t rows = 0) {
  if constexpr (sizeof(T) == 2) {
    return call.bf16->matrix(id, rows);
  } else {
    return call.parameters.matrix(id, rows);
  }
}

// Columns [begin, begin + count) of a matrix.
template <class T>
View<T, 2> Columns(const View<T, 2>& x, idx_t begin, idx_t count) {
  return {x.data + begin, {x.extent[0], count}, x.stride};
}

// Gives out a call's saved activations piece by piece, as a frame of an arena would. The memory
// belongs to the caller, from the forward to the backward.
class SavedMemory {
 public:
  explicit SavedMemory(std::byte* at) : at_(at) {}
  template <class T>
  T* Take(idx_t count) {
    auto* piece = reinterpret_cast<T*>(at_);
    at_ += Arena::Bytes<T>(count);
    return piece;
  }

 private:
  std::byte* at_;
};

}  // namespace longspan
