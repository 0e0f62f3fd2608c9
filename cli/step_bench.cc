#include "cli/step_bench.h"

#include <utility>

#include "base/errors.h"
#include "base/rng.h"
#include "ops/adamw/adamw.h"

namespace longspan::cli {

StepBench::StepBench(Context& context, ReformerConfig config, idx_t rows, idx_t tokens,
                     StepKind kind)
    : context_(context), model_(std::move(config)), kind_(kind) {
  Check(tokens <= model_.config().longest(), ErrorCode::kUsage,
        "bench: {} tokens, but the model has positions for {}", tokens, model_.config().longest());
  model_.Initialise(1);
  const auto count = static_cast<std::size_t>(rows * tokens);
  Rng rng(2);
  for (std::size_t i = 0; i < count; ++i) {
    ids_.push_back(static_cast<std::int32_t>(rng.Below(model_.config().vocab_size)));
    targets_.push_back(static_cast<std::int32_t>(rng.Below(model_.config().vocab_size)));
  }
  batch_ = {rows, tokens, ids_, targets_, {}};
  if (kind_ == StepKind::kForward) return;
  model_.parameters().AllocateGradients();
  const idx_t extent = model_.parameters().values().size();
  first_ = Tensor({extent});
  second_ = Tensor({extent});
}

void StepBench::Step() {
  if (kind_ == StepKind::kForward) {
    model_.Loss(context_, batch_);
    return;
  }
  const float scale = 1.0f / static_cast<float>(batch_.ids.size());
  model_.LossAndGradients(context_, batch_, scale, {});
  AdamWSpec spec;
  spec.step = ++step_;
  AdamWStep(context_, spec, model_.parameters().values(), model_.parameters().gradients(),
            first_.view<1>(), second_.view<1>());
}

double StepBench::Gflop() const {
  return kind_ == StepKind::kTrain ? model_.StepGflop(batch_.rows, batch_.tokens)
                                   : model_.ForwardGflop(batch_.rows, batch_.tokens);
}

}  // namespace longspan::cli
