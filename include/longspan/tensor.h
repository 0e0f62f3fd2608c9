// Views of memory that the caller owns, and tensors that own their memory.
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "longspan/types.h"

namespace longspan {

// A strided view of rank R of elements T. The last stride is 1. A copy refers to the same memory.
template <class T, int R>
struct View {
  T* data = nullptr;
  std::array<idx_t, R> extent{};
  std::array<idx_t, R> stride{};

  View() = default;

  // Contiguous, row-major.
  View(T* base, const std::array<idx_t, R>& shape) : data(base), extent(shape) {
    idx_t step = 1;
    for (int r = R - 1; r >= 0; --r) {
      stride[static_cast<std::size_t>(r)] = step;
      step *= extent[static_cast<std::size_t>(r)];
    }
  }
  View(T* base, const std::array<idx_t, R>& shape, const std::array<idx_t, R>& steps)
      : data(base), extent(shape), stride(steps) {}

  // View<float> converts to View<const float>.
  operator View<const T, R>() const requires(!std::is_const_v<T>) { return {data, extent, stride}; }

  template <class... Index>
  requires(sizeof...(Index) == R) T& operator()(Index... index) const {
    return data[Offset({static_cast<idx_t>(index)...})];
  }

  // The sub-view at `index` of the first axis.
  View<T, R - 1> operator[](idx_t index) const requires(R > 1) {
    View<T, R - 1> sub;
    sub.data = data + index * stride[0];
    for (std::size_t r = 1; r < R; ++r) {
      sub.extent[r - 1] = extent[r];
      sub.stride[r - 1] = stride[r];
    }
    return sub;
  }

  // Rows [begin, begin + count) of the first axis.
  View Rows(idx_t begin, idx_t count) const {
    View part = *this;
    part.data = data + begin * stride[0];
    part.extent[0] = count;
    return part;
  }

  idx_t size() const {
    idx_t n = 1;
    for (const idx_t e : extent) n *= e;
    return n;
  }
  bool empty() const { return data == nullptr; }
  bool contiguous() const {
    idx_t step = 1;
    for (int r = R - 1; r >= 0; --r) {
      const auto i = static_cast<std::size_t>(r);
      if (extent[i] != 1 && stride[i] != step) return false;
      step *= extent[i];
    }
    return true;
  }

 private:
  idx_t Offset(const std::array<idx_t, R>& index) const {
    idx_t offset = 0;
    for (std::size_t r = 0; r < R; ++r) offset += index[r] * stride[r];
    return offset;
  }
};

// Bytes of one element.
std::size_t ElementBytes(DType dtype);

// "F32", "BF16", "I64", ...: the names that safetensors files use.
const char* DTypeName(DType dtype);

// A row-major tensor that owns its zero-initialised, 64-byte aligned memory. Move-only.
class Tensor {
 public:
  Tensor() = default;
  // Throws kLimit if the shape's size overflows or the system refuses the memory.
  explicit Tensor(std::vector<idx_t> shape, DType dtype = DType::kF32);

  const std::vector<idx_t>& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  idx_t size() const { return size_; }  // elements
  std::size_t bytes() const { return static_cast<std::size_t>(size_) * ElementBytes(dtype_); }
  bool empty() const { return size_ == 0; }

  void* raw() { return memory_.get(); }
  const void* raw() const { return memory_.get(); }

  // Typed access; throws kUsage when T is not the tensor's element type.
  template <class T>
  T* data();
  template <class T>
  const T* data() const;

  // Returns an fp32 view of rank R. Throws kUsage if the rank or the element type differs.
  template <int R>
  View<float, R> view();
  template <int R>
  View<const float, R> view() const;

 private:
  struct Free {
    void operator()(void* memory) const noexcept;
  };
  std::vector<idx_t> shape_;
  DType dtype_ = DType::kF32;
  idx_t size_ = 0;
  std::unique_ptr<void, Free> memory_;
};

// "(2, 3, 4)": for messages.
std::string ShapeText(const std::vector<idx_t>& shape);
template <class T, int R>
std::string ShapeText(const View<T, R>& view) {
  return ShapeText(std::vector<idx_t>(view.extent.begin(), view.extent.end()));
}

}  // namespace longspan
