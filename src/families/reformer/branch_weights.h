// Columns of the matrices of a reversible layer, and the memory of its saved activations.
#pragma once

#include <cstddef>

#include "base/arena.h"
#include "longspan/tensor.h"

namespace longspan {

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
