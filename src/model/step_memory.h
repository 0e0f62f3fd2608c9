// Computes the memory of a training step before it runs, without formulas: the step is rehearsed
// (longspan/context.h), and every operation books its memory as in a real step.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "longspan/types.h"
#include "model/bf16_weights.h"
#include "model/longformer_config.h"
#include "model/reformer_config.h"

namespace longspan {

// Bytes of a step of LossAndGradients and AdamW over B rows of T tokens.
struct StepMemory {
  std::size_t weights = 0, gradients = 0, moments = 0;  // fp32; AdamW has two moments
  std::size_t text = 0;                                 // ids, targets, roles: (B, T) each
  // Reformers: two residual streams and their gradients, (B*T, C) each.
  std::size_t streams = 0;
  std::size_t buckets = 0;      // that LSH layers keep between the passes, 16 bits each
  std::size_t copies = 0;       // bf16 copies of matrices
  std::size_t activations = 0;  // saved by reversible layers
  std::size_t scratch = 0;      // blocks of the arena beyond the streams, of the first step

  std::size_t total() const {
    return weights + gradients + moments + text + streams + buckets + copies + activations +
           scratch;
  }
};

struct StepNeeds {
  idx_t rows = 0, tokens = 0;
  StepMemory memory;
  double gflop = 0.0;  // useful work, without recomputation
};

// How a step runs, in addition to its shape.
struct StepPolicy {
  DType compute = DType::kF32;
  // Reformers: cells of the streams' gradients (Reformer::GradientStreamsIn).
  DType gradient_streams = DType::kF32;
  // Reformers: bytes of activations that layers may keep (Reformer::KeepUpTo).
  std::size_t keep = 0;
  // Longformers: layers, the first ones, that keep their input only; and in bf16 whose matrices'
  // copies are there at a time.
  std::size_t recompute = 0;
  LayerCopies copies = LayerCopies::kKept;
};

// Rehearses a step; takes milliseconds and next to no memory. `threads` as for a Context: each one
// has its own scratch. Throws what the step itself would throw before it computes: kUsage for a
// model without a loss or positions for `tokens`, kUsage or kLimit for a length that a layer
// refuses.
StepNeeds RehearseStep(const ReformerConfig& config, idx_t rows, idx_t tokens, int threads = 0,
                       const StepPolicy& policy = {});

// The same for a Longformer. A masked LM has labels on 15 % of the tokens, other heads on all. The
// first token is global for heads that read it.
StepNeeds RehearseStep(const LongformerConfig& config, idx_t rows, idx_t tokens, int threads = 0,
                       const StepPolicy& policy = {});

// Chooses the activations that a step saves so that it needs `bytes` at most: as many as possible,
// because saved ones are not recomputed. Throws kLimit, with the numbers, if saving nothing does
// not fit. Gradients have the same bits in all cases. Changes `keep`, `recompute` and `copies` of
// `policy`. A Longformer in bf16 first gives up bf16 weights, then activations, which cost three
// times as much time for the same memory.
StepPolicy FitStep(const ReformerConfig& config, idx_t rows, idx_t tokens, std::size_t bytes,
                   StepPolicy policy, int threads = 0);
StepPolicy FitStep(const LongformerConfig& config, idx_t rows, idx_t tokens, std::size_t bytes,
                   StepPolicy policy, int threads = 0);

// The config with positions for `tokens` tokens at least. Axial tables double their shorter axis
// until they suffice; a single table gets as many rows as there are tokens.
ReformerConfig WithPositions(ReformerConfig config, idx_t tokens);
LongformerConfig WithPositions(LongformerConfig config, idx_t tokens);

// The longest step that fits.
struct LongestStep {
  StepNeeds needs;
  std::string refused;  // why a longer text does not run; empty: its memory would not suffice
};

// Lengths are multiples of this many tokens.
constexpr idx_t kPlanTokens = 64;

// The longest rows of which a step needs `bytes` at most. `rehearse` says what one of so many
// tokens needs, as if there were positions for any length (WithPositions). kLimit when not even
// kPlanTokens tokens fit.
LongestStep FindLongestStep(const std::function<StepNeeds(idx_t tokens)>& rehearse, idx_t rows,
                            std::size_t bytes);
// For a Reformer.
LongestStep FindLongestStep(const ReformerConfig& config, idx_t rows, std::size_t bytes,
                            int threads = 0);

}  // namespace longspan
