// longspan init: a new model with random weights.

#include <filesystem>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/visual/output.h"
#include "io/escape.h"
#include "model/longformer_files.h"
#include "model/model_files.h"

namespace longspan::cli {
namespace {

struct InitOptions {
  std::string arch, preset = "small", config, output;
  std::uint64_t seed = 1;
  bool overwrite = false;
};

// Writes a new model and returns its number of parameters.
idx_t InitReformer(const InitOptions& o) {
  Reformer model(o.config.empty() ? ReformerPreset(o.preset) : ReadReformerConfig(o.config));
  model.Initialise(o.seed);
  SaveReformer(model, o.output);
  return model.parameters().count();
}

idx_t InitLongformer(const InitOptions& o) {
  Longformer model(o.config.empty() ? LongformerPreset(o.preset) : ReadLongformerConfig(o.config));
  model.Initialise(o.seed);
  SaveLongformer(model, o.output);
  return model.parameters().count();
}

int RunInit(const InitOptions& o) {
  namespace fs = std::filesystem;
  std::string arch = o.arch.empty() ? "reformer" : o.arch;
  if (o.arch.empty() && !o.config.empty()) arch = ModelType(o.config);
  const bool longformer = arch == "longformer";
  Check(longformer || arch == "reformer", ErrorCode::kUsage,
        "init: --arch '{}' is unknown; use reformer or longformer", io::Escape(arch));
  const fs::path directory = o.output;
  if (!o.overwrite && fs::is_directory(directory) && !fs::is_empty(directory)) {
    Fail(ErrorCode::kUsage, "{}: not empty; --overwrite replaces the model in it",
         io::Escape(o.output));
  }
  const idx_t parameters = longformer ? InitLongformer(o) : InitReformer(o);
  const std::string next =
      longformer ? fmt::format("longspan info {}", o.output)
                 : fmt::format("longspan train lm -m {} --train TEXT -o RUN", o.output);
  PrintResult(fmt::format("{}: {}, {} parameters\nnext: {}\n", o.output, arch, parameters, next));
  return 0;
}

}  // namespace

void RegisterInit(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("init", "create a model with random weights");
  const auto o = std::make_shared<InitOptions>();
  command->add_option("--arch", o->arch,
                      "reformer (default) or longformer; a config says it itself");
  command
      ->add_option("--preset", o->preset,
                   "tiny, small or base; reformer: bytes, local and LSH layers; longformer: masked "
                   "LM over RoBERTa's 50265 words, base as longformer-base-4096")
      ->capture_default_str();
  command->add_option("--config", o->config, "a config.json instead of a preset")
      ->excludes("--preset");
  command->add_option("--seed", o->seed, "of the random weights")->capture_default_str();
  command->add_flag("--overwrite", o->overwrite, "replace the model in the directory");
  command->add_option("-o,--output", o->output, "directory to write")->required();
  command->footer(
      "Examples:\n  longspan init --arch reformer --preset small -o start\n"
      "  longspan init --arch longformer --preset base -o long\n"
      "  longspan init --config my/config.json --seed 7 -o start");
  command->callback([o, &action] { action = [o] { return RunInit(*o); }; });
}

}  // namespace longspan::cli
