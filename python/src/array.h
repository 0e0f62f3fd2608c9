// Arrays of NumPy, tensors of torch and anything with Python's buffer protocol, as the library's
// views. Nothing is copied.
#pragma once

#include <nanobind/nanobind.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "longspan/tensor.h"
#include "longspan/types.h"

namespace longspan::python {

// The element types that kernels read or write.
enum class Element { kF32, kBf16, kU8, kU16, kI32 };
const char* ElementName(Element element);

// The memory of one argument, and what keeps it in place.
class Array {
 public:
  // Axes at most.
  static constexpr int kMostAxes = 4;

  // `function` and `name` begin each message: "window_attention: q ...". DTypeError for what is no
  // array, lies on a device or has elements that nothing here computes with; UsageError for more
  // than kMostAxes axes and for steps that are no whole elements.
  Array(const char* function, const char* name, nanobind::handle object);
  ~Array();
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  bool none() const { return data_ == nullptr && axes_ < 0; }  // it was None
  Element element() const { return element_; }
  int axes() const { return axes_; }
  idx_t extent(int axis) const { return extent_[static_cast<std::size_t>(axis)]; }
  std::string Shape() const;

  // The view of so many axes, None as an empty view. DTypeError for another element type,
  // UsageError for other axes, for a last axis whose elements are not neighbours and, of a view to
  // be written, for memory that is read-only or has elements that overlap.
  template <class T, int R>
  View<T, R> As() const;

 private:
  void ReadBuffer(nanobind::handle object);
  void ReadTorch(nanobind::handle object);
  bool ReadExchange(nanobind::handle object);
  void CheckMemory(nanobind::handle object) const;
  [[noreturn]] void FailElement(const std::string& type) const;
  void CheckView(Element wanted, int axes, bool written) const;

  const char* function_;
  const char* name_;
  void* data_ = nullptr;
  Element element_ = Element::kF32;
  int axes_ = -1;
  std::array<idx_t, kMostAxes> extent_{}, stride_{};
  bool read_only_ = false;
  bool has_buffer_ = false;
  Py_buffer buffer_{};
};

template <class T>
struct ElementOf;
template <>
struct ElementOf<float> {
  static constexpr Element kValue = Element::kF32;
};
template <>
struct ElementOf<bfloat16> {
  static constexpr Element kValue = Element::kBf16;
};
template <>
struct ElementOf<std::uint8_t> {
  static constexpr Element kValue = Element::kU8;
};
template <>
struct ElementOf<std::uint16_t> {
  static constexpr Element kValue = Element::kU16;
};
template <>
struct ElementOf<std::int32_t> {
  static constexpr Element kValue = Element::kI32;
};

template <class T, int R>
View<T, R> Array::As() const {
  View<T, R> view;
  if (none()) return view;
  CheckView(ElementOf<std::remove_const_t<T>>::kValue, R, !std::is_const_v<T>);
  view.data = static_cast<T*>(data_);
  for (std::size_t r = 0; r < R; ++r) {
    view.extent[r] = extent_[r];
    view.stride[r] = stride_[r];
  }
  return view;
}

}  // namespace longspan::python
