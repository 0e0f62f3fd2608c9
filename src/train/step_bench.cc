#include "train/step_bench.h"

#include <algorithm>

#include "base/errors.h"
#include "base/memory_limit.h"
#include "base/rng.h"
#include "model/step_memory.h"

namespace longspan {
namespace {

std::vector<std::int32_t> RandomIds(std::uint64_t key, idx_t count, idx_t limit) {
  Rng rng(key);
  std::vector<std::int32_t> ids;
  for (idx_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>(rng.Below(limit)));
  return ids;
}

// Refuses what cannot run, before anything is allocated.
void CheckBench(const Context& context, const ModelConfig& config, idx_t rows, idx_t tokens,
                StepKind kind, const StepPolicy& policy) {
  const TextModelInfo info = config.info();
  Check(rows >= 1 && tokens >= 1, ErrorCode::kUsage,
        "bench: {} rows of {} tokens, need at least 1 of 1; see --batch and --tokens", rows,
        tokens);
  Check(tokens <= info.longest, ErrorCode::kUsage,
        "bench: {} tokens, but the model has positions for {}", tokens, info.longest);
  const std::string what = fmt::format("bench: {} rows of {} tokens", rows, tokens);
  const auto parameters = static_cast<idx_t>(config.ParameterCount());
  const idx_t copies = kind == StepKind::kTrain ? 2 : 1;  // gradients
  // Ids, targets and two hidden states of each token at least.
  CheckMemory(what, SaturatingSum({SaturatingProduct({parameters, copies, 4}),
                                   SaturatingProduct({rows, tokens, 8 + 4 * info.width})}));
  if (kind != StepKind::kTrain) return;
  CheckMemory(what, RehearseStep(config, rows, tokens, context.threads(), policy).memory.total());
}

}  // namespace

StepBench::StepBench(Context& context, const ModelConfig& config, idx_t rows, idx_t tokens,
                     StepKind kind, const StepPolicy& policy)
    : context_(context), kind_(kind), optimizer_(policy.optimizer) {
  CheckBench(context, config, rows, tokens, kind, policy);
  model_ = config.Make(ParameterMemory::kOwn);
  FreezeAsPlanned(policy, model_->parameters());
  const TextModelInfo& info = model_->info();
  model_->Follow(policy);
  model_->Initialise(1);
  ids_ = RandomIds(2, rows * tokens, info.vocab_size);
  if (info.padding_by_id) {  // no padding, unless there is no other word
    const auto pad = static_cast<std::int32_t>(info.pad_token);
    std::replace(ids_.begin(), ids_.end(), pad, pad == 0 && info.vocab_size > 1 ? 1 : 0);
  }
  room_.resize(ids_.size());
  roles_ = RolesFor(info, rows, tokens);
  targets_.emplace(info, rows, tokens, room_);
  batch_.rows = rows;
  batch_.tokens = tokens;
  batch_.ids = ids_;
  if (!roles_.empty()) batch_.roles = {roles_.data(), {rows, tokens}};
  targets_->AddTo(&batch_);
}

double StepBench::Gflop() const {
  return kind_ == StepKind::kTrain ? model_->StepGflop(batch_) : model_->ForwardGflop(batch_);
}

void StepBench::Differentiate() {
  if (model_->info().head != HeadKind::kNone) {
    model_->LossAndGradients(context_, batch_, 1.0f, {});
    return;
  }
  const View<float, 2> hidden = Hidden();
  model_->EncodeInStep(context_, batch_, {}, hidden);
  model_->EncodeGradients(context_, batch_, hidden, {});  // any gradient will do
}

View<float, 2> StepBench::Hidden() {
  if (hidden_.empty()) hidden_ = Tensor({batch_.rows * batch_.tokens, model_->info().width});
  return hidden_.view<2>();
}

void StepBench::Forward() {
  if (model_->info().head != HeadKind::kNone) {
    model_->Loss(context_, batch_);
    return;
  }
  model_->Encode(context_, batch_, Hidden());
}

void StepBench::Step() {
  if (kind_ == StepKind::kForward) return Forward();
  ParameterTable& parameters = model_->parameters();
  if (!state_) {
    parameters.AllocateGradients();
    state_.emplace(optimizer_, parameters);
  }
  Differentiate();
  Update();
}

void StepBench::Update() {
  OptimizerStep step;
  step.step = ++step_;
  state_->Update(context_, model_->parameters(), [&](std::size_t) { return step; });
}

}  // namespace longspan
