// Whole steps of a model with random weights on random data.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "longspan/context.h"
#include "longspan/world.h"
#include "model/model_config.h"
#include "model/optimizers.h"
#include "model/targets.h"
#include "train/gradient_sum.h"
#include "train/run_ranks.h"
#include "train/weight_exchange.h"

namespace longspan {

enum class StepKind { kForward, kTrain };

class StepBench {
 public:
  // Makes the model and a batch without padding. The first token of each row is global if the head
  // reads it and the model has global tokens. A masked language model that reads labelled tokens
  // has labels on 15 % of them, other heads on all. A bare model's step is that of a training of
  // vectors: a forward pass, then another one with its backward. kUsage for a
  // length that the model has no positions for, kLimit, before anything is allocated, for a step
  // that needs more memory than there is.
  //
  // A training step has `micros` micro-batches of `rows` rows. The ranks of the context's world
  // share them as a training does, and policy.row_ranks neighbours the rows of each. All ranks make
  // one together, and call what follows together; kPeer. kUsage unless policy.ranks are as many as
  // the world has, and divide into groups with a micro-batch each.
  StepBench(Context& context, const ModelConfig& config, idx_t rows, idx_t tokens, StepKind kind,
            const StepPolicy& policy, idx_t micros = 1);

  // Forward, backward, update; or the forward with its loss. Ranks send each other the new weights
  // during the step that follows, and in AwaitWeights.
  void Step();
  // The two parts of a training step, after the first whole one.
  void Differentiate();
  void Update();
  void AwaitWeights();

  // Useful work of a step on this rank: what is computed again counts nothing. Ranks that share
  // rows have the same part of it each.
  double Gflop() const;
  // Micro-batches of a step, and those that this rank computes.
  idx_t micros() const { return micros_; }
  idx_t share() const { return share_; }
  // Some weights are on their way after a step of several ranks, until AwaitWeights.
  const ParameterTable& parameters() const { return model_->parameters(); }

 private:
  void Forward();
  void AllocateState();
  // Loss and gradients of one micro-batch.
  void DifferentiateMicro();
  View<float, 2> Hidden();  // (B*T, width) of a bare model

  Context& context_;
  const StepKind kind_;
  World* const world_;  // null: one process
  const int row_ranks_;
  const idx_t micros_, share_;
  std::optional<SharedRows> shared_rows_;
  std::unique_ptr<TextModel> model_;
  std::vector<std::int32_t> ids_, room_;
  std::vector<std::uint8_t> roles_;
  std::optional<Targets> targets_;
  BatchView batch_;
  Tensor hidden_;  // of a bare model
  const OptimizerOptions optimizer_;
  // Since the first step.
  std::optional<OptimizerState> state_;
  std::optional<GradientSum> sum_;
  std::optional<WeightExchange> weights_;
  idx_t step_ = 0;
};

}  // namespace longspan
