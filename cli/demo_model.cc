#include "cli/demo_model.h"

#include <algorithm>

#include "cli/check.h"

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

std::string DemoConfig() {
  // What is not here has the default of `transformers`.
  return R"({
    "model_type": "reformer",
    "architectures": ["ReformerModelWithLMHead"],
    "is_decoder": true,
    "vocab_size": 258,
    "hidden_size": 128,
    "feed_forward_size": 512,
    "attn_layers": ["local", "local", "lsh", "local"],
    "num_attention_heads": 4,
    "attention_head_size": 32,
    "local_attn_chunk_length": 8,
    "lsh_attn_chunk_length": 16,
    "num_buckets": null,
    "max_position_embeddings": 4096,
    "axial_pos_shape": [512, 8],
    "axial_pos_embds_dim": [16, 112],
    "axial_norm_std": 0.1,
    "initializer_range": 0.06,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "bos_token_id": null,
    "hidden_dropout_prob": 0.0,
    "local_attention_probs_dropout_prob": 0.0,
    "lsh_attention_probs_dropout_prob": 0.0
  })";
}

TrainOptions DemoRecipe() {
  TrainOptions o;
  o.optimizer.learning_rate = 5e-3;
  o.schedule.final_rate = 0.05;
  o.schedule.warmup = 20;
  o.checkpoints.overwrite = true;
  return o;
}

double SecondsPerStep(Context& context, TrainOptions options) {
  options.output = options.output.parent_path() / "timing";
  options.steps = 24;
  options.schedule.warmup = 2;
  options.checkpoints.eval_every = options.checkpoints.save_every = 0;
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
  fs::remove_all(options.output);
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
  options->schedule.warmup = std::min(options->schedule.warmup, steps / 10 + 1);
  options->checkpoints.eval_every = std::max<idx_t>(1, steps / 6);
}

}  // namespace longspan::cli
