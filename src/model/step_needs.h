// How a training step runs, and what it needs.
#pragma once

#include <cstddef>

#include "longspan/tensor.h"
#include "model/bf16_weights.h"

namespace longspan {

// Bytes of a step of LossAndGradients and AdamW over B rows of T tokens.
struct StepMemory {
  std::size_t weights = 0, gradients = 0, moments = 0;  // fp32; AdamW has two moments
  std::size_t text = 0;                                 // ids, targets, roles: (B, T) each
  // Reversible layers: residual streams and their gradients, (B*T, C) each.
  std::size_t streams = 0;
  std::size_t buckets = 0;      // that hashing layers keep between the passes, 16 bits each
  std::size_t copies = 0;       // bf16 weights
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

// How a step runs, in addition to its shape. Each family uses some of it.
struct StepPolicy {
  DType compute = DType::kF32;
  // Reversible layers: the cells of the streams' gradients, and the bytes of activations that the
  // layers may save.
  DType gradient_streams = DType::kF32;
  std::size_t keep = 0;
  // Other layers: how many of them, the first ones, save only their input; and in bf16 whose
  // matrices' bf16 weights are there at a time.
  std::size_t recompute = 0;
  LayerCopies copies = LayerCopies::kKept;
};

}  // namespace longspan
