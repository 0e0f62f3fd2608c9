// Scalar types that every other header uses.
#pragma once

#include <cstdint>

#pragma GCC visibility push(default)
namespace longspan {

// Extents, indices and strides: always in elements, never in bytes.
using idx_t = std::int64_t;

// Brain float: the upper half of an IEEE binary32. Storage only; arithmetic happens in fp32.
struct bfloat16 {
  std::uint16_t bits = 0;  // the upper half of an fp32
};

// Stands for "no target" among labels, as in PyTorch.
inline constexpr std::int32_t kIgnoreLabel = -100;

// Element types of tensors and of files.
enum class DType : std::uint8_t { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool };

}  // namespace longspan
#pragma GCC visibility pop
