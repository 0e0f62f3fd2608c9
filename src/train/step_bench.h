// Whole steps of a model with random weights on random data.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "longspan/context.h"
#include "model/model_config.h"
#include "model/optimizers.h"
#include "model/targets.h"

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
  StepBench(Context& context, const ModelConfig& config, idx_t rows, idx_t tokens, StepKind kind,
            const StepPolicy& policy);

  // Forward, backward, update; or the forward with its loss.
  void Step();
  // The two parts of a training step.
  void Differentiate();
  void Update();

  // Useful work of a step: what is computed again counts nothing.
  double Gflop() const;

 private:
  void Forward();
  View<float, 2> Hidden();  // (B*T, width) of a bare model

  Context& context_;
  const StepKind kind_;
  std::unique_ptr<TextModel> model_;
  std::vector<std::int32_t> ids_, room_;
  std::vector<std::uint8_t> roles_;
  std::optional<Targets> targets_;
  BatchView batch_;
  Tensor hidden_;  // of a bare model
  const OptimizerOptions optimizer_;
  std::optional<OptimizerState> state_;  // since the first update
  idx_t step_ = 0;
};

}  // namespace longspan
