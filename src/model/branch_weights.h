// Weights and operands of a reversible layer's products in the type that the call computes in.
#pragma once

#include <cstddef>
#include <string>

#include "base/arena.h"
#include "model/bf16_weights.h"
#include "model/residual_branch.h"

namespace longspan {

// Matrix `name`, and `rows` > 0 rows of what lies behind it, as products of T read it.
template <class T>
View<const T, 2> WeightOf(const BranchCall& call, const std::string& name, idx_t rows = 0) {
  if constexpr (sizeof(T) == 2) {
    return call.half->matrix(name, rows);
  } else {
    return call.parameters.matrix(name, rows);
  }
}

// Columns [begin, begin + count) of a matrix.
template <class T>
View<T, 2> Columns(const View<T, 2>& x, idx_t begin, idx_t count) {
  return {x.data + begin, {x.extent[0], count}, x.stride};
}

// Hands out a block of memory piece by piece, as an arena's frame does.
class KeptMemory {
 public:
  explicit KeptMemory(std::byte* at) : at_(at) {}
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
