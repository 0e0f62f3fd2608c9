// Views of memory that the caller owns, and tensors that own their memory.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "longspan/types.h"

#pragma GCC visibility push(default)
namespace longspan {

// A strided view of rank R of elements T. The last stride is 1. A copy refers to the same memory.
template <class T, int R>
struct View {
  T* data = nullptr;              // the first element; null: an empty view
  std::array<idx_t, R> extent{};  // the size of each dimension
  std::array<idx_t, R> stride{};  // elements from one index to the next, of each dimension

  View() = default;

  // Contiguous, row-major.
  View(T* base, const std::array<idx_t, R>& shape) : data(base), extent(shape) {
    idx_t step = 1;
    for (int r = R - 1; r >= 0; --r) {
      stride[static_cast<std::size_t>(r)] = step;
      step *= extent[static_cast<std::size_t>(r)];
    }
  }
  // With the steps given: a view of a part, or transposed.
  View(T* base, const std::array<idx_t, R>& shape, const std::array<idx_t, R>& steps)
      : data(base), extent(shape), stride(steps) {}

  // View<float> converts to View<const float>.
  operator View<const T, R>() const requires(!std::is_const_v<T>) { return {data, extent, stride}; }

  // The element at these indices, which are not checked.
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

  // The number of elements.
  idx_t size() const {
    idx_t n = 1;
    for (const idx_t e : extent) n *= e;
    return n;
  }
  // Whether it shows nothing: it was made without memory.
  bool empty() const { return data == nullptr; }
  // Whether its elements lie one after another, row-major.
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

// A row-major tensor that owns its memory: zero-initialised and 64-byte aligned, unless it was
// adopted. Move-only.
class Tensor {
 public:
  Tensor() = default;
  // Throws kLimit if the shape's size overflows or the system refuses the memory.
  explicit Tensor(std::vector<idx_t> shape, DType dtype = DType::kF32);
  // A tensor on memory that somebody else allocated, row-major and not copied. `release` is called
  // with the pointer when the tensor ends, on the thread that ends it; empty: the memory stays the
  // caller's and must outlive the tensor. kUsage for a null pointer or one that is not aligned to
  // an element; then nothing is released.
  static Tensor Adopt(void* memory, std::vector<idx_t> shape, DType dtype,
                      std::function<void(void*)> release);

  // The size of each dimension.
  const std::vector<idx_t>& shape() const { return shape_; }
  // The type of an element.
  DType dtype() const { return dtype_; }
  idx_t size() const { return size_; }  // elements
  // The size of its memory.
  std::size_t bytes() const { return static_cast<std::size_t>(size_) * ElementBytes(dtype_); }
  // Whether it has no elements.
  bool empty() const { return size_ == 0; }

  // The first element, whatever its type; null if empty.
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
    std::function<void(void*)> release;  // of adopted memory
    bool adopted;
    std::size_t metered;  // bytes that a rehearsal counts
    Free() noexcept : adopted(false), metered(0) {}
    explicit Free(std::function<void(void*)> call)
        : release(std::move(call)), adopted(true), metered(0) {}
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
#pragma GCC visibility pop
