#include "model/parameters.h"

#include <algorithm>

#include "base/errors.h"
#include "base/math.h"
#include "base/memory_limit.h"
#include "base/rng.h"

namespace longspan {
namespace {

constexpr idx_t kFloatAlignment = 16;  // floats: 64 bytes

// Everything but the last axis counts rows: (S0, 1, d0) and (1, S1, d1) are matrices too.
std::array<idx_t, 2> MatrixShape(const ParameterInfo& info) {
  const idx_t cols = info.shape.back();
  return {info.size / cols, cols};
}

}  // namespace

void ParameterTable::Add(std::string name, std::vector<idx_t> shape, ParameterKind kind,
                         bool aligned) {
  ParameterInfo info{std::move(name), std::move(shape), kind, 0, 1};
  for (const idx_t extent : info.shape) info.size *= extent;
  if (aligned) extent_ = RoundUp(extent_, kFloatAlignment);
  info.offset = extent_;
  extent_ += info.size;
  index_.emplace(info.name, list_.size());
  list_.push_back(std::move(info));
}

void ParameterTable::Allocate() {
  CheckMemory(fmt::format("model: {} parameters", count()), SaturatingProduct({extent_, 4}));
  values_ = Tensor({extent_});
  value_data_ = values_.data<float>();
  ++generation_;
}
void ParameterTable::AllocateGradients() {
  if (has_gradients()) return;
  CheckMemory(fmt::format("training: {} parameters and their gradients", count()),
              SaturatingProduct({extent_, 8}));
  gradients_ = Tensor({extent_});
  gradient_data_ = gradients_.data<float>();
}
void ParameterTable::Borrow(float* values, float* gradients) {
  value_data_ = values;
  gradient_data_ = gradients;
  ++generation_;
}

void ParameterTable::Draw(std::uint64_t seed, double stddev, double position_stddev,
                          const std::function<bool(std::string_view name)>& which) {
  ++generation_;
  for (std::size_t i = 0; i < list_.size(); ++i) {
    if (which && !which(list_[i].name)) continue;
    float* values = value_data_ + list_[i].offset;
    const idx_t size = list_[i].size;
    switch (list_[i].kind) {
      case ParameterKind::kMatrix:
      case ParameterKind::kEmbedding:
        FillNormal(DeriveKey(seed, i), static_cast<float>(stddev), values, size);
        break;
      case ParameterKind::kPosition:
        FillNormal(DeriveKey(seed, i), static_cast<float>(position_stddev), values, size);
        break;
      case ParameterKind::kNormWeight:
        std::fill_n(values, size, 1.0f);
        break;
      case ParameterKind::kBias:
      case ParameterKind::kNormBias:
        std::fill_n(values, size, 0.0f);
        break;
    }
  }
}

const ParameterInfo& ParameterTable::at(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  Check(found != index_.end(), ErrorCode::kUsage, "parameter {}: the model has none of this name",
        name);
  return list_[found->second];
}

bool ParameterTable::contains(std::string_view name) const {
  return index_.count(std::string(name)) != 0;
}

idx_t ParameterTable::count() const {
  idx_t count = 0;
  for (const ParameterInfo& info : list_) count += info.size;
  return count;
}

View<float, 1> ParameterTable::values() {
  ++generation_;
  return {value_data_, {extent_}};
}
View<const float, 1> ParameterTable::values() const { return {value_data_, {extent_}}; }
View<float, 1> ParameterTable::gradients() const {
  Check(has_gradients(), ErrorCode::kUsage, "parameters: there are no gradients, allocate them");
  return {gradient_data_, {extent_}};
}

View<float, 1> ParameterTable::vector(std::string_view name) {
  ++generation_;
  const ParameterInfo& info = at(name);
  return {value_data_ + info.offset, {info.size}};
}
View<const float, 1> ParameterTable::vector(std::string_view name) const {
  const ParameterInfo& info = at(name);
  return {value_data_ + info.offset, {info.size}};
}

View<float, 1> ParameterTable::vector_gradient(std::string_view name) const {
  const ParameterInfo& info = at(name);
  return {gradient_data_ + info.offset, {info.size}};
}

View<float, 2> ParameterTable::MatrixOf(float* buffer, std::string_view name, idx_t rows) const {
  const ParameterInfo& info = at(name);
  auto shape = MatrixShape(info);
  if (rows > 0) shape[0] = rows;
  return {buffer + info.offset, shape};
}

View<float, 2> ParameterTable::matrix(std::string_view name, idx_t rows) {
  ++generation_;
  return MatrixOf(value_data_, name, rows);
}
View<const float, 2> ParameterTable::matrix(std::string_view name, idx_t rows) const {
  return MatrixOf(value_data_, name, rows);
}
View<float, 2> ParameterTable::matrix_gradient(std::string_view name, idx_t rows) const {
  return MatrixOf(gradient_data_, name, rows);
}

}  // namespace longspan
