#include "model/recomputed_layers.h"

#include "model/step_memory.h"

namespace longspan {
namespace {

// A step that runs each layer's forward twice: four passes of about the same work instead of three.
constexpr double kRecomputedWork = 4.0 / 3.0;

}  // namespace

StepPolicy FitByRecomputing(const ModelConfig& config, std::size_t layers, idx_t rows, idx_t tokens,
                            std::size_t bytes, StepPolicy policy, int threads) {
  policy.recompute = 0;
  policy.copies = LayerCopies::kKept;
  StepNeeds needs = RehearseStep(config, rows, tokens, threads, policy);
  if (policy.compute == DType::kBF16 && needs.memory.total() > bytes) {
    policy.copies = LayerCopies::kInTurn;
    needs = RehearseStep(config, rows, tokens, threads, policy);
  }
  while (needs.memory.total() > bytes) {
    if (policy.recompute == layers) CheckFits(needs, bytes, policy.program);
    ++policy.recompute;
    needs = RehearseStep(config, rows, tokens, threads, policy);
  }
  return policy;
}

StepVariant RecomputingVariant(const ModelConfig& config, std::size_t layers, StepPolicy policy) {
  policy.recompute = layers;
  policy.copies = LayerCopies::kInTurn;
  return {"recompute", config.Clone(), policy, kRecomputedWork};
}

}  // namespace longspan
