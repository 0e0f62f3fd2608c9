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

// A step over `rows` x `tokens`. `memory`: bytes that a training step may take, beside the program;
// 0: it saves what the model saves by default. kUsage unless there is one of config and preset.
std::unique_ptr<StepBench> MakeStepBench(Context& context, const BenchModel& model, idx_t rows,
                                         idx_t tokens, StepKind kind, DType dtype,
                                         DType gradient_streams, std::size_t memory);

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
