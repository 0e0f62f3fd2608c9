#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "base/errors.h"
#include "longspan/files.h"
#include "longspan/vectors.h"

namespace longspan {
namespace {

struct PrecisionRow {
  Precision precision;
  std::string_view name;
  DType type;
};
constexpr PrecisionRow kPrecisions[] = {{Precision::kFloat32, "float32", DType::kF32},
                                        {Precision::kInt8, "int8", DType::kI8},
                                        {Precision::kUBinary, "ubinary", DType::kU8}};
constexpr float kSteps = 255.0f;  // from the first of 256 values to the last

// The width of vectors, which are a matrix of this type.
idx_t WidthOfVectors(const Tensor& vectors, DType type, std::string_view what) {
  const std::vector<idx_t>& shape = vectors.shape();
  Check(shape.size() == 2 && shape[1] > 0 && vectors.dtype() == type, ErrorCode::kUsage,
        "{}: vectors {} of {}; need (N, width) of {}", what, ShapeText(shape),
        DTypeName(vectors.dtype()), DTypeName(type));
  return shape[1];
}

// The step of each place. A place of one value has the step 1, as in the package.
std::vector<float> StepsOf(const Tensor& ranges, idx_t width) {
  Check(ranges.shape() == std::vector<idx_t>({2, width}) && ranges.dtype() == DType::kF32,
        ErrorCode::kUsage, "int8: ranges {} of {}; vectors of {} numbers need (2, {}) of F32",
        ShapeText(ranges.shape()), DTypeName(ranges.dtype()), width, width);
  const float* least = ranges.data<float>();
  std::vector<float> steps(static_cast<std::size_t>(width));
  for (idx_t i = 0; i < width; ++i) {
    const float step = (least[width + i] - least[i]) / kSteps;
    steps[static_cast<std::size_t>(i)] = step == 0.0f ? 1.0f : step;
  }
  return steps;
}

Tensor ToInt8(const Tensor& vectors, idx_t width, const Tensor& ranges) {
  const std::vector<float> steps = StepsOf(ranges, width);
  const float* least = ranges.data<float>();
  Tensor result(vectors.shape(), DType::kI8);
  const float* x = vectors.data<float>();
  auto* out = static_cast<std::int8_t*>(result.raw());
  for (idx_t i = 0; i < vectors.size(); ++i) {
    const idx_t place = i % width;
    const float step = std::floor((x[i] - least[place]) / steps[static_cast<std::size_t>(place)]);
    Check(
        !std::isnan(step), ErrorCode::kNumeric,
        "int8: number {} of vector {} is {}, its range is from {} to {}: no step stands for that; "
        "look for texts or weights whose numbers are not finite",
        place, i / width, x[i], least[place], least[width + place]);
    out[i] = static_cast<std::int8_t>(std::clamp(step, 0.0f, kSteps) - 128.0f);
  }
  return result;
}

Tensor ToBits(const Tensor& vectors, idx_t width) {
  const idx_t rows = vectors.shape()[0], bytes = (width + 7) / 8;
  Tensor result({rows, bytes}, DType::kU8);
  const float* x = vectors.data<float>();
  auto* out = static_cast<std::uint8_t*>(result.raw());
  for (idx_t row = 0; row < rows; ++row) {
    for (idx_t i = 0; i < width; ++i) {
      const int bit = x[row * width + i] > 0.0f ? 0x80 >> (i % 8) : 0;
      std::uint8_t& byte = out[row * bytes + i / 8];
      byte = static_cast<std::uint8_t>(byte | bit);
    }
  }
  return result;
}

}  // namespace

std::string_view PrecisionName(Precision precision) {
  for (const PrecisionRow& row : kPrecisions) {
    if (row.precision == precision) return row.name;
  }
  return "";
}

Precision ParsePrecision(std::string_view name) {
  for (const PrecisionRow& row : kPrecisions) {
    if (row.name == name) return row.precision;
  }
  Fail(ErrorCode::kUsage, "precision: '{}' is none of float32, int8, ubinary", io::Escape(name));
}

Precision PrecisionOf(const Tensor& vectors) {
  for (const PrecisionRow& row : kPrecisions) {
    if (row.type == vectors.dtype()) return row.precision;
  }
  Fail(ErrorCode::kUsage, "vectors: of {}; need F32, I8 or U8", DTypeName(vectors.dtype()));
}

Tensor RangesOf(const Tensor& vectors) {
  const idx_t width = WidthOfVectors(vectors, DType::kF32, "int8"), rows = vectors.shape()[0];
  Check(rows >= 2, ErrorCode::kUsage,
        "int8: the ranges of {} vectors say nothing; give more texts, or ranges of others", rows);
  Tensor ranges({2, width});
  float *least = ranges.data<float>(), *largest = least + width;
  std::copy_n(vectors.data<float>(), width, least);
  std::copy_n(vectors.data<float>(), width, largest);
  for (idx_t i = width; i < vectors.size(); ++i) {
    const float x = vectors.data<float>()[i];
    least[i % width] = std::min(least[i % width], x);
    largest[i % width] = std::max(largest[i % width], x);
  }
  return ranges;
}

Tensor Quantize(const Tensor& vectors, Precision precision, const Tensor& ranges) {
  const idx_t width = WidthOfVectors(vectors, DType::kF32, PrecisionName(precision));
  if (precision == Precision::kInt8) return ToInt8(vectors, width, ranges);
  if (precision == Precision::kUBinary) return ToBits(vectors, width);
  Tensor same(vectors.shape());
  std::copy_n(vectors.data<float>(), vectors.size(), same.data<float>());
  return same;
}

Tensor Dequantize(const Tensor& vectors, const Tensor& ranges) {
  const idx_t width = WidthOfVectors(vectors, DType::kI8, "int8");
  const std::vector<float> steps = StepsOf(ranges, width);
  Tensor result(vectors.shape());
  const auto* x = static_cast<const std::int8_t*>(vectors.raw());
  float* out = result.data<float>();
  for (idx_t i = 0; i < vectors.size(); ++i) {
    const idx_t place = i % width;
    out[i] = static_cast<float>((x[i] + 128.0) * steps[static_cast<std::size_t>(place)] +
                                ranges.data<float>()[place]);
  }
  return result;
}

}  // namespace longspan
