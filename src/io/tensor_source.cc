#include "io/tensor_source.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/bfloat16.h"
#include "base/cancel.h"
#include "base/errors.h"
#include "base/memory_limit.h"
#include "longspan/files.h"

namespace longspan::io {
namespace {

static_assert(std::endian::native == std::endian::little, "the formats here are little-endian");

// Tensors below it are read without asking whether there is room.
constexpr std::uint64_t kLargeTensor = std::uint64_t{1} << 28;

constexpr idx_t kPiece = idx_t{1} << 17;  // elements converted at a time: 1 MiB of F64
// Bytes that are read between two looks at whether the caller still wants them.
constexpr std::size_t kBytesBetweenChecks = std::size_t{16} << 20;

// IEEE binary16. Denormals become normal floats, NaN and infinity stay what they are.
float HalfToFloat(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fu;
  const std::uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0x1fu) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -magnitude : magnitude;
}

// A double outside fp32's range becomes an infinity, without the undefined behaviour of a cast.
float DoubleToFloat(double value) {
  constexpr double kLargest = 0x1.ffffffp+127;  // halfway to 2^128: rounds to infinity from here on
  if (std::abs(value) >= kLargest) return std::copysign(HUGE_VALF, value > 0 ? 1.0f : -1.0f);
  return static_cast<float>(value);
}

template <class T, class F>
void ConvertAs(const std::byte* in, float* out, idx_t count, const F& convert) {
  for (idx_t i = 0; i < count; ++i) {
    T value;  // files do not promise alignment
    std::memcpy(&value, in + i * static_cast<idx_t>(sizeof(T)), sizeof(T));
    out[i] = convert(value);
  }
}

void Convert(DType dtype, const std::byte* in, float* out, idx_t count) {
  const auto plain = [](auto value) { return static_cast<float>(value); };
  switch (dtype) {
    case DType::kF32:
      return ConvertAs<float>(in, out, count, plain);
    case DType::kF64:
      return ConvertAs<double>(in, out, count, DoubleToFloat);
    case DType::kF16:
      return ConvertAs<std::uint16_t>(in, out, count, HalfToFloat);
    case DType::kBF16:
      return ConvertAs<bfloat16>(in, out, count, [](bfloat16 value) { return ToFloat(value); });
    case DType::kI64:
      return ConvertAs<std::int64_t>(in, out, count, plain);
    case DType::kI32:
      return ConvertAs<std::int32_t>(in, out, count, plain);
    case DType::kI16:
      return ConvertAs<std::int16_t>(in, out, count, plain);
    case DType::kI8:
      return ConvertAs<std::int8_t>(in, out, count, plain);
    case DType::kU8:
      return ConvertAs<std::uint8_t>(in, out, count, plain);
    case DType::kBool:
      return ConvertAs<std::uint8_t>(in, out, count,
                                     [](std::uint8_t value) { return value != 0 ? 1.0f : 0.0f; });
  }
}

idx_t CountNonFinite(std::span<const float> values) {
  idx_t count = 0;
  for (const float value : values) {
    count += (std::bit_cast<std::uint32_t>(value) & 0x7f800000u) == 0x7f800000u ? 1 : 0;
  }
  return count;
}

}  // namespace

class RenamedTensors final : public TensorSource {
 public:
  RenamedTensors(std::unique_ptr<TensorSource> source, const TensorNameOf& name_of,
                 std::span<const std::pair<std::string_view, std::string_view>> copies)
      : source_(std::move(source)) {
    // Entries move from table to table: a second one of as many would double the memory.
    TensorTable table = source_->TakeTable();
    while (!table.empty()) {
      auto entry = table.extract(table.begin());
      std::optional<std::string> name = name_of(entry.key());
      if (!name) continue;
      const std::string original = std::exchange(entry.key(), *std::move(name));
      const auto placed = tensors_.insert(std::move(entry));
      Check(placed.inserted, ErrorCode::kFormat,
            "{}: tensors \"{}\" and another one are both {}; one of them has to go",
            source_->source(), Escape(original), Escape(placed.position->first));
    }
    for (const auto& [copy, name] : copies) {
      const auto found = tensors_.find(name);
      if (found != tensors_.end()) tensors_.emplace(copy, found->second);
    }
  }

  const TensorTable& tensors() const override { return tensors_; }
  const std::map<std::string, std::string>& metadata() const override {
    return source_->metadata();
  }
  std::string source() const override { return source_->source(); }
  const std::vector<std::string>& warnings() const override { return source_->warnings(); }
  const std::vector<std::string>& incomplete() const override { return source_->incomplete(); }

 private:
  void ReadBytes(const TensorInfo& info, std::uint64_t offset, void* out,
                 std::size_t bytes) const override {
    source_->ReadBytes(info, offset, out, bytes);
  }

  TensorTable TakeTable() override { return std::exchange(tensors_, {}); }

  std::unique_ptr<TensorSource> source_;
  TensorTable tensors_;
};

std::unique_ptr<TensorSource> RenameTensors(
    std::unique_ptr<TensorSource> source, const TensorNameOf& name_of,
    std::span<const std::pair<std::string_view, std::string_view>> copies) {
  return std::make_unique<RenamedTensors>(std::move(source), name_of, copies);
}

const std::vector<std::string>& TensorSource::warnings() const {
  static const std::vector<std::string> none;
  return none;
}

const std::vector<std::string>& TensorSource::incomplete() const {
  static const std::vector<std::string> none;
  return none;
}

const TensorInfo& TensorSource::Info(std::string_view name) const {
  const auto found = tensors().find(name);
  Check(found != tensors().end(), ErrorCode::kFormat, "{}: no tensor \"{}\"", source(),
        Escape(name));
  return found->second;
}

void TensorSource::CheckRoom(std::string_view name, std::uint64_t bytes) const {
  if (bytes < kLargeTensor) return;
  CheckMemory(fmt::format("{}: tensor \"{}\" of shape {}", source(), Escape(name),
                          ShapeText(Info(name).shape)),
              bytes);
}

void TensorSource::ReadPieces(const TensorInfo& info, std::uint64_t offset, void* out,
                              std::size_t bytes) const {
  auto* to = static_cast<std::byte*>(out);
  do {
    CancelScope::Check();
    const std::size_t count = std::min(bytes, kBytesBetweenChecks);
    ReadBytes(info, offset, to, count);
    offset += count;
    to += count;
    bytes -= count;
  } while (bytes > 0);
}

Tensor TensorSource::Read(std::string_view name) const {
  const TensorInfo& info = Info(name);
  CheckRoom(name, info.bytes());
  Tensor tensor(info.shape, info.dtype);
  ReadPieces(info, 0, tensor.raw(), tensor.bytes());
  return tensor;
}

Tensor TensorSource::ReadFloat(std::string_view name, NonFinite non_finite) const {
  CheckRoom(name, SaturatingProduct({Info(name).size, 4}));
  Tensor tensor(Info(name).shape, DType::kF32);
  ReadFloatInto(name, {tensor.data<float>(), static_cast<std::size_t>(tensor.size())}, non_finite);
  return tensor;
}

void TensorSource::ReadFloatInto(std::string_view name, std::span<float> out,
                                 NonFinite non_finite) const {
  ReadFloatPart(name, static_cast<idx_t>(out.size()), 0, out, non_finite);
}

void TensorSource::ReadFloatPart(std::string_view name, idx_t size, idx_t begin,
                                 std::span<float> out, NonFinite non_finite) const {
  const TensorInfo& info = Info(name);
  Check(size == info.size && begin >= 0 && std::ssize(out) <= size - begin, ErrorCode::kFormat,
        "{}: tensor \"{}\" of shape {} has {} values, {} expected", source(), Escape(name),
        ShapeText(info.shape), info.size, size);
  const auto width = static_cast<idx_t>(ElementBytes(info.dtype)), end = begin + std::ssize(out);
  if (info.dtype == DType::kF32) {
    ReadPieces(info, static_cast<std::uint64_t>(begin * width), out.data(), out.size_bytes());
  } else {
    std::vector<std::byte> piece(
        static_cast<std::size_t>(std::min(std::ssize(out), kPiece) * width));
    for (idx_t i = begin; i < end; i += kPiece) {
      const idx_t count = std::min(kPiece, end - i);
      ReadPieces(info, static_cast<std::uint64_t>(i * width), piece.data(),
                 static_cast<std::size_t>(count * width));
      Convert(info.dtype, piece.data(), out.data() + (i - begin), count);
    }
  }
  if (non_finite == NonFinite::kRefuse) CheckFiniteTensor(*this, name, out);
}

void CheckFiniteTensor(const TensorSource& source, std::string_view name,
                       std::span<const float> values) {
  const idx_t bad = CountNonFinite(values);
  Check(bad == 0, ErrorCode::kFormat, "{}: tensor \"{}\": {} of {} values are NaN or infinite",
        source.source(), Escape(name), bad, std::ssize(values));
}

}  // namespace longspan::io
