// What a training step needs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "longspan/types.h"

#pragma GCC visibility push(default)
namespace longspan {

// Bytes of a training step, loss, gradients and update, over B rows of T tokens.
struct StepMemory {
  std::size_t weights = 0, gradients = 0;  // fp32
  std::size_t moments = 0;  // the optimizer's state, fp32: AdamW has two numbers a weight
  std::size_t text = 0;     // ids, targets, roles: (B, T) each
  // Reversible layers: residual streams and their gradients, (B*T, C) each.
  std::size_t streams = 0;
  std::size_t buckets = 0;      // that hashing layers keep between the passes, 16 bits each
  std::size_t copies = 0;       // bf16 weights
  std::size_t activations = 0;  // saved by reversible layers
  std::size_t scratch = 0;      // blocks of the arena beyond the streams, of the first step
  std::size_t sums = 0;         // further gradients, while those of several micro-batches are added

  // The sum of all parts.
  std::size_t total() const {
    return weights + gradients + moments + text + streams + buckets + copies + activations +
           scratch + sums;
  }
};

// What one update needs.
struct StepNeeds {
  idx_t rows = 0, tokens = 0;  // of a micro-batch; of a row
  StepMemory memory;           // in bytes
  double gflop = 0.0;          // useful work, without recomputation
  // Bytes that a rank sends to those that share its rows; 0: none do.
  std::uint64_t row_bytes = 0;
  // Of these, the bytes that travel while attention is computed, and the work of that, in GFLOP,
  // with recomputation.
  std::uint64_t row_bytes_beside = 0;
  double row_gflop_beside = 0.0;
};

}  // namespace longspan
#pragma GCC visibility pop
