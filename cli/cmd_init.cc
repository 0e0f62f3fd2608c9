// longspan init: a new model with random weights.

#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/visual/output.h"
#include "io/escape.h"
#include "model/longformer_files.h"
#include "model/model_files.h"
#include "model/model_folder.h"
#include "text/open_tokenizer.h"

namespace longspan::cli {
namespace {

struct InitOptions {
  std::string arch, preset = "small", config, tokenizer, output;
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

// The config with the vocabulary, the special ids and the token types of a tokenizer; rows stay as
// long as they were.
LongformerConfig ForTokenizer(LongformerConfig c, const text::Tokenizer& tokenizer) {
  const text::SpecialIds& ids = tokenizer.special();
  Check(ids.pad.has_value(), ErrorCode::kFormat,
        "init: the tokenizer has no padding token, which a Longformer needs");
  c.vocab_size = tokenizer.vocabulary();
  c.max_positions += *ids.pad - c.pad_token;
  c.pad_token = *ids.pad;
  c.bos_token = ids.bos ? ids.bos : ids.cls;
  c.eos_token = ids.eos ? ids.eos : ids.sep;
  c.sep_token = ids.sep ? ids.sep : ids.eos;
  const text::Encoding pair = tokenizer.EncodePair("a", "b").front();
  if (pair.size() > 0) {
    const std::int32_t last = *std::max_element(pair.type_ids.begin(), pair.type_ids.end());
    c.token_types = std::max<idx_t>(c.token_types, last + 1);
  }
  return c;
}

idx_t InitLongformer(const InitOptions& o) {
  LongformerConfig config =
      o.config.empty() ? LongformerPreset(o.preset) : ReadLongformerConfig(o.config);
  if (!o.tokenizer.empty()) {
    config = ForTokenizer(std::move(config), *text::OpenTokenizer(o.tokenizer));
  }
  Longformer model(std::move(config));
  model.Initialise(o.seed);
  SaveLongformer(model, o.output);
  if (!o.tokenizer.empty()) CopyTokenizer(o.tokenizer, o.output);
  return model.parameters().count();
}

int RunInit(const InitOptions& o) {
  namespace fs = std::filesystem;
  std::string arch = o.arch.empty() ? "reformer" : o.arch;
  if (o.arch.empty() && !o.config.empty()) arch = ModelType(o.config);
  const bool longformer = arch == "longformer";
  Check(longformer || arch == "reformer", ErrorCode::kUsage,
        "init: --arch '{}' is unknown; use reformer or longformer", io::Escape(arch));
  Check(longformer || o.tokenizer.empty(), ErrorCode::kUsage,
        "init: --tokenizer is for Longformers; Reformers read bytes");
  const fs::path directory = o.output;
  if (!o.overwrite && fs::is_directory(directory) && !fs::is_empty(directory)) {
    Fail(ErrorCode::kUsage, "{}: not empty; --overwrite replaces the model in it",
         io::Escape(o.output));
  }
  const idx_t parameters = longformer ? InitLongformer(o) : InitReformer(o);
  const std::string next =
      longformer ? fmt::format("longspan train mlm -m {} --train TEXT -o RUN", o.output)
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
  command->add_option("--tokenizer", o->tokenizer,
                      "Longformers: a directory with a tokenizer, whose vocabulary and special "
                      "tokens the model gets, and a copy of its files");
  command->add_option("--seed", o->seed, "of the random weights")->capture_default_str();
  command->add_flag("--overwrite", o->overwrite, "replace the model in the directory");
  command->add_option("-o,--output", o->output, "directory to write")->required();
  command->footer(
      "Examples:\n  longspan init --arch reformer --preset small -o start\n"
      "  longspan init --arch longformer --preset base -o long\n"
      "  longspan init --arch longformer --preset tiny --tokenizer roberta-base -o mine\n"
      "  longspan init --config my/config.json --seed 7 -o start");
  command->callback([o, &action] { action = [o] { return RunInit(*o); }; });
}

}  // namespace longspan::cli
