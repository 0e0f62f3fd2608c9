#include "longspan/tensor.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "base/errors.h"
#include "base/huge_pages.h"
#include "base/math.h"
#include "tensor/tensor_meter.h"

namespace longspan {
namespace {

constexpr std::size_t kAlignment = 64;  // one cache line, one AVX-512 vector

template <class T>
constexpr bool Matches(DType dtype) {
  if constexpr (std::is_same_v<T, double>) return dtype == DType::kF64;
  if constexpr (std::is_same_v<T, float>) return dtype == DType::kF32;
  if constexpr (std::is_same_v<T, bfloat16>) return dtype == DType::kBF16;
  if constexpr (std::is_same_v<T, std::int64_t>) return dtype == DType::kI64;
  if constexpr (std::is_same_v<T, std::int32_t>) return dtype == DType::kI32;
  if constexpr (std::is_same_v<T, std::uint8_t>)
    return dtype == DType::kU8 || dtype == DType::kBool;
  return false;
}

idx_t CheckedSize(const std::vector<idx_t>& shape, DType dtype) {
  idx_t size = 1;
  // The allocation is rounded up to whole cache lines, which must fit as well.
  const auto limit = (std::numeric_limits<idx_t>::max() - static_cast<idx_t>(kAlignment)) /
                     static_cast<idx_t>(ElementBytes(dtype));
  for (const idx_t extent : shape) {
    Check(extent >= 0, ErrorCode::kUsage, "tensor: negative extent in shape {}", ShapeText(shape));
    Check(extent == 0 || size <= limit / extent, ErrorCode::kLimit,
          "tensor: shape {} does not fit in 63 bits of bytes", ShapeText(shape));
    size *= extent;
  }
  return size;
}

}  // namespace

std::size_t ElementBytes(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
    case DType::kI16:
      return 2;
    case DType::kI8:
    case DType::kU8:
    case DType::kBool:
      return 1;
  }
  return 0;
}

const char* DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return "F64";
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kI64:
      return "I64";
    case DType::kI32:
      return "I32";
    case DType::kI16:
      return "I16";
    case DType::kI8:
      return "I8";
    case DType::kU8:
      return "U8";
    case DType::kBool:
      return "BOOL";
  }
  return "?";
}

namespace {
thread_local TensorMeter* meter = nullptr;
}  // namespace

TensorMeter::TensorMeter() { meter = this; }
TensorMeter::~TensorMeter() { meter = nullptr; }
TensorMeter* TensorMeter::Current() { return meter; }

void Tensor::Free::operator()(void* memory) const noexcept {
  if (metered > 0 && meter != nullptr) meter->Subtract(metered);
  if (!adopted) return std::free(memory);
  if (release) release(memory);
}

Tensor::Tensor(std::vector<idx_t> shape, DType dtype)
    : shape_(std::move(shape)), dtype_(dtype), size_(CheckedSize(shape_, dtype)) {
  if (size_ == 0) return;
  const auto rounded = RoundUp(static_cast<idx_t>(bytes()), static_cast<idx_t>(kAlignment));
  // Pages that calloc takes from the system are zero and cost nothing until they are written.
  void* memory = meter != nullptr ? std::calloc(1, static_cast<std::size_t>(rounded))
                                  : AllocatePages(static_cast<std::size_t>(rounded));
  Check(memory != nullptr, ErrorCode::kLimit, "tensor: no memory for shape {}, {} bytes",
        ShapeText(shape_), rounded);
  memory_.reset(memory);
  if (meter == nullptr) {
    std::memset(memory, 0, static_cast<std::size_t>(rounded));
  } else {
    memory_.get_deleter().metered = static_cast<std::size_t>(rounded);
    meter->Add(static_cast<std::size_t>(rounded));
  }
}

Tensor Tensor::Adopt(void* memory, std::vector<idx_t> shape, DType dtype,
                     std::function<void(void*)> release) {
  Tensor tensor;
  tensor.size_ = CheckedSize(shape, dtype);
  Check(memory != nullptr && reinterpret_cast<std::uintptr_t>(memory) % ElementBytes(dtype) == 0,
        ErrorCode::kUsage, "tensor: the adopted memory is null or not aligned to its {}",
        DTypeName(dtype));
  tensor.shape_ = std::move(shape);
  tensor.dtype_ = dtype;
  tensor.memory_ = {memory, Free(std::move(release))};
  return tensor;
}

template <class T>
T* Tensor::data() {
  return const_cast<T*>(static_cast<const Tensor*>(this)->data<T>());
}

template <class T>
const T* Tensor::data() const {
  Check(Matches<T>(dtype_), ErrorCode::kUsage, "tensor: asked for another type than its {}",
        DTypeName(dtype_));
  return static_cast<const T*>(memory_.get());
}

template <int R>
View<float, R> Tensor::view() {
  const View<const float, R> constant = static_cast<const Tensor*>(this)->view<R>();
  return {const_cast<float*>(constant.data), constant.extent, constant.stride};
}

template <int R>
View<const float, R> Tensor::view() const {
  Check(shape_.size() == R, ErrorCode::kUsage, "tensor: asked for rank {}, shape is {}", R,
        ShapeText(shape_));
  std::array<idx_t, R> extent;
  for (std::size_t r = 0; r < R; ++r) extent[r] = shape_[r];
  return {data<float>(), extent};
}

#define LONGSPAN_TYPED(T)        \
  template T* Tensor::data<T>(); \
  template const T* Tensor::data<T>() const;
LONGSPAN_TYPED(double)
LONGSPAN_TYPED(float)
LONGSPAN_TYPED(bfloat16)
LONGSPAN_TYPED(std::int64_t)
LONGSPAN_TYPED(std::int32_t)
LONGSPAN_TYPED(std::uint8_t)
#undef LONGSPAN_TYPED

#define LONGSPAN_RANK(R)                     \
  template View<float, R> Tensor::view<R>(); \
  template View<const float, R> Tensor::view<R>() const;
LONGSPAN_RANK(1)
LONGSPAN_RANK(2)
LONGSPAN_RANK(3)
LONGSPAN_RANK(4)
#undef LONGSPAN_RANK

std::string ShapeText(const std::vector<idx_t>& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + ")";
}

}  // namespace longspan
