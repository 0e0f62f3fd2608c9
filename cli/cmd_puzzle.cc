// longspan puzzle: tasks that only attention over a distance solves, learned and scored.

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/dtype_option.h"
#include "cli/train_options.h"
#include "cli/training.h"
#include "cli/visual/chart.h"
#include "cli/visual/output.h"
#include "families/reformer/reformer_files.h"
#include "io/json.h"
#include "train/puzzle.h"

namespace longspan::cli {
namespace {

namespace fs = std::filesystem;

// How the trained weights attend when they are scored.
struct Attention {
  std::string name;
  idx_t rounds;  // of LSH, else 0
  std::string Name() const { return rounds > 0 ? fmt::format("{}-{}", name, rounds) : name; }
};
const std::vector<Attention> kScored = {{"full", 0}, {"lsh", 8}, {"lsh", 4},
                                        {"lsh", 2},  {"lsh", 1}, {"local", 0}};

TrainOptions Defaults() {
  TrainOptions o;
  o.steps = 4000;
  o.batch = 16;
  o.tokens = 256;
  o.learning_rate = 1e-3;
  o.warmup = 200;
  o.weight_decay = 0.0;
  o.save_every = o.eval_every = 250;
  return o;
}

struct PuzzleCommand : TrainCommand {
  PuzzleCommand() : TrainCommand(Defaults()) {}
  PuzzleOptions puzzle;
  std::string attention = "lsh";
  idx_t num_hashes = 4, hidden = 256, heads = 4, layers = 0, chunk = 0, rows = 100;
  idx_t positions = 0;
};

// Recall's local layer tells a token the one before it; full attention is put in place of hashing
// only.
std::string InPlaceOfHashing(const PuzzleCommand& c, const std::string& attention) {
  const bool recall = ParsePuzzle(c.puzzle.kind) == PuzzleKind::kRecall;
  return recall && attention == "full" ? "full-lsh" : attention;
}

struct PuzzleRow {
  Attention attention;
  PuzzleScore score;
};

// Positions whose columns are the places in a chunk of 8: "the token before" is the same relation
// all along a row, and is learnt from all of it at once.
void UseChunkColumns(idx_t positions, ReformerConfig* config) {
  const idx_t row = std::max<idx_t>(1, config->hidden_size / 8);
  config->axial_shape = {(positions + 7) / 8, 8};
  config->axial_dims = {row, config->hidden_size - row};
  config->max_positions = config->axial_shape[0] * 8;
  config->axial_norm_std = 0.1;
  config->initializer_range = 0.06;
}

// One LSH layer that copies (the paper's model), or a local layer below it, by which a token knows
// the one before it, for recall.
ReformerConfig StartConfig(const PuzzleCommand& c) {
  const bool recall = ParsePuzzle(c.puzzle.kind) == PuzzleKind::kRecall;
  const idx_t layers = c.layers > 0 ? c.layers : (recall ? 2 : 1), tokens = c.options.tokens;
  const idx_t positions = std::max(tokens, c.positions);
  Check(c.heads >= 1 && c.hidden >= c.heads && c.hidden % c.heads == 0 && c.hidden % 4 == 0,
        ErrorCode::kUsage, "puzzle: {} channels for {} heads; need a multiple of both and of 4",
        c.hidden, c.heads);
  ReformerConfig config;
  config.layers.clear();
  for (idx_t i = 0; i < layers; ++i) {
    const bool local = (layers - i) % 2 == 0;
    config.layers.push_back(local ? LayerKind::kLocal : LayerKind::kLsh);
  }
  config.vocab_size = PuzzleVocabulary(c.puzzle);
  config.hidden_size = config.feed_forward_size = c.hidden;
  config.heads = c.heads;
  config.head_size = c.hidden / c.heads;
  config.is_decoder = true;
  config.head = HeadKind::kCausalLm;
  config.max_positions = positions;
  config.axial = recall;
  if (recall) UseChunkColumns(positions, &config);
  config.local_chunk = config.lsh_chunk =
      c.chunk > 0 ? c.chunk : std::max<idx_t>(8, std::min<idx_t>(64, tokens / 16));
  // A chunk and the one before it: the token itself and the one before. Wider ones learn slowly, as
  // attention starts out even over all keys.
  if (recall) config.local_chunk = 1;
  config.num_hashes = c.num_hashes;
  config.hidden_dropout = config.local_dropout = config.lsh_dropout = 0.0;
  config.pad_token = config.eos_token = 0;
  return config;
}

void WriteStart(const PuzzleCommand& c, const fs::path& start) {
  Reformer model(StartConfig(c));
  model.Initialise(c.options.seed);
  SaveReformer(model, start);
}

std::vector<PuzzleRow> ScoreAll(Context& context, const PuzzleCommand& c) {
  std::vector<PuzzleRow> rows;
  EvalProgress progress("scored", ParseProgressMode(c.progress));
  for (const Attention& attention : kScored) {
    PuzzleEvalOptions o;
    o.model = c.output;
    o.puzzle = c.puzzle;
    o.tokens = c.options.tokens;
    o.rows = c.rows;
    o.seed = c.options.seed;
    o.attention = InPlaceOfHashing(c, attention.name);
    o.num_hashes = attention.rounds;
    rows.push_back({attention, EvaluatePuzzle(context, o, progress.hooks())});
  }
  return rows;
}

std::string Table(const PuzzleCommand& c, const TrainResult& trained,
                  const std::vector<PuzzleRow>& rows) {
  std::string text = fmt::format(
      "{} of {} tokens, trained with {} for {} updates, {}; {} rows that it has not seen:\n",
      c.puzzle.kind, c.options.tokens,
      c.attention == "lsh" ? fmt::format("lsh-{}", c.num_hashes) : c.attention, trained.step,
      DurationText(trained.seconds), c.rows);
  text += fmt::format("{:<10} {:>9} {:>9}\n", "attention", "right", "loss");
  for (const PuzzleRow& row : rows) {
    text += fmt::format("{:<10} {:>7.2f} % {:>9.4f}\n", row.attention.Name(),
                        100.0 * row.score.share(), row.score.loss);
  }
  return text;
}

nlohmann::ordered_json PuzzleJson(const PuzzleCommand& c, const TrainResult& trained,
                                  const std::vector<PuzzleRow>& rows) {
  nlohmann::ordered_json j;
  j["puzzle"] = c.puzzle.kind;
  j["tokens"] = c.options.tokens;
  j["trained_with"] = c.attention;
  if (c.attention == "lsh") j["num_hashes"] = c.num_hashes;
  j["updates"] = trained.step;
  j["seconds"] = trained.seconds;
  j["rows"] = c.rows;
  for (const PuzzleRow& row : rows) {
    j["scores"].push_back({{"attention", row.attention.Name()},
                           {"accuracy", row.score.share()},
                           {"loss", row.score.loss},
                           {"right", row.score.right},
                           {"counted", row.score.counted}});
  }
  return j;
}

int RunPuzzle(const PuzzleCommand& c, int threads) {
  Context context(threads);
  TrainOptions options = c.Options(context);
  CheckPuzzle(c.puzzle, options.tokens);
  if (options.model.empty()) {
    // Beside the run, whose folder the loop wants empty. It is the same each time, so that a
    // resumed run finds the model that it began with.
    options.model = c.output + "-start";
    WriteStart(c, options.model);
  }
  options.attention = InPlaceOfHashing(c, c.attention);
  const TrainResult trained = RunWithProgress(
      ParseProgressMode(c.progress), c.output,
      [&](const auto& hooks) { return TrainPuzzle(context, options, c.puzzle, hooks); });
  if (trained.stopped) {
    PrintResult(TrainSummary(c, trained, ""));
    return TrainExitCode(trained);
  }
  const std::vector<PuzzleRow> rows = ScoreAll(context, c);
  PrintResult(c.json ? io::DumpJson(PuzzleJson(c, trained, rows)) : Table(c, trained, rows));
  return 0;
}

void AddModelOptions(CLI::App* command, PuzzleCommand* c) {
  const auto option = [&](const char* name, auto& value, const char* text) {
    command->add_option(name, value, text)->capture_default_str();
  };
  BeginGroup(command, heading::kModel);
  command->add_option("-m,--model", c->model,
                      "Folder of a model to start from (default: a new one, as below)");
  option("--hidden", c->hidden, "Channels of the model and of its feed-forward block");
  option("--heads", c->heads, "Number of heads");
  option("--layers", c->layers,
         "Number of layers; 0 takes 1 for duplication (lsh) and 2 for recall (local, lsh)");
  option("--chunk", c->chunk, "Tokens of a chunk; 0 takes a sixteenth of a row, 8 to 64");
  option("--positions", c->positions,
         "Positions of a new model; 0 takes as many as a row has tokens");
  option("--attention", c->attention, "Attention to train with: full, local or lsh");
  option("--num-hashes", c->num_hashes, "Hash rounds of LSH layers to train with");
}

void AddPuzzle(CLI::App* parent, const char* name, const char* text, const char* examples,
               const Globals& globals, Action& action) {
  auto* command = parent->add_subcommand(name, text);
  const auto c = std::make_shared<PuzzleCommand>();
  c->puzzle.kind = name;
  const bool recall = c->puzzle.kind == "recall";
  if (recall) {
    c->puzzle.symbols = 32;
    c->hidden = 128;
    c->options.tokens = 1024;
    c->options.batch = 8;
    c->options.steps = 1000;
    c->options.learning_rate = 3e-3;
    c->options.warmup = 50;
    c->puzzle.pairs = 32;
    c->puzzle.short_steps = 500;
  }
  BeginGroup(command, heading::kRun);
  command->add_option("-o,--output", c->output, "Folder of the run")->required();
  AddRunOptions(command, c.get());
  BeginGroup(command, "Puzzle");
  command
      ->add_option("--symbols", c->puzzle.symbols,
                   recall ? "Number of keys, and of values" : "Number of symbols")
      ->capture_default_str();
  if (recall) {
    command->add_option("--pairs", c->puzzle.pairs, "Number of pairs of a row")
        ->capture_default_str();
  }
  command
      ->add_option("--short-steps", c->puzzle.short_steps,
                   "Updates on rows of 64 tokens, before 100 on four times as many, and so on")
      ->capture_default_str();
  command->add_option("--rows", c->rows, "Number of rows to score on")->capture_default_str();
  AddModelOptions(command, c.get());
  AddOptimiserOptions(command, c.get());
  AddPolicyOptions(command, "nothing is kept", c.get());
  AddGradientStreamsOption(command, &c->gradient_streams);
  AddRhythmOptions(command, c.get());
  command->footer(examples);
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunPuzzle(*c, globals.threads); };
  });
}

}  // namespace

void RegisterPuzzle(CLI::App* puzzle, const Globals& globals, Action& action) {
  puzzle->require_subcommand(1);
  puzzle->fallthrough();
  puzzle->footer("Examples:\n  longspan puzzle duplication -o duplication --steps 4 --rows 4");
  AddPuzzle(puzzle, "duplication", "Foretell the second w of 0w0w (Table 2 of the Reformer paper)",
            "Examples:\n  longspan puzzle duplication -o copy --steps 8 --rows 4\n"
            "  longspan puzzle duplication -o far --tokens 512 --steps 4 --num-hashes 4 --rows 4\n"
            "  longspan puzzle duplication -o square --attention full --steps 4 --rows 4",
            globals, action);
  AddPuzzle(puzzle, "recall", "Foretell values of keys that stood in the first quarter of a text",
            "Examples:\n  longspan puzzle recall -o recall --steps 4 --short-steps 4 --rows 4\n"
            "  longspan puzzle recall -o long --tokens 2048 --batch 1 --steps 2 --short-steps 0 "
            "--rows 2\n"
            "  longspan puzzle recall -o near --attention local --steps 4 --short-steps 0 --rows 4",
            globals, action);
}

}  // namespace longspan::cli
