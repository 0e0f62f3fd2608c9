#include "cli/step_bench.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "base/memory_limit.h"
#include "base/rng.h"
#include "model/longformer.h"
#include "model/reformer.h"
#include "model/targets.h"
#include "model/text_model.h"
#include "ops/adamw/adamw.h"

namespace longspan::cli {
namespace {

std::vector<std::int32_t> RandomIds(std::uint64_t key, idx_t count, idx_t limit) {
  Rng rng(key);
  std::vector<std::int32_t> ids;
  for (idx_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>(rng.Below(limit)));
  return ids;
}

// Refuses what cannot run, before anything is allocated.
template <class Config>
void CheckBench(Context& context, const Config& config, idx_t rows, idx_t tokens, StepKind kind,
                const StepPolicy& policy) {
  Check(rows >= 1 && tokens >= 1, ErrorCode::kUsage,
        "bench: {} rows of {} tokens, need at least 1 of 1; see --batch and --tokens", rows,
        tokens);
  Check(tokens <= config.longest(), ErrorCode::kUsage,
        "bench: {} tokens, but the model has positions for {}", tokens, config.longest());
  const std::string what = fmt::format("bench: {} rows of {} tokens", rows, tokens);
  const auto parameters = static_cast<idx_t>(ParameterCount(config));
  const idx_t copies = kind == StepKind::kTrain ? 4 : 1;  // gradients, two moments
  // Ids, targets and two hidden states of each token at least.
  CheckMemory(what, SaturatingSum({SaturatingProduct({parameters, copies, 4}),
                                   SaturatingProduct({rows, tokens, 8 + 8 * config.hidden_size})}));
  if (kind != StepKind::kTrain) return;
  CheckMemory(what, RehearseStep(config, rows, tokens, context.threads(), policy).memory.total());
}

class ReformerBench final : public StepBench {
 public:
  ReformerBench(Context& context, ReformerConfig config, idx_t rows, idx_t tokens, StepKind kind,
                const StepPolicy& policy)
      : StepBench(context, kind), model_(std::move(config)) {
    model_.ComputeIn(policy.compute);
    model_.KeepUpTo(policy.keep);
    model_.GradientStreamsIn(policy.gradient_streams);
    model_.Initialise(1);
    ids_ = RandomIds(2, rows * tokens, model_.config().vocab_size);
    room_.resize(ids_.size());
    targets_.emplace(InfoOf(model_.config()), rows, tokens, room_);
    batch_ = {rows, tokens, ids_};
    targets_->AddTo(&batch_);
  }

  double Gflop() const override {
    return kind_ == StepKind::kTrain ? model_.StepGflop(batch_.rows, batch_.tokens)
                                     : model_.ForwardGflop(batch_.rows, batch_.tokens);
  }
  void Differentiate() override { model_.LossAndGradients(context_, batch_, std::nullopt, {}); }

 private:
  ParameterTable& parameters() override { return model_.parameters(); }
  void Forward() override {
    if (model_.config().head != HeadKind::kNone) {
      model_.Loss(context_, batch_);
      return;
    }
    const idx_t n = batch_.rows * batch_.tokens, channels = model_.config().hidden_size;
    if (y1_.empty()) {
      y1_ = Tensor({n, channels});
      y2_ = Tensor({n, channels});
    }
    model_.Encode(context_, batch_, y1_.view<2>(), y2_.view<2>());
  }
  Reformer model_;
  std::vector<std::int32_t> ids_, room_;
  std::optional<Targets> targets_;
  Tensor y1_, y2_;
  ReformerBatch batch_;
};

class LongformerBench final : public StepBench {
 public:
  LongformerBench(Context& context, LongformerConfig config, idx_t rows, idx_t tokens,
                  StepKind kind, const StepPolicy& policy)
      : StepBench(context, kind), model_(std::move(config)) {
    const LongformerConfig& c = model_.config();
    model_.ComputeIn(policy.compute, policy.copies);
    plan_.recompute.assign(c.layers(), false);
    std::fill_n(plan_.recompute.begin(), policy.recompute, true);
    model_.Initialise(1);
    ids_ = RandomIds(2, rows * tokens, c.vocab_size);
    const auto pad = static_cast<std::int32_t>(c.pad_token);
    // No padding, unless there is no other word.
    std::replace(ids_.begin(), ids_.end(), pad, pad == 0 && c.vocab_size > 1 ? 1 : 0);
    roles_.assign(ids_.size(), kLocalToken);
    for (idx_t b = 0; b < rows; ++b) roles_[static_cast<std::size_t>(b * tokens)] = kGlobalToken;
    batch_.rows = rows;
    batch_.tokens = tokens;
    batch_.ids = ids_;
    batch_.roles = {roles_.data(), {rows, tokens}};
    room_.resize(ids_.size());
    targets_.emplace(InfoOf(c), rows, tokens, room_);
    targets_->AddTo(&batch_);
  }

  double Gflop() const override {
    return kind_ == StepKind::kTrain ? model_.StepGflop(batch_) : model_.ForwardGflop(batch_);
  }
  void Differentiate() override { model_.LossAndGradients(context_, batch_, plan_); }

 private:
  ParameterTable& parameters() override { return model_.parameters(); }
  void Forward() override {
    if (model_.config().head != HeadKind::kNone) {
      model_.Loss(context_, batch_);
      return;
    }
    if (hidden_.empty()) {
      hidden_ = Tensor({batch_.rows * batch_.tokens, model_.config().hidden_size});
    }
    model_.Encode(context_, batch_, hidden_.view<2>());
  }
  Longformer model_;
  LongformerStep plan_;
  std::vector<std::int32_t> ids_, room_;
  std::vector<std::uint8_t> roles_;
  std::optional<Targets> targets_;
  BatchView batch_;
  Tensor hidden_;
};

}  // namespace

void StepBench::Step() {
  if (kind_ == StepKind::kForward) return Forward();
  if (first_.empty()) {
    parameters().AllocateGradients();
    first_ = Tensor({parameters().extent()});
    second_ = Tensor({parameters().extent()});
  }
  Differentiate();
  Update();
}

void StepBench::Update() {
  AdamWSpec spec;
  spec.step = ++step_;
  AdamWStep(context_, spec, parameters().Write().values(), parameters().gradients(),
            first_.view<1>(), second_.view<1>());
}

std::unique_ptr<StepBench> MakeReformerBench(Context& context, ReformerConfig config, idx_t rows,
                                             idx_t tokens, StepKind kind,
                                             const StepPolicy& policy) {
  CheckBench(context, config, rows, tokens, kind, policy);
  return std::make_unique<ReformerBench>(context, std::move(config), rows, tokens, kind, policy);
}

std::unique_ptr<StepBench> MakeLongformerBench(Context& context, LongformerConfig config,
                                               idx_t rows, idx_t tokens, StepKind kind,
                                               const StepPolicy& policy) {
  CheckBench(context, config, rows, tokens, kind, policy);
  return std::make_unique<LongformerBench>(context, std::move(config), rows, tokens, kind, policy);
}

}  // namespace longspan::cli
