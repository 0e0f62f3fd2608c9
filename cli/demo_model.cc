#include "cli/demo_model.h"

#include <algorithm>

#include "base/errors.h"
#include "io/paths.h"

namespace longspan::cli {

namespace fs = std::filesystem;

fs::path FindNovel() {
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored).parent_path();
  for (const fs::path& candidate :
       {program / "../../data/persuasion.txt", program / "../share/longspan/persuasion.txt",
        fs::path("data/persuasion.txt")}) {
    if (fs::is_regular_file(candidate, ignored)) return fs::weakly_canonical(candidate, ignored);
  }
  Fail(ErrorCode::kIo, "demo: data/persuasion.txt is not beside the program; give --text FILE");
}

ReformerConfig DemoConfig() {
  ReformerConfig config = ReformerPreset("tiny");
  config.layers = {LayerKind::kLocal, LayerKind::kLocal, LayerKind::kLsh, LayerKind::kLocal};
  config.heads = 4;
  config.head_size = 32;
  config.local_chunk = 8;
  config.lsh_chunk = 16;
  config.max_positions = 4096;
  config.axial_shape = {512, 8};
  config.axial_dims = {16, 112};
  config.initializer_range = 0.06;
  config.axial_norm_std = 0.1;
  return config;
}

TrainOptions DemoRecipe() {
  TrainOptions o;
  o.learning_rate = 5e-3;
  o.final_rate = 0.05;
  o.warmup = 20;
  o.overwrite = true;
  return o;
}

double SecondsPerStep(Context& context, TrainOptions options) {
  options.output = options.output.parent_path() / "timing";
  options.steps = 24;
  options.warmup = 2;
  options.eval_every = options.save_every = 0;
  double first = 0.0, last = 0.0;  // seconds behind the first step and the newest
  idx_t steps = 0;                 // between them
  TrainHooks hooks;
  hooks.on_event = [&](const TrainEvent& event) {
    if (event.kind != TrainEvent::Kind::kStep) return;
    (event.step == 1 ? first : last) = event.seconds;
    steps = event.step - 1;
  };
  hooks.should_stop = [&] { return steps >= 3 && last - first > 3.0; };
  TrainLanguageModel(context, options, hooks);
  io::RemoveAll(options.output);
  return (last - first) / static_cast<double>(steps);
}

idx_t StepsFor(double minutes, double seconds_per_step) {
  constexpr idx_t kFewest = 10, kMost = 20000, kRound = 50;
  auto fit = static_cast<idx_t>(60.0 * minutes / seconds_per_step);
  if (fit > 2 * kRound) fit = fit / kRound * kRound;
  return std::clamp(fit, kFewest, kMost);
}

void SetLength(idx_t steps, TrainOptions* options) {
  options->steps = steps;
  options->warmup = std::min(options->warmup, steps / 10 + 1);
  options->eval_every = std::max<idx_t>(1, steps / 6);
}

}  // namespace longspan::cli
