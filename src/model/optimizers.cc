#include "model/optimizers.h"

#include <algorithm>
#include <array>

#include "base/errors.h"
#include "base/math.h"
#include "base/memory_limit.h"
#include "longspan/files.h"
#include "ops/adafactor/adafactor.h"
#include "ops/adamw/adamw.h"
#include "ops/sgd/sgd.h"

namespace longspan {
namespace {

// Every optimizer: a new one is a folder in src/ops and a line here.
const std::array kOptimizers = {&kAdamWRow, &kAdafactorRow, &kSgdRow};

const OptimizerRow& RowOf(OptimizerKind kind) {
  const auto found = std::find_if(kOptimizers.begin(), kOptimizers.end(),
                                  [&](const OptimizerRow* row) { return row->kind == kind; });
  Check(found != kOptimizers.end(), ErrorCode::kUsage, "optimizer: {} is none",
        static_cast<int>(kind));
  return **found;
}

constexpr idx_t kSlotAlignment = 16;  // floats: 64 bytes

}  // namespace

OptimizerKind ParseOptimizer(std::string_view name) {
  for (const OptimizerRow* row : kOptimizers) {
    if (name == row->name) return row->kind;
  }
  Fail(ErrorCode::kUsage, "optimizer '{}' is unknown; use {}", io::Escape(std::string(name)),
       OptimizerChoices());
}

const char* OptimizerName(OptimizerKind kind) { return RowOf(kind).name; }

std::string OptimizerChoices() {
  std::string text;
  for (const OptimizerRow* row : kOptimizers) {
    const bool last = row == kOptimizers.back();
    text += fmt::format("{}{}", text.empty() ? "" : last ? " or " : ", ", row->name);
  }
  return text;
}

void CheckOptimizerHas(OptimizerKind kind, std::string_view option) {
  for (const OptimizerRow* row : kOptimizers) {
    const auto& own = row->own_options;
    const bool has = std::find(own.begin(), own.end(), option) != own.end();
    Check(!has || row->kind == kind, ErrorCode::kUsage,
          "optimizer: --{} is an option of {}, and has no effect on {}; leave it out", option,
          row->name, OptimizerName(kind));
  }
}

std::unique_ptr<Optimizer> MakeOptimizer(const OptimizerOptions& options) {
  return RowOf(options.kind).make(options);
}

idx_t OptimizerStateSize(const Optimizer& optimizer, const ParameterTable& table) {
  idx_t size = 0;
  for (std::size_t i = 0; i < table.list().size(); ++i) {
    if (!table.trains(static_cast<ParameterId>(i))) continue;
    for (const OptimizerSlot& slot : optimizer.State(table.list()[i].shape)) {
      size += RoundUp(slot.size(), kSlotAlignment);
    }
  }
  return size;
}

std::size_t OptimizerStateBytes(const OptimizerOptions& options, const ParameterTable& table) {
  return static_cast<std::size_t>(OptimizerStateSize(*MakeOptimizer(options), table)) *
         sizeof(float);
}

void OptimizerState::DropFrozenGradients(ParameterTable& table) const {
  for (std::size_t i = 0; i < frozen_.size(); ++i) {
    const View<float, 1> gradient = table.vector_gradient(static_cast<ParameterId>(i));
    if (frozen_[i] && gradient.data != nullptr) std::fill_n(gradient.data, gradient.size(), 0.0f);
  }
}

OptimizerState::OptimizerState(const OptimizerOptions& options, const ParameterTable& table)
    : optimizer_(MakeOptimizer(options)), frozen_(table.frozen()) {
  frozen_.resize(table.list().size(), false);
  slots_of_.resize(table.list().size(), 0);
  std::vector<idx_t> offsets;
  idx_t size = 0;
  for (std::size_t i = 0; i < frozen_.size(); ++i) {
    if (frozen_[i]) continue;
    const ParameterInfo& info = table.list()[i];
    for (OptimizerSlot& slot : optimizer_->State(info.shape)) {
      offsets.push_back(size);
      size += RoundUp(slot.size(), kSlotAlignment);
      slots_.push_back({fmt::format("{}.{}", slot.name, info.name), std::move(slot.shape), {}});
      ++slots_of_[i];
    }
  }
  CheckMemory(fmt::format("training: {} parameters, their gradients and the optimizer's state",
                          table.count()),
              SaturatingProduct({table.extent() + table.gradient_extent() + size, 4}));
  memory_ = Tensor({size});
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    idx_t count = 1;
    for (const idx_t extent : slots_[i].shape) count *= extent;
    slots_[i].values = {memory_.data<float>() + offsets[i], {count}};
  }
}

}  // namespace longspan
