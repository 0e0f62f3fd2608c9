#include "model/parameters.h"

#include <algorithm>
#include <cstdlib>

#include "base/cancel.h"
#include "base/errors.h"
#include "base/huge_pages.h"
#include "base/math.h"
#include "base/memory_limit.h"
#include "base/rng.h"

namespace longspan {
namespace {

constexpr idx_t kFloatAlignment = 16;  // floats: 64 bytes
// Gradients begin on such a border, so that sums over blocks of them (SquaredNorm) have the same
// bits as with all that is left out, which is zero.
constexpr idx_t kGradientAlignment = 16384;

// Everything but the last axis counts rows: (S0, 1, d0) and (1, S1, d1) are matrices too.
std::array<idx_t, 2> MatrixShape(const ParameterInfo& info) {
  const idx_t cols = info.shape.back();
  return {info.size / cols, cols};
}

}  // namespace

ParameterId ParameterTable::Add(std::string name, std::vector<idx_t> shape, ParameterKind kind,
                                bool aligned) {
  ParameterInfo info{std::move(name), std::move(shape), kind, 0, 1};
  for (const idx_t extent : info.shape) info.size *= extent;
  if (aligned) extent_ = RoundUp(extent_, kFloatAlignment);
  info.offset = extent_;
  extent_ += info.size;
  const std::size_t number = list_.size();
  index_.emplace(info.name, number);
  list_.push_back(std::move(info));
  return static_cast<ParameterId>(number);
}

void ParameterTable::Allocate() {
  CheckMemory(fmt::format("model: {} parameters", count()), SaturatingProduct({extent_, 4}));
  values_ = Tensor({extent_});
  value_data_ = values_.data<float>();
  ++generation_;
}
void ParameterTable::Freeze(std::vector<bool> frozen) {
  Check(frozen.empty() || frozen.size() == list_.size(), ErrorCode::kUsage,
        "parameters: {} are frozen or not, the model has {}", frozen.size(), list_.size());
  frozen_ = std::move(frozen);
  first_stage_ = 0;
  const auto first =
      static_cast<std::size_t>(std::find(frozen_.begin(), frozen_.end(), false) - frozen_.begin());
  if (frozen_.empty()) return;
  while (first_stage_ < stages_.size() && stages_[first_stage_] <= first) ++first_stage_;
  if (has_gradients()) return;  // where they are, they stay
  gradient_begin_ = 0;
  if (first_stage_ == 0) return;
  const std::size_t number = stages_[first_stage_ - 1];
  gradient_begin_ = number < list_.size() ? list_[number].offset : extent_;
  gradient_begin_ -= gradient_begin_ % kGradientAlignment;
}
void ParameterTable::AllocateGradients() {
  if (has_gradients()) return;
  CheckMemory(fmt::format("training: {} parameters and their gradients", count()),
              SaturatingProduct({extent_ + gradient_extent(), 4}));
  // Zero, and in no memory before they are written.
  const auto bytes = static_cast<std::size_t>(gradient_extent()) * sizeof(float);
  void* const memory = AllocatePages(bytes);
  Check(memory != nullptr, ErrorCode::kLimit, "training: no memory for {} bytes of gradients",
        bytes);
  ReleasePages(memory, bytes);
  gradients_ = Tensor::Adopt(memory, {gradient_extent()}, DType::kF32, std::free);
  gradient_data_ = gradients_.data<float>();
}
void ParameterTable::ReleaseGradients(idx_t begin, idx_t end) {
  float* const data = gradient_data_ + begin;
  const auto bytes = static_cast<std::size_t>(end - begin) * sizeof(float);
  if (gradients_.empty()) {
    std::fill_n(data, end - begin, 0.0f);
  } else {
    ReleasePages(data, bytes);
  }
}
void ParameterTable::ReleaseGradientsOften() {
  if (!gradients_.empty()) UseSmallPages(gradient_data_, gradients_.bytes());
}
void ParameterTable::Borrow(float* values, float* gradients) {
  value_data_ = values;
  gradient_data_ = gradients;
  ++generation_;
}

void ParameterTable::Draw(std::uint64_t seed, double stddev, double position_stddev,
                          const std::function<bool(std::string_view name)>& which) {
  Draw(
      seed,
      [&](const ParameterInfo& info) {
        const bool position = info.kind == ParameterKind::kPosition;
        return InitialDraw{position ? position_stddev : stddev};
      },
      which);
}

void ParameterTable::Draw(std::uint64_t seed,
                          const std::function<InitialDraw(const ParameterInfo& info)>& draw,
                          const std::function<bool(std::string_view name)>& which) {
  const ParameterWriter writer = Write();
  for (std::size_t i = 0; i < list_.size(); ++i) {
    if (which && !which(list_[i].name)) continue;
    CancelScope::Check();
    float* values = value_data_ + list_[i].offset;
    const idx_t size = list_[i].size;
    switch (list_[i].kind) {
      case ParameterKind::kMatrix:
      case ParameterKind::kEmbedding:
      case ParameterKind::kPosition: {
        const InitialDraw drawn = draw(list_[i]);
        const auto stddev = static_cast<float>(drawn.stddev);
        if (drawn.cutoff) {
          FillTruncatedNormal(DeriveKey(seed, i), stddev, static_cast<float>(*drawn.cutoff), values,
                              size);
        } else {
          FillNormal(DeriveKey(seed, i), stddev, values, size);
        }
        break;
      }
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

ParameterId ParameterTable::Find(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  Check(found != index_.end(), ErrorCode::kUsage, "parameter {}: the model has none of this name",
        name);
  return static_cast<ParameterId>(found->second);
}

bool ParameterTable::contains(std::string_view name) const {
  return index_.count(std::string(name)) != 0;
}

idx_t ParameterTable::count() const {
  idx_t count = 0;
  for (const ParameterInfo& info : list_) count += info.size;
  return count;
}

bool ParameterTable::trains(ParameterId first, idx_t size) const {
  const idx_t end = at(first).offset + size;
  for (auto i = static_cast<std::size_t>(first); i < list_.size() && list_[i].offset < end; ++i) {
    if (trains(static_cast<ParameterId>(i))) return true;
  }
  return false;
}

View<const float, 1> ParameterTable::values() const { return values(0, extent_); }
View<const float, 1> ParameterTable::values(idx_t begin, idx_t end) const {
  if (to_come_ != nullptr) to_come_->Await(begin, end);
  return {value_data_ + begin, {end - begin}};
}
View<float, 1> ParameterTable::gradients() const {
  Check(has_gradients(), ErrorCode::kUsage, "parameters: there are no gradients, allocate them");
  return {gradient_data_, {gradient_extent()}};
}

idx_t ParameterTable::StageBegin(std::size_t stage) const {
  if (stage <= first_stage_) return 0;
  return GradientBegin(stage <= stages_.size() ? stages_[stage - 1] : list_.size());
}

idx_t ParameterTable::GradientBegin(std::size_t first) const {
  return (first < list_.size() ? list_[first].offset : extent_) - gradient_begin_;
}

std::vector<idx_t> ParameterTable::WholeBegins() const {
  std::vector<idx_t> begins = {0};
  for (const std::size_t number : parts_) begins.push_back(GradientBegin(number));
  for (std::size_t stage = 1; stage <= stages_.size(); ++stage) begins.push_back(StageBegin(stage));
  std::erase_if(begins, [&](idx_t begin) { return begin < 0 || begin >= gradient_extent(); });
  std::sort(begins.begin(), begins.end());
  begins.erase(std::unique(begins.begin(), begins.end()), begins.end());
  return begins;
}

float* ParameterTable::GradientOf(const ParameterInfo& info) const {
  if (gradient_data_ == nullptr || info.offset < gradient_begin_) return nullptr;
  return gradient_data_ + (info.offset - gradient_begin_);
}

View<float, 1> ParameterTable::VectorOf(float* buffer, ParameterId id) const {
  const ParameterInfo& info = at(id);
  return {buffer + info.offset, {info.size}};
}
View<const float, 1> ParameterTable::vector(ParameterId id, idx_t size) const {
  const ParameterInfo& info = at(id);
  return values(info.offset, info.offset + (size > 0 ? size : info.size));
}
View<float, 1> ParameterTable::vector_gradient(ParameterId id) const {
  const ParameterInfo& info = at(id);
  return {GradientOf(info), {info.size}};
}

View<float, 2> ParameterTable::MatrixOf(float* buffer, ParameterId id, idx_t rows) const {
  const ParameterInfo& info = at(id);
  auto shape = MatrixShape(info);
  if (rows > 0) shape[0] = rows;
  return {buffer + info.offset, shape};
}
View<const float, 2> ParameterTable::matrix(ParameterId id, idx_t rows) const {
  const View<const float, 2> view = MatrixOf(value_data_, id, rows);
  const idx_t offset = at(id).offset;
  return {values(offset, offset + view.size()).data, view.extent};
}
View<float, 2> ParameterTable::matrix_gradient(ParameterId id, idx_t rows) const {
  auto shape = MatrixShape(at(id));
  if (rows > 0) shape[0] = rows;
  return {GradientOf(at(id)), shape};
}
View<float, 2> ParameterTable::trained_gradient(ParameterId id, idx_t rows) const {
  View<float, 2> gradient = matrix_gradient(id, rows);
  if (!trains(id, gradient.size())) gradient.data = nullptr;
  return gradient;
}

}  // namespace longspan
