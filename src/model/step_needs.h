// How a training step runs.
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

#include "longspan/optimizer.h"
#include "longspan/step_memory.h"
#include "longspan/tensor.h"
#include "model/bf16_weights.h"

namespace longspan {

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
  // Ranks that share the rows: what a step needs is that of one of them, the one with the most.
  int row_ranks = 1;
  // Whose state takes memory beside the weights and their gradients.
  OptimizerOptions optimizer = {};
  // Ranks of the training, which share the optimizer's state; and whether each of them gives
  // gradients back as soon as it has sent them (GradientSum::SendDuring).
  int ranks = 1;
  bool releases_gradients = false;
  // Bytes of sums of gradients over micro-batches, which a run has beside its steps.
  std::size_t sums = 0;
  // Bytes of the program beside steps and sums, for messages; 0: they speak of the step alone.
  std::size_t program = 0;
  // Says by name which parameters are not trained; empty: all are.
  std::function<bool(std::string_view name)> frozen = {};
};

}  // namespace longspan
