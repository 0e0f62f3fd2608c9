// Models with random weights, timed: whole steps, and generation behind long texts.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "longspan/context.h"
#include "longspan/model_info.h"
#include "train/step_bench.h"

namespace longspan {

// A config.json, or a preset of a family (empty: Reformers).
struct BenchModel {
  std::filesystem::path config;
  std::string preset, family;
  ReformerOptions reformer;
};

// A step over micro-batches of `rows` x `tokens`. `memory`: bytes that a training step may take,
// beside the program; 0: it saves what the model saves by default. Ranks of the context's world
// share a training step (StepBench).
struct BenchedStep {
  StepKind kind = StepKind::kTrain;
  idx_t rows = 1, tokens = 0;
  DType dtype = DType::kF32, gradient_streams = DType::kF32;
  std::size_t memory = 0;
  idx_t micros = 0;   // of an update; 0: one a rank, or a group that shares rows
  int row_ranks = 1;  // that share the rows of each
};
// kUsage unless there is one of config and preset.
std::unique_ptr<StepBench> MakeStepBench(Context& context, const BenchModel& model,
                                         const BenchedStep& step);

// Of texts of `context` tokens.
struct GenerateTimes {
  idx_t context = 0;
  double forward_s = 0.0;  // one forward pass over the prompt, nothing kept
  double prefill_s = 0.0;  // the same, kept: what the first token waits for
  double step_s = 0.0;     // median of a step of the whole batch
  double step_min_s = 0.0;
  std::size_t cache_bytes = 0;
};

// Generation with a Reformer that has positions for the longest context.
class GenerateBench {
 public:
  // The last `tokens` tokens of `texts` texts are timed. kUsage for contexts that are not longer.
  GenerateBench(const BenchModel& model, std::vector<idx_t> contexts, idx_t tokens, idx_t texts);
  ~GenerateBench();

  idx_t parameters() const;
  GenerateTimes Time(Context& context, idx_t length);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace longspan
