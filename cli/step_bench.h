// Whole steps of a model with random weights on random data.
#pragma once

#include <cstdint>
#include <vector>

#include "longspan/context.h"
#include "longspan/tensor.h"
#include "model/reformer.h"

namespace longspan::cli {

enum class StepKind { kForward, kTrain };

// Labels stand everywhere. kUsage when the model has no positions for `tokens`.
class StepBench {
 public:
  StepBench(Context& context, ReformerConfig config, idx_t rows, idx_t tokens, StepKind kind);

  // Forward, backward, update; or the forward with its loss.
  void Step();

  // Useful work of a step: what reversible layers compute again counts nothing.
  double Gflop() const;

 private:
  Context& context_;
  Reformer model_;
  StepKind kind_;
  std::vector<std::int32_t> ids_, targets_;
  TokenBatch batch_;
  Tensor first_, second_;  // AdamW's moments
  idx_t step_ = 0;
};

}  // namespace longspan::cli
