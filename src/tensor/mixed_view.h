// Matrices and (B, H, T, D) arrays of fp32 or bf16 that kernels read and write row by row. Which of
// the two is looked at once a row, so a kernel exists once for both.
#pragma once

#include <array>

#include "longspan/tensor.h"

namespace longspan {

// D elements side by side.
struct InRow {
  const void* data = nullptr;
  bool bf16 = false;  // fp32 else
};
struct OutRow {
  void* data = nullptr;
  bool bf16 = false;
  operator InRow() const { return {data, bf16}; }  // NOLINT: what was written can be read
};

// Views of rank 4 whose element type is known at run time. Row is InRow or OutRow.
template <class Row>
struct MixedView {
  decltype(Row::data) data = nullptr;
  bool bf16 = false;
  std::array<idx_t, 4> extent{}, stride{};

  MixedView() = default;
  template <class T>
  MixedView(const View<T, 4>& view)  // NOLINT: a view of one type is a view of either
      : data(view.data),
        bf16(sizeof(T) == sizeof(bfloat16)),
        extent(view.extent),
        stride(view.stride) {}

  bool empty() const { return data == nullptr; }
  idx_t ElementBytes() const { return bf16 ? 2 : 4; }
  decltype(Row::data) At(idx_t element) const {
    using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<decltype(data)>>,
                                    const std::byte, std::byte>;
    return static_cast<Byte*>(data) + element * ElementBytes();
  }
  Row operator()(idx_t b, idx_t h, idx_t t) const {
    return {At(b * stride[0] + h * stride[1] + t * stride[2]), bf16};
  }
};
using InView = MixedView<InRow>;
using OutView = MixedView<OutRow>;

// Matrices (T, C) whose element type is known at run time.
template <class Row>
struct MixedMatrix {
  decltype(Row::data) data = nullptr;
  bool bf16 = false;
  std::array<idx_t, 2> extent{};
  idx_t stride = 0;  // elements from row to row

  MixedMatrix() = default;
  template <class T>
  MixedMatrix(const View<T, 2>& view)  // NOLINT: a view of one type is a view of either
      : data(view.data),
        bf16(sizeof(T) == sizeof(bfloat16)),
        extent(view.extent),
        stride(view.stride[0]) {}
  // As views are made.
  template <class T, class... Strides>
  MixedMatrix(T* base, const std::array<idx_t, 2>& shape, const Strides&... steps)
      : MixedMatrix(View<T, 2>(base, shape, steps...)) {}

  bool empty() const { return data == nullptr; }
  Row operator()(idx_t t) const {
    using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<decltype(data)>>,
                                    const std::byte, std::byte>;
    return {static_cast<Byte*>(data) + t * stride * (bf16 ? 2 : 4), bf16};
  }
};
using InMatrix = MixedMatrix<InRow>;
using OutMatrix = MixedMatrix<OutRow>;

}  // namespace longspan
