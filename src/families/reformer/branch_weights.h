// Columns of the matrices of a reversible layer, and the memory of its saved activations.
#pragma once

#include <cstddef>

#include "base/arena.h"
#include "gemm/gemm.h"
#include "longspan/tensor.h"
#include "streams/residual_stream.h"

namespace longspan {

// Columns [begin, begin + count) of a matrix.
template <class T>
View<T, 2> Columns(const View<T, 2>& x, idx_t begin, idx_t count) {
  return {x.data + begin, {x.extent[0], count}, x.stride};
}

// The same of an operand of type T.
template <class T>
gemm::ConstMatrix OperandColumns(gemm::ConstMatrix operand, idx_t begin, idx_t count) {
  operand.data = static_cast<const T*>(operand.data) + begin;
  operand.cols = count;
  return operand;
}

// Floats that FloatRows needs for so many values: none where the stream is fp32.
inline idx_t RoomForRows(const ResidualStream& stream, idx_t values) {
  return stream.cells == StreamCells::kF32 ? 0 : values;
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
