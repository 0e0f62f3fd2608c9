#include "lab/compare.h"

#include <utility>

#include "families/reformer/family.h"
#include "families/reformer/reformer_files.h"
#include "lab/bench_timing.h"
#include "longspan/machine.h"
#include "model/step_memory.h"
#include "train/step_bench.h"

namespace longspan {

struct ComparedSteps::Impl {
  std::unique_ptr<ModelConfig> config;
};

ComparedSteps::ComparedSteps(const std::string& preset, std::string_view attention, idx_t longest)
    : impl_(std::make_unique<Impl>()) {
  ReformerConfig config = WithPositions(ReformerPreset(preset), longest);
  ChooseAttention(attention, &config);
  impl_->config = MakeModelConfig(std::move(config));
}
ComparedSteps::~ComparedSteps() = default;

// The first step books memory and makes kernels, so it is not timed, unless the step is long enough
// for that not to matter.
StepFigure ComparedSteps::Time(int threads, idx_t tokens, double expected) const {
  constexpr double kLongStep = 20.0, kShortStep = 2.0;  // seconds
  Context context(threads);
  ResetPeakRss();
  StepBench bench(context, *impl_->config, 1, tokens, StepKind::kTrain, {});
  if (expected < kLongStep) bench.Step();
  const idx_t repetitions = expected < kShortStep ? 5 : expected < kLongStep ? 3 : 1;
  const BenchTimes times = TimeBesidePeak(context, PeakOf::kFp32, bench.Gflop(), repetitions,
                                          [&bench] { bench.Step(); });
  return {times.seconds, times.fraction, PeakRssBytes()};
}

double ComparedSteps::Gflop(idx_t tokens) const {
  return RehearseStep(*impl_->config, 1, tokens).gflop;
}

void WriteLongerReformer(std::string_view config_json, idx_t tokens,
                         const std::filesystem::path& directory) {
  Reformer model(WithPositions(ParseReformerConfig(config_json, "config"), tokens));
  model.Initialise(1);
  SaveReformer(model, directory);
}

}  // namespace longspan
