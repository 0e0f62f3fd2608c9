// longspan init: a new model with random weights.

#include <filesystem>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/visual/output.h"
#include "io/escape.h"
#include "model/model_files.h"

namespace longspan::cli {
namespace {

struct InitOptions {
  std::string arch = "reformer", preset = "small", config, output;
  std::uint64_t seed = 1;
  bool overwrite = false;
};

ReformerConfig ConfigOf(const InitOptions& o) {
  Check(o.arch == "reformer", ErrorCode::kUsage,
        "init: --arch '{}' is not there yet; this version has reformer", io::Escape(o.arch));
  if (o.config.empty()) return ReformerPreset(o.preset);
  return ReadReformerConfig(o.config);
}

int RunInit(const InitOptions& o) {
  namespace fs = std::filesystem;
  const fs::path directory = o.output;
  if (!o.overwrite && fs::is_directory(directory) && !fs::is_empty(directory)) {
    Fail(ErrorCode::kUsage, "{}: not empty; --overwrite replaces the model in it",
         io::Escape(o.output));
  }
  Reformer model(ConfigOf(o));
  model.Initialise(o.seed);
  SaveReformer(model, directory);
  PrintResult(
      fmt::format("{}: reformer, {} parameters\nnext: longspan train lm -m {} --train TEXT "
                  "-o RUN\n",
                  o.output, model.parameters().count(), o.output));
  return 0;
}

}  // namespace

void RegisterInit(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("init", "create a model with random weights");
  const auto o = std::make_shared<InitOptions>();
  command->add_option("--arch", o->arch, "reformer")->capture_default_str();
  command
      ->add_option("--preset", o->preset, "tiny, small or base: byte-level, local and LSH layers")
      ->capture_default_str();
  command->add_option("--config", o->config, "a config.json instead of a preset")
      ->excludes("--preset");
  command->add_option("--seed", o->seed, "of the random weights")->capture_default_str();
  command->add_flag("--overwrite", o->overwrite, "replace the model in the directory");
  command->add_option("-o,--output", o->output, "directory to write")->required();
  command->footer(
      "Examples:\n  longspan init --arch reformer --preset small -o start\n"
      "  longspan init --config my/config.json --seed 7 -o start");
  command->callback([o, &action] { action = [o] { return RunInit(*o); }; });
}

}  // namespace longspan::cli
