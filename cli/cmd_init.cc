// longspan init: a new model with random weights.

#include <fmt/format.h>

#include <string>

#include "cli/commands.h"
#include "cli/visual/output.h"
#include "cli/visual/stderr_lines.h"
#include "longspan/folders.h"

namespace longspan::cli {
namespace {

struct InitCommand {
  std::string config, head, tokenizer, output;
  idx_t rotation_seed = -1;  // negative: the config's
  InitOptions options;
};

// The command that trains the model in `directory`.
std::string NextCommand(const std::string& directory, HeadKind head) {
  if (head != HeadKind::kCausalLm && head != HeadKind::kMaskedLm && head != HeadKind::kSequence) {
    return fmt::format("longspan info {}", directory);
  }
  return fmt::format("longspan train {} -m {} --train {} -o RUN", NameOf(head), directory,
                     head == HeadKind::kSequence ? "TEXTS.csv" : "TEXT");
}

int RunInit(const InitCommand& c) {
  InitOptions options = c.options;
  options.config = c.config;
  options.tokenizer = c.tokenizer;
  if (!c.head.empty()) options.head = ParseHead(c.head);
  if (c.rotation_seed >= 0) options.rotation_seed = c.rotation_seed;
  const InitResult made = InitModel(c.output, options);
  for (const std::string& warning : made.warnings) TellWarning(warning);
  PrintResult(fmt::format("{}: {}, {} parameters\nnext: {}\n", c.output, made.info.family,
                          made.parameters, NextCommand(c.output, made.info.head)));
  return 0;
}

}  // namespace

void RegisterInit(CLI::App* command, const Globals& /*globals*/, Action& action) {
  const auto c = std::make_shared<InitCommand>();
  InitOptions& o = c->options;
  command->add_option("--arch", o.family,
                      fmt::format("Architecture: {}; a config names it itself", FamilyChoices()));
  command
      ->add_option(
          "--preset", o.preset,
          "Size: tiny, small or base; of ModernBERTs also large, of BERT and its like also mini. A "
          "Reformer takes bytes and has "
          "local and LSH layers; a Longformer is a masked LM over RoBERTa's 50265 tokens, its base "
          "as longformer-base-4096; a ModernBERT is one over 50368 tokens, base and large as "
          "released; a BERT or RoBERTa is one over its own vocabulary, base as released")
      ->capture_default_str();
  command->add_option("--config", c->config, "Configuration instead of a preset, a config.json")
      ->excludes("--preset");
  command
      ->add_option("--layers", o.sizes.layers,
                   "Number of layers; their kinds come in turn, as in the preset")
      ->check(CLI::Range(1, 1000).description(""));
  command
      ->add_option("--width", o.sizes.width,
                   "Width between layers (hidden_size), a multiple of --heads")
      ->check(CLI::Range(1, 1 << 16).description(""));
  command->add_option("--heads", o.sizes.heads, "Number of attention heads of each layer")
      ->check(CLI::Range(1, 1 << 12).description(""));
  command
      ->add_option("--positions", o.sizes.positions,
                   "Most tokens of a text; a Reformer's axial shape follows")
      ->check(CLI::Range(1, 1 << 30).description(""));
  command->add_option(
      "--head", c->head,
      "Head: lm (Reformers), mlm, classify, qa or none; all but Reformers also token-classify and "
      "multiple-choice");
  command->add_option("--labels", o.labels, "Names of a classifier's labels")->delimiter(',');
  command->add_option("--tokenizer", c->tokenizer,
                      "Folder of a tokenizer, whose files are copied and whose vocabulary the "
                      "model gets (default: bytes for Reformers)");
  command
      ->add_option(
          "--rotation-seed", c->rotation_seed,
          "Seed of the rotations of a Reformer's LSH layers in evaluation, kept in config.json")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--seed", o.seed, "Seed of the random weights")->capture_default_str();
  BeginGroup(command, heading::kOutput);
  command->add_flag("--overwrite", o.overwrite, "Replace the model in the folder");
  command->add_option("-o,--output", c->output, "Folder to write")->required();
  command->footer(
      "Examples:\n  longspan init --arch reformer --preset small -o start\n"
      "  longspan init --preset small --tokenizer pieces -o start\n"
      "  longspan init --layers 4 --width 192 --heads 6 --positions 32768 -o sized\n"
      "  longspan init --arch longformer --preset tiny -o long\n"
      "  longspan init --arch modernbert --preset tiny -o modern\n"
      "  longspan init --arch bert --preset mini -o short\n"
      "  longspan init --head classify --labels good,bad -o judge\n"
      "  longspan init --arch longformer --preset tiny --tokenizer roberta-base -o mine\n"
      "  longspan init --config my/config.json --seed 7 -o start");
  command->callback([c, &action] { action = [c] { return RunInit(*c); }; });
}

}  // namespace longspan::cli
