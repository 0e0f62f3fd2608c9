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

namespace {

ParameterShares SharesOf(const Optimizer& optimizer, const ParameterTable& table, int ranks) {
  return {table, optimizer.elementwise() ? ParameterCut::kAnywhere : ParameterCut::kWhole, ranks};
}

// Elements of a slot that belong to a part of its parameter: the slot is as a whole parameter's, or
// has an element for each of the parameter's.
idx_t SizeInSlot(const OptimizerSlot& slot, const OwnedPart& part, const ParameterInfo& info) {
  return part.size() == info.size ? slot.size() : part.size();
}

// Floats of each rank's state.
std::vector<idx_t> StateSizes(const Optimizer& optimizer, const ParameterTable& table,
                              const ParameterShares& shares) {
  std::vector<idx_t> sizes(static_cast<std::size_t>(shares.ranks()), 0);
  for (const OwnedPart& part : shares.parts()) {
    const ParameterInfo& info = table.list()[part.parameter];
    for (const OptimizerSlot& slot : optimizer.State(info.shape)) {
      sizes[static_cast<std::size_t>(part.owner)] +=
          RoundUp(SizeInSlot(slot, part, info), kSlotAlignment);
    }
  }
  return sizes;
}

}  // namespace

ParameterShares SharesOf(const OptimizerOptions& options, const ParameterTable& table, int ranks) {
  return SharesOf(*MakeOptimizer(options), table, ranks);
}

std::size_t OptimizerStateBytes(const OptimizerOptions& options, const ParameterTable& table,
                                int ranks) {
  const auto optimizer = MakeOptimizer(options);
  const auto sizes = StateSizes(*optimizer, table, SharesOf(*optimizer, table, ranks));
  return static_cast<std::size_t>(*std::max_element(sizes.begin(), sizes.end())) * sizeof(float);
}

OptimizerState::OptimizerState(const OptimizerOptions& options, const ParameterTable& table,
                               int rank, int ranks)
    : optimizer_(MakeOptimizer(options)),
      shares_(std::make_shared<ParameterShares>(SharesOf(*optimizer_, table, ranks))),
      rank_(rank) {
  const idx_t size = StateSizes(*optimizer_, table, *shares_)[static_cast<std::size_t>(rank)];
  CheckMemory(fmt::format("training: {} parameters, their gradients and the optimizer's state",
                          table.count()),
              SaturatingProduct({table.extent() + table.gradient_extent() + size, 4}));
  memory_ = Tensor({size});
  float* next = memory_.data<float>();
  std::size_t slots_before = 0;  // the parameter's slots begin there
  for (std::size_t p = 0; p < shares_->parts().size(); ++p) {
    const OwnedPart& part = shares_->parts()[p];
    const ParameterInfo& info = table.list()[part.parameter];
    const std::vector<OptimizerSlot> state = optimizer_->State(info.shape);
    if (p == 0 || shares_->parts()[p - 1].parameter != part.parameter) {
      slots_before = slots_.size();
      for (const OptimizerSlot& slot : state) {
        slots_.push_back({fmt::format("{}.{}", slot.name, info.name), slot.shape, {}});
      }
    }
    if (part.owner == rank) own_.push_back({part, {}});
    for (std::size_t k = 0; k < state.size(); ++k) {
      const idx_t count = SizeInSlot(state[k], part, info);
      SlotPart here{part.begin, part.begin + count, part.owner, nullptr};
      if (part.owner == rank) {
        here.values = next;
        own_.back().state.push_back({next, {count}});
        next += RoundUp(count, kSlotAlignment);
      }
      slots_[slots_before + k].parts.push_back(here);
    }
  }
}

void OptimizerState::DropFrozenGradients(ParameterTable& table) const {
  const idx_t first = table.extent() - table.gradient_extent();
  for (std::size_t i = 0; i < table.list().size(); ++i) {
    const auto id = static_cast<ParameterId>(i);
    const View<float, 1> gradient = table.vector_gradient(id);
    if (table.trains(id) || gradient.data == nullptr) continue;
    const idx_t offset = table.at(id).offset - first;
    for (const OwnedRange& sum : shares_->sums()) {
      const idx_t begin = std::max(sum.begin - offset, idx_t{0});
      const idx_t end = std::min(sum.end - offset, gradient.size());
      if (sum.owner == rank_ && begin < end) {
        std::fill(gradient.data + begin, gradient.data + end, 0.0f);
      }
    }
  }
}

}  // namespace longspan
