#include "train/step_bench.h"

#include <algorithm>

#include "base/errors.h"
#include "base/memory_limit.h"
#include "base/rng.h"
#include "model/step_memory.h"
#include "train/shared_update.h"

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

World* WorldOf(const Context& context, StepKind kind) {
  World* world = kind == StepKind::kTrain ? context.world() : nullptr;
  return world != nullptr && world->size() > 1 ? world : nullptr;
}

// Micro-batches of this rank.
idx_t ShareIn(const World* world, idx_t micros, int row_ranks) {
  CheckMicroBatches(world, micros, row_ranks);
  if (world == nullptr) return micros;
  return ShareOf(micros, world->rank() / row_ranks, world->size() / row_ranks).size();
}

}  // namespace

StepBench::StepBench(Context& context, const ModelConfig& config, idx_t rows, idx_t tokens,
                     StepKind kind, const StepPolicy& policy, idx_t micros)
    : context_(context),
      kind_(kind),
      world_(WorldOf(context, kind)),
      row_ranks_(policy.row_ranks),
      micros_(micros),
      share_(ShareIn(world_, micros, policy.row_ranks)),
      optimizer_(policy.optimizer) {
  Check(policy.ranks == RanksIn(world_), ErrorCode::kUsage,
        "bench: a step of {} ranks, and there are {}", policy.ranks, RanksIn(world_));
  CheckBench(context, config, rows, tokens, kind, policy);
  if (world_ != nullptr) shared_rows_.emplace(context, row_ranks_);
  model_ = config.Make(ParameterMemory::kOwn);
  FreezeAsPlanned(policy, model_->parameters());
  const TextModelInfo& info = model_->info();
  model_->Follow(policy);
  if (context.row_group() != nullptr) model_->AgreeOnSteps(*context.row_group());
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
  if (kind_ == StepKind::kForward) return model_->ForwardGflop(batch_);
  return model_->StepGflop(batch_) * static_cast<double>(share_) / row_ranks_;
}

void StepBench::DifferentiateMicro() {
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
  if (!state_) AllocateState();
  Differentiate();
  Update();
}

void StepBench::AllocateState() {
  ParameterTable& parameters = model_->parameters();
  parameters.AllocateGradients();
  state_.emplace(optimizer_, parameters, RankIn(world_), RanksIn(world_));
  sum_.emplace(world_, micros_, parameters, state_->shares(), row_ranks_);
  weights_.emplace(world_, state_->shares());
}

void StepBench::Differentiate() {
  ParameterTable& parameters = model_->parameters();
  weights_->Send();
  const MicroRange share = sum_->share();
  for (idx_t micro = share.begin; micro < share.end; ++micro) {
    const auto sending = sum_->SendDuring(context_, parameters, micro);
    DifferentiateMicro();
    sum_->Add(context_, parameters, micro);
  }
  sum_->Finish(context_, parameters);
  if (world_ != nullptr) SharedSquaredNorm(context_, world_, *state_->shares(), parameters);
}

void StepBench::Update() {
  OptimizerStep step;
  step.step = ++step_;
  ParameterTable& parameters = model_->parameters();
  state_->Update(context_, parameters, [&](std::size_t) { return step; });
  if (world_ == nullptr) return;
  weights_->Updated(parameters);
  ClearGradients(world_, *state_->shares(), parameters);
}

void StepBench::AwaitWeights() {
  if (weights_) weights_->AwaitAll();
}

}  // namespace longspan
