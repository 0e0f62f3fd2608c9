// longspan init: a new model with random weights.

#include <cstdio>
#include <filesystem>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/visual/output.h"
#include "families/families.h"
#include "io/escape.h"
#include "io/paths.h"
#include "model/model_folder.h"

namespace longspan::cli {
namespace {

struct InitOptions {
  std::string arch, preset = "small", config, head, tokenizer, output;
  std::vector<std::string> labels;
  std::uint64_t seed = 1;
  idx_t rotation_seed = -1;  // negative: the config's
  // In place of what the preset or the config has; 0: that stays.
  idx_t layers = 0, width = 0, heads = 0, positions = 0;
  bool overwrite = false;
};

HeadKind ParseHead(std::span<const HeadClass> heads, const std::string& name) {
  std::string known;
  for (const HeadClass& row : heads) {
    if (NameOf(row.head) == name) return row.head;
    known.append(known.empty() ? "" : ", ").append(NameOf(row.head));
  }
  Fail(ErrorCode::kUsage, "init: --head '{}' is unknown here; use one of {}", io::Escape(name),
       known);
}

// --head and --labels in place of what the preset or the config has.
void ApplyHead(const InitOptions& o, const ModelFamily& family, ModelConfig* config) {
  for (const std::string& label : o.labels) {
    Check(io::IsUtf8(label), ErrorCode::kUsage,
          "init: --labels has '{}', which is not UTF-8 and cannot stand in config.json",
          io::Escape(label));
  }
  const TextModelInfo info = config->info();
  WantedHead wanted{info.head, info.labels, info.problem};
  if (!o.labels.empty()) wanted.labels = o.labels;
  if (!o.head.empty()) wanted.head = ParseHead(family.heads, o.head);
  if (o.head.empty()) {
    config->PutHead(wanted);
  } else {
    config->BeginWith(wanted, o.config.empty());
  }
}

// The tokenizer's files, to the new model.
void TakeTokenizer(const InitOptions& o) {
  if (o.tokenizer.empty()) return;
  const std::string links = TokenizerLinksLeftOut(o.tokenizer);
  if (!links.empty()) std::fprintf(stderr, "warning: %s\n", links.c_str());
  CopyTokenizer(o.tokenizer, o.output);
}

// The command that trains the model in `directory`.
std::string NextCommand(const std::string& directory, HeadKind head) {
  if (head != HeadKind::kCausalLm && head != HeadKind::kMaskedLm && head != HeadKind::kSequence) {
    return fmt::format("longspan info {}", directory);
  }
  return fmt::format("longspan train {} -m {} --train {} -o RUN", NameOf(head), directory,
                     head == HeadKind::kSequence ? "TEXTS.csv" : "TEXT");
}

int RunInit(const InitOptions& o) {
  namespace fs = std::filesystem;
  // A config names its family itself.
  std::unique_ptr<ModelConfig> config;
  std::string arch = o.arch;
  if (!o.config.empty()) {
    const ModelFolder file = OpenConfigFile(o.config);
    if (arch.empty()) arch = file.type;
    if (arch == file.type) config = ReadModelConfig(file);
  }
  const ModelFamily& family = FamilyOfOption("init", arch);
  Check(config != nullptr || o.config.empty(), ErrorCode::kFormat,
        "{}: its model_type is not '{}', which --arch names", io::Escape(o.config), family.type);
  const fs::path directory = o.output;
  if (!o.overwrite && io::IsDirectory(directory) && !io::IsEmptyFolder(directory)) {
    Fail(ErrorCode::kUsage, "{}: not empty; --overwrite replaces the model in it",
         io::Escape(o.output));
  }
  if (config == nullptr) config = family.preset(o.preset);
  ApplyHead(o, family, config.get());
  config->Resize({o.layers, o.width, o.heads, o.positions});
  FamilyOptions options;
  if (o.rotation_seed >= 0) options.Set("rotation-seed", o.rotation_seed);
  config->SetOptions(options);
  if (!o.tokenizer.empty()) config->UseTokenizer(*OpenModelTokenizer(o.tokenizer));
  // As a config.json it has to be one that can be read again.
  const auto model = family.parse(config->Json(), "init")->Make(ParameterMemory::kOwn);
  model->Initialise(o.seed);
  model->Save(o.output);
  TakeTokenizer(o);
  PrintResult(fmt::format("{}: {}, {} parameters\nnext: {}\n", o.output, family.type,
                          model->parameters().count(), NextCommand(o.output, model->info().head)));
  return 0;
}

}  // namespace

void RegisterInit(CLI::App* command, const Globals& /*globals*/, Action& action) {
  const auto o = std::make_shared<InitOptions>();
  command->add_option("--arch", o->arch,
                      fmt::format("Architecture: {}; a config names it itself", FamilyChoices()));
  command
      ->add_option(
          "--preset", o->preset,
          "Size: tiny, small or base. A Reformer takes bytes and has local and LSH layers; a "
          "Longformer is a masked LM over RoBERTa's 50265 tokens, its base as longformer-base-4096")
      ->capture_default_str();
  command->add_option("--config", o->config, "Configuration instead of a preset, a config.json")
      ->excludes("--preset");
  command
      ->add_option("--layers", o->layers,
                   "Number of layers; their kinds come in turn, as in the preset")
      ->check(CLI::Range(1, 1000).description(""));
  command
      ->add_option("--width", o->width, "Width between layers (hidden_size), a multiple of --heads")
      ->check(CLI::Range(1, 1 << 16).description(""));
  command->add_option("--heads", o->heads, "Number of attention heads of each layer")
      ->check(CLI::Range(1, 1 << 12).description(""));
  command
      ->add_option("--positions", o->positions,
                   "Most tokens of a text; a Reformer's axial shape follows")
      ->check(CLI::Range(1, 1 << 30).description(""));
  command->add_option("--head", o->head,
                      "Head: lm (Reformers), mlm, classify, qa or none; Longformers also "
                      "token-classify and multiple-choice");
  command->add_option("--labels", o->labels, "Names of a classifier's labels")->delimiter(',');
  command->add_option("--tokenizer", o->tokenizer,
                      "Folder of a tokenizer, whose files are copied and whose vocabulary the "
                      "model gets (default: bytes for Reformers)");
  command
      ->add_option(
          "--rotation-seed", o->rotation_seed,
          "Seed of the rotations of a Reformer's LSH layers in evaluation, kept in config.json")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--seed", o->seed, "Seed of the random weights")->capture_default_str();
  BeginGroup(command, heading::kOutput);
  command->add_flag("--overwrite", o->overwrite, "Replace the model in the folder");
  command->add_option("-o,--output", o->output, "Folder to write")->required();
  command->footer(
      "Examples:\n  longspan init --arch reformer --preset small -o start\n"
      "  longspan init --preset small --tokenizer pieces -o start\n"
      "  longspan init --layers 4 --width 192 --heads 6 --positions 32768 -o sized\n"
      "  longspan init --arch longformer --preset tiny -o long\n"
      "  longspan init --head classify --labels good,bad -o judge\n"
      "  longspan init --arch longformer --preset tiny --tokenizer roberta-base -o mine\n"
      "  longspan init --config my/config.json --seed 7 -o start");
  command->callback([o, &action] { action = [o] { return RunInit(*o); }; });
}

}  // namespace longspan::cli
