// longspan train: lm on text files.

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/training.h"
#include "cli/visual/output.h"
#include "train/schedule.h"

namespace longspan::cli {
namespace {

struct TrainCommand {
  TrainOptions options;
  std::vector<std::string> train;
  std::string model, eval, output, schedule = "cosine", progress = "auto";
  double dropout = -1.0;  // negative: the config's
  bool json = false;
};

std::string Summary(const TrainCommand& c, const TrainResult& result) {
  if (c.json) {
    nlohmann::ordered_json j;
    j["step"] = result.step;
    j["stopped"] = result.stopped;
    j["output"] = c.output;
    j["seconds"] = result.seconds;
    if (!result.stopped) {
      j["loss"] = result.eval_loss;
      j["bits_per_byte"] = result.eval_bits_per_byte;
    }
    return j.dump(2) + "\n";
  }
  if (result.stopped) {
    return fmt::format(
        "stopped and saved at step {} of {}; the same command with --resume goes on\n", result.step,
        c.options.steps);
  }
  return fmt::format(
      "held out: {:.4f} bits per byte after {} steps, {}\n{}: model, checkpoints, metrics.jsonl\n"
      "next: longspan plot {}   longspan generate -m {} -p 'It was'\n",
      result.eval_bits_per_byte, result.step, DurationText(result.seconds), c.output, c.output,
      c.output);
}

int RunTrain(TrainCommand c, int threads) {
  c.options.model = c.model;
  c.options.train.assign(c.train.begin(), c.train.end());
  c.options.eval = c.eval;
  c.options.output = c.output;
  c.options.schedule = ParseSchedule(c.schedule);
  if (c.dropout >= 0.0) c.options.dropout = c.dropout;
  Context context(threads);
  const TrainResult result = TrainWithProgress(context, c.options, ParseProgressMode(c.progress));
  PrintResult(Summary(c, result));
  return TrainExitCode(result);
}

void AddDataOptions(CLI::App* lm, TrainCommand* c) {
  lm->add_option("-m,--model", c->model, "directory of the model to start from")->required();
  lm->add_option("--train", c->train, "text files, joined")->required();
  lm->add_option("--eval", c->eval, "held-out text (default: the end of the last one)");
  lm->add_option("--held-out", c->options.held_out, "share of the end that is held out")
      ->capture_default_str();
  lm->add_option("-o,--output", c->output, "directory of the run")->required();
  lm->add_flag("--resume", c->options.resume, "go on with the run in the output, bit for bit");
  lm->add_flag("--overwrite", c->options.overwrite, "clear the run in the output first");
}

void AddOptimiserOptions(CLI::App* lm, TrainCommand* c) {
  TrainOptions& o = c->options;
  const auto option = [&](const char* name, auto& value, const char* text) {
    lm->add_option(name, value, text)->capture_default_str();
  };
  option("--steps", o.steps, "updates");
  option("--batch", o.batch, "rows of a micro-batch");
  option("--tokens", o.tokens, "tokens of a row");
  option("--accumulate", o.accumulate, "micro-batches an update");
  option("--learning-rate,--lr", o.learning_rate, "highest learning rate");
  option("--final-rate", o.final_rate, "share of it at the last step");
  option("--warmup", o.warmup, "updates of linear warm-up");
  option("--schedule", c->schedule, "cosine, linear or constant");
  option("--weight-decay", o.weight_decay, "of matrices");
  option("--beta1", o.beta1, "of AdamW");
  option("--beta2", o.beta2, "of AdamW");
  option("--clip", o.clip, "largest gradient norm, 0: none");
  option("--seed", o.seed, "of data order, dropout and hashing");
  lm->add_option("--dropout", c->dropout, "instead of the config's")->check(CLI::Range(0.0, 0.99));
  lm->add_option("--attention", o.attention, "full, local or lsh, instead of the config's");
}

void AddRhythmOptions(CLI::App* lm, TrainCommand* c) {
  TrainOptions& o = c->options;
  lm->add_option("--log-every", o.log_every, "steps between lines of metrics.jsonl")
      ->capture_default_str();
  lm->add_option("--eval-every", o.eval_every, "0: at the end")->capture_default_str();
  lm->add_option("--save-every", o.save_every, "0: at the end")->capture_default_str();
  lm->add_option("--keep", o.keep, "checkpoints, besides the best")->capture_default_str();
  lm->add_option("--progress", c->progress, "auto, bar, plain or none")->capture_default_str();
  lm->add_flag("--allow-nonfinite", o.allow_nonfinite, "load weights that hold NaN or infinities");
  lm->add_flag("--json", c->json, "one JSON document at the end");
}

}  // namespace

void RegisterTrain(CLI::App& app, const Globals& globals, Action& action) {
  auto* train = app.add_subcommand("train", "train a model: lm");
  train->require_subcommand(1);
  train->fallthrough();
  auto* lm = train->add_subcommand("lm", "language model on text files, byte by byte");
  const auto c = std::make_shared<TrainCommand>();
  AddDataOptions(lm, c.get());
  AddOptimiserOptions(lm, c.get());
  AddRhythmOptions(lm, c.get());
  lm->footer(
      "Examples:\n  longspan train lm -m start --train book.txt -o run\n"
      "  longspan train lm -m start --train a.txt b.txt --eval c.txt -o run --steps 5000 --resume\n"
      "  longspan train lm -m start --train book.txt -o square --attention full\n"
      "Ctrl-C and SIGTERM save and leave with 130 and 143.");
  lm->callback(
      [c, &globals, &action] { action = [c, &globals] { return RunTrain(*c, globals.threads); }; });
}

}  // namespace longspan::cli
