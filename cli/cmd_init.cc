// longspan init: a new model with random weights.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/visual/output.h"
#include "io/escape.h"
#include "io/paths.h"
#include "model/head_tables.h"
#include "model/longformer_files.h"
#include "model/model_files.h"
#include "model/model_folder.h"
#include "text/open_tokenizer.h"

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

// --head and --labels in place of what the preset or the config has. A Reformer's masked LM reads
// both ways; so do the other heads on a preset, whose own head is a causal language model.
template <class Config>
void ApplyHead(const InitOptions& o, std::span<const HeadClass> heads, Config* config) {
  if (!o.head.empty()) config->head = ParseHead(heads, o.head);
  for (const std::string& label : o.labels) {
    Check(io::IsUtf8(label), ErrorCode::kUsage,
          "init: --labels has '{}', which is not UTF-8 and cannot stand in config.json",
          io::Escape(label));
  }
  if (!o.labels.empty()) config->labels = o.labels;
}

void ApplyReformerHead(const InitOptions& o, ReformerConfig* c) {
  ApplyHead(o, kReformerHeads, c);
  if (o.head.empty()) return;
  if (c->head == HeadKind::kCausalLm) {
    c->is_decoder = true;
    c->local_after = c->lsh_after = 0;
  } else if (c->head == HeadKind::kMaskedLm || o.config.empty()) {
    if (c->is_decoder) c->local_after = c->lsh_after = 1;
    c->is_decoder = false;
  }
}

// The kinds of `count` layers: those there are, again and again.
template <class Layer>
void RepeatLayers(idx_t count, std::vector<Layer>* layers) {
  const std::vector<Layer> pattern = *layers;
  layers->clear();
  for (idx_t i = 0; i < count; ++i) {
    layers->push_back(pattern[static_cast<std::size_t>(i) % pattern.size()]);
  }
}

void CheckHeadsDivide(idx_t width, idx_t heads) {
  Check(width % heads == 0, ErrorCode::kUsage,
        "init: a width of {} is not divisible by {} heads; choose --width as a multiple of --heads",
        width, heads);
}

// The shape (S0, S1) of an axial table for exactly so many positions, as near to a square as their
// divisors allow. kUsage where that is no table that saves anything.
std::vector<idx_t> AxialShape(idx_t positions) {
  idx_t side = static_cast<idx_t>(std::sqrt(static_cast<double>(positions)));
  while (side > 1 && positions % side != 0) --side;
  const idx_t other = positions / side;
  Check(positions < 16 || side * 64 >= other, ErrorCode::kUsage,
        "init: {} positions are {} x {} at best, which is no good axial table; choose a number "
        "with divisors near its root, such as {}",
        positions, side, other, (positions + 127) / 128 * 128);
  return {side, other};
}

void ApplySizes(const InitOptions& o, ReformerConfig* c) {
  if (o.layers > 0) RepeatLayers(o.layers, &c->layers);
  if (o.heads > 0) c->heads = o.heads;
  if (o.width > 0) {
    // The parts of a feed-forward layer and of axial positions keep their shares.
    c->feed_forward_size = std::max<idx_t>(1, c->feed_forward_size * o.width / c->hidden_size);
    c->hidden_size = o.width;
    if (c->axial) {
      Check(o.width >= 4, ErrorCode::kUsage, "init: a width of {} is below 4", o.width);
      c->axial_dims = {o.width / 4, o.width - o.width / 4};
    }
  }
  if (o.width > 0 || o.heads > 0) {
    CheckHeadsDivide(c->hidden_size, c->heads);
    c->head_size = c->hidden_size / c->heads;
  }
  if (o.positions > 0) {
    c->max_positions = o.positions;
    if (c->axial) c->axial_shape = AxialShape(o.positions);
  }
}

void ApplySizes(const InitOptions& o, LongformerConfig* c) {
  if (o.layers > 0) RepeatLayers(o.layers, &c->attention_window);
  if (o.heads > 0) c->heads = o.heads;
  if (o.width > 0) {
    c->feed_forward_size = std::max<idx_t>(1, c->feed_forward_size * o.width / c->hidden_size);
    c->hidden_size = o.width;
  }
  if (o.width > 0 || o.heads > 0) CheckHeadsDivide(c->hidden_size, c->heads);
  // The table has rows that no token has: those up to the padding token's.
  if (o.positions > 0) c->max_positions = o.positions + c->pad_token + 1;
}

// The config with the vocabulary and the special ids of a tokenizer.
void ForTokenizer(const text::Tokenizer& tokenizer, ReformerConfig* c) {
  const text::SpecialIds& ids = tokenizer.special();
  c->vocab_size = tokenizer.vocabulary();
  c->pad_token = ids.pad.value_or(0);
  if (ids.eos || ids.sep) c->eos_token = ids.eos ? *ids.eos : *ids.sep;
  c->bos_token = ids.bos ? ids.bos : ids.cls;
}

// The tokenizer's files, to the new model.
void TakeTokenizer(const InitOptions& o) {
  if (o.tokenizer.empty()) return;
  const std::string links = TokenizerLinksLeftOut(o.tokenizer);
  if (!links.empty()) std::fprintf(stderr, "warning: %s\n", links.c_str());
  CopyTokenizer(o.tokenizer, o.output);
}

// Writes a new model and returns its number of parameters.
idx_t InitReformer(const InitOptions& o) {
  ReformerConfig config =
      o.config.empty() ? ReformerPreset(o.preset) : ReadReformerConfig(o.config);
  ApplyReformerHead(o, &config);
  ApplySizes(o, &config);
  if (o.rotation_seed >= 0) config.rotation_seed = o.rotation_seed;
  if (!o.tokenizer.empty()) ForTokenizer(*text::OpenTokenizer(o.tokenizer), &config);
  // As a config.json it has to be one that can be read again.
  Reformer model(ParseReformerConfig(ToJson(config), "init"));
  model.Initialise(o.seed);
  SaveReformer(model, o.output);
  TakeTokenizer(o);
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
  Check(o.rotation_seed < 0, ErrorCode::kUsage,
        "init: --rotation-seed is for Reformers; a Longformer does not hash");
  LongformerConfig config =
      o.config.empty() ? LongformerPreset(o.preset) : ReadLongformerConfig(o.config);
  ApplyHead(o, kLongformerHeads, &config);
  ApplySizes(o, &config);
  if (!o.tokenizer.empty()) {
    config = ForTokenizer(std::move(config), *text::OpenTokenizer(o.tokenizer));
  }
  Longformer model(ParseLongformerConfig(ToJson(config), "init"));
  model.Initialise(o.seed);
  SaveLongformer(model, o.output);
  TakeTokenizer(o);
  return model.parameters().count();
}

// The command that trains the model in `directory`.
std::string NextCommand(const std::string& directory) {
  const std::filesystem::path folder = directory;
  const bool longformer = ModelType(folder / "config.json") == "longformer";
  const char* task = nullptr;
  if (longformer) {
    const HeadKind head = LoadLongformerConfig(folder).head;
    if (head == HeadKind::kMaskedLm) task = "mlm";
    if (head == HeadKind::kSequence) task = "classify";
  } else {
    const HeadKind head = LoadReformerConfig(folder).head;
    if (head == HeadKind::kCausalLm) task = "lm";
    if (head == HeadKind::kMaskedLm) task = "mlm";
    if (head == HeadKind::kSequence) task = "classify";
  }
  if (task == nullptr) return fmt::format("longspan info {}", directory);
  return fmt::format("longspan train {} -m {} --train {} -o RUN", task, directory,
                     std::string_view(task) == "classify" ? "TEXTS.csv" : "TEXT");
}

int RunInit(const InitOptions& o) {
  namespace fs = std::filesystem;
  std::string arch = o.arch.empty() ? "reformer" : o.arch;
  if (o.arch.empty() && !o.config.empty()) arch = ModelType(o.config);
  const bool longformer = arch == "longformer";
  Check(longformer || arch == "reformer", ErrorCode::kUsage,
        "init: --arch '{}' is unknown; use reformer or longformer", io::Escape(arch));
  const fs::path directory = o.output;
  if (!o.overwrite && io::IsDirectory(directory) && !io::IsEmptyFolder(directory)) {
    Fail(ErrorCode::kUsage, "{}: not empty; --overwrite replaces the model in it",
         io::Escape(o.output));
  }
  const idx_t parameters = longformer ? InitLongformer(o) : InitReformer(o);
  PrintResult(fmt::format("{}: {}, {} parameters\nnext: {}\n", o.output, arch, parameters,
                          NextCommand(o.output)));
  return 0;
}

}  // namespace

void RegisterInit(CLI::App* command, const Globals& /*globals*/, Action& action) {
  const auto o = std::make_shared<InitOptions>();
  command->add_option("--arch", o->arch,
                      "Architecture: reformer (default) or longformer; a config names it itself");
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
