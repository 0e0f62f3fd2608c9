// longspan puzzle: tasks that only attention over a distance solves, learned and scored.

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/dtype_option.h"
#include "cli/train_options.h"
#include "cli/training.h"
#include "cli/visual/chart.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "lab/puzzle.h"

namespace longspan::cli {
namespace {

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
  o.optimizer.learning_rate = 1e-3;
  o.schedule.warmup = 200;
  o.optimizer.weight_decay = 0.0;
  o.checkpoints.save_every = o.checkpoints.eval_every = 250;
  return o;
}

struct PuzzleCommand : TrainCommand {
  PuzzleCommand() : TrainCommand(Defaults()) {}
  PuzzleOptions puzzle;
  PuzzleModel start;
  std::string trained_with = "lsh";
  idx_t rows = 100;
};

struct PuzzleRow {
  Attention attention;
  PuzzleScore score;
};

std::vector<PuzzleRow> ScoreAll(Context& context, const PuzzleCommand& c) {
  std::vector<PuzzleRow> rows;
  EvalProgress progress("scored", "rows", ParseProgressMode(c.progress));
  progress.Watch(context);
  for (const Attention& attention : kScored) {
    PuzzleEvalOptions o;
    o.model = c.output;
    o.puzzle = c.puzzle;
    o.tokens = c.options.tokens;
    o.rows = c.rows;
    o.seed = c.options.seed;
    o.reformer.attention = InPlaceOfHashing(c.puzzle, attention.name);
    o.reformer.num_hashes = attention.rounds;
    rows.push_back({attention, EvaluatePuzzle(context, o)});
  }
  return rows;
}

// The share that guessing gets right: one of the symbols, or of recall's values.
double Chance(const PuzzleCommand& c) { return 1.0 / static_cast<double>(c.puzzle.symbols); }

std::string Table(const PuzzleCommand& c, const TrainResult& trained,
                  const std::vector<PuzzleRow>& rows) {
  std::string text = fmt::format(
      "{} of {} tokens, trained with {} for {} updates, {}; {} rows that it has not seen:\n",
      PuzzleName(c.puzzle.kind), c.options.tokens,
      c.trained_with == "lsh" ? fmt::format("lsh-{}", c.start.num_hashes) : c.trained_with,
      trained.step, DurationText(trained.seconds), c.rows);
  text += fmt::format("{:<10} {:>9} {:>9}\n", "attention", "right", "loss");
  for (const PuzzleRow& row : rows) {
    text += fmt::format("{:<10} {:>7.2f} % {:>9.4f}\n", row.attention.Name(),
                        100.0 * row.score.share(), row.score.loss);
  }
  text += fmt::format("{:<10} {:>7.2f} %\n", "chance", 100.0 * Chance(c));
  return text;
}

nlohmann::ordered_json PuzzleJson(const PuzzleCommand& c, const TrainResult& trained,
                                  const std::vector<PuzzleRow>& rows) {
  nlohmann::ordered_json j;
  j["puzzle"] = PuzzleName(c.puzzle.kind);
  j["tokens"] = c.options.tokens;
  j["trained_with"] = c.trained_with;
  if (c.trained_with == "lsh") j["num_hashes"] = c.start.num_hashes;
  j["updates"] = trained.step;
  j["seconds"] = trained.seconds;
  j["rows"] = c.rows;
  j["chance"] = Chance(c);
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
    WritePuzzleModel(c.start, c.puzzle, options.tokens, options.seed, options.model);
  }
  options.compute.reformer.attention = InPlaceOfHashing(c.puzzle, c.trained_with);
  const TrainResult trained = RunWithProgress(
      ParseProgressMode(c.progress), c.output,
      [&](const auto& hooks) { return TrainPuzzle(context, options, c.puzzle, hooks); });
  if (trained.stopped) {
    PrintResult(TrainSummary(c, trained, ""));
    return TrainExitCode(trained);
  }
  const std::vector<PuzzleRow> rows = ScoreAll(context, c);
  PrintResult(c.json ? DumpJson(PuzzleJson(c, trained, rows)) : Table(c, trained, rows));
  return 0;
}

void AddModelOptions(CLI::App* command, PuzzleCommand* c) {
  const auto option = [&](const char* name, auto& value, const char* text) {
    command->add_option(name, value, text)->capture_default_str();
  };
  BeginGroup(command, heading::kModel);
  command->add_option("-m,--model", c->model,
                      "Folder of a model to start from (default: a new one, as below)");
  option("--hidden", c->start.hidden, "Channels of the model and of its feed-forward block");
  option("--heads", c->start.heads, "Number of heads");
  option("--layers", c->start.layers,
         "Number of layers; 0 takes 1 for duplication (lsh) and 2 for recall (local, lsh)");
  option("--chunk", c->start.chunk, "Tokens of a chunk; 0 takes a sixteenth of a row, 8 to 64");
  option("--positions", c->start.positions,
         "Positions of a new model; 0 takes as many as a row has tokens");
  option("--attention", c->trained_with, "Attention to train with: full, local or lsh");
  option("--num-hashes", c->start.num_hashes, "Hash rounds of LSH layers to train with");
}

void AddPuzzle(CLI::App* parent, const char* name, const char* text, const char* examples,
               const Globals& globals, Action& action) {
  auto* command = parent->add_subcommand(name, text);
  const auto c = std::make_shared<PuzzleCommand>();
  c->puzzle.kind = ParsePuzzle(name);
  const bool recall = c->puzzle.kind == PuzzleKind::kRecall;
  if (recall) {
    c->puzzle.symbols = 32;
    c->start.hidden = 128;
    c->options.tokens = 1024;
    c->options.batch = 8;
    c->options.steps = 1000;
    c->options.optimizer.learning_rate = 3e-3;
    c->options.schedule.warmup = 50;
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
