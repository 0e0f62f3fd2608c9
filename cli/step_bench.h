// Whole steps of a model with random weights on random data.
#pragma once

#include <memory>

#include "longspan/context.h"
#include "model/longformer_config.h"
#include "model/parameters.h"
#include "model/reformer_config.h"
#include "model/step_memory.h"

namespace longspan::cli {

enum class StepKind { kForward, kTrain };

class StepBench {
 public:
  StepBench(Context& context, StepKind kind) : context_(context), kind_(kind) {}
  virtual ~StepBench() = default;

  // Forward, backward, update; or the forward with its loss.
  void Step();
  // The two parts of a training step.
  virtual void Differentiate() = 0;
  void Update();

  // Useful work of a step: what is computed again counts nothing.
  virtual double Gflop() const = 0;

 protected:
  virtual ParameterTable& parameters() = 0;
  virtual void Forward() = 0;

  Context& context_;
  StepKind kind_;

 private:
  Tensor first_, second_;  // AdamW's moments
  idx_t step_ = 0;
};

// Labels stand everywhere. kUsage when the model has no positions for `tokens`.
std::unique_ptr<StepBench> MakeReformerBench(Context& context, ReformerConfig config, idx_t rows,
                                             idx_t tokens, StepKind kind, const StepPolicy& policy);

// The first token of each row is global. A masked LM has labels on 15 % of its tokens, token
// classes on all; a bare model runs forward only.
std::unique_ptr<StepBench> MakeLongformerBench(Context& context, LongformerConfig config,
                                               idx_t rows, idx_t tokens, StepKind kind,
                                               const StepPolicy& policy);

}  // namespace longspan::cli
