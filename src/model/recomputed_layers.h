// Encoders whose layers save their tensors or only their input: how a step is fitted into memory.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "model/model_config.h"

namespace longspan {

// The least recomputation with which a step needs `bytes` at most. In bf16 the bf16 weights go
// first, then activations, which cost three times as much time for the same memory. kLimit, with
// the numbers, if recomputing all `layers` does not suffice.
StepPolicy FitByRecomputing(const ModelConfig& config, std::size_t layers, idx_t rows, idx_t tokens,
                            std::size_t bytes, StepPolicy policy, int threads);

// The step that recomputes all `layers`, as a variant beside others.
StepVariant RecomputingVariant(const ModelConfig& config, std::size_t layers, StepPolicy policy);

}  // namespace longspan
