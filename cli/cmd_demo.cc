// longspan demo: from nothing to a model that writes, in minutes.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/demo_model.h"
#include "cli/shown_bytes.h"
#include "cli/training.h"
#include "cli/visual/cmd_pattern.h"
#include "cli/visual/cmd_plot.h"
#include "cli/visual/output.h"
#include "longspan/files.h"
#include "longspan/generate.h"
#include "longspan/inspect.h"
#include "longspan/model.h"

namespace longspan::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kDemoHeldOut = 0.1;
constexpr int kWittenBellOrder = 3;
constexpr const char* kPrompt = "She had been forced into prudence in her youth, ";
constexpr const char* kDemoOutput = "longspan-demo";

// Behind so many passes the model learns the text by heart: what is held out of Persuasion costs
// 1.886 bits per byte behind 17, and 1.928 behind 26.
constexpr idx_t kMostPasses = 16;

struct DemoCommand {
  std::string text, output = kDemoOutput, progress = "auto";
  double minutes = 3.8;
  idx_t steps = 0;
};

TrainOptions DemoOptions(const DemoCommand& c, const fs::path& text) {
  TrainOptions o = DemoRecipe();
  o.model = fs::path(c.output) / "start";
  o.output = fs::path(c.output) / "run";
  o.data.train = {text};
  o.data.held_out = kDemoHeldOut;
  o.batch = 8;
  o.tokens = 256;
  return o;
}

// Updates that take as long as one evaluation: it reads each held-out byte twice, for its windows
// advance by half of their length, and a byte that is read takes about a fifth of one that is
// learnt.
double EvaluationSteps(const TrainOptions& o) {
  const auto held_out = kDemoHeldOut * static_cast<double>(fs::file_size(o.data.train.front()));
  return 2.0 * held_out / 5.0 / static_cast<double>(o.batch * o.tokens);
}

// As many updates as fit into the time beside the evaluations, but not more passes than help.
idx_t StepsOf(const DemoCommand& c, const TrainOptions& options, double step_seconds) {
  constexpr double kEvaluations = 6.0;  // SetLength
  if (c.steps > 0) return c.steps;
  const auto bytes = static_cast<double>(fs::file_size(options.data.train.front()));
  const auto pass =
      static_cast<idx_t>((1.0 - kDemoHeldOut) * bytes) / (options.batch * options.tokens);
  const double evaluating = kEvaluations * EvaluationSteps(options) * step_seconds / 60.0;
  return std::min(StepsFor(std::max(0.0, c.minutes - evaluating), step_seconds),
                  kMostPasses * (pass + 1));
}

// Of the whole training, its evaluations included.
double TrainingSeconds(const TrainOptions& o, double step_seconds) {
  const auto evaluations =
      static_cast<double>((o.steps + o.checkpoints.eval_every - 1) / o.checkpoints.eval_every);
  return step_seconds * (static_cast<double>(o.steps) + EvaluationSteps(o) * evaluations);
}

// Up to `tokens` with the prompt: the model has seen no position behind its training rows.
void WriteSample(Context& context, const fs::path& run, idx_t tokens) {
  const Model model = Model::Load(run);
  GenerateOptions options;
  options.tokens = tokens - static_cast<idx_t>(std::string_view(kPrompt).size());
  options.sampling.temperature = 0.7;
  PrintResult(
      fmt::format("\nA sample (temperature 0.7), going on from the first line:\n\n{}", kPrompt));
  ShownBytes screen(isatty(STDOUT_FILENO) == 1);
  Generate(context, model, std::string(kPrompt), options, [&](std::string_view piece) {
    PrintResult(screen.Add(piece));
    return true;
  });
  PrintResult(screen.Finish() + "\n");
}

void DrawPictures(const fs::path& output) {
  PlotOptions plot;
  plot.runs = {(output / "run").string()};
  plot.title = "Training on Persuasion";
  RunPlot(plot);  // in the terminal
  for (const char* file : {"loss.svg", "loss.png"}) {
    plot.output = (output / file).string();
    RunPlot(plot);
  }
  PatternCommand pattern;
  for (const char* file : {"pattern.svg", "pattern.png"}) {
    pattern.output = (output / file).string();
    RunPattern(pattern);
  }
}

int RunDemo(const DemoCommand& c, int threads) {
  Context context(threads);
  const fs::path text = c.text.empty() ? FindNovel() : fs::path(c.text);
  const fs::path output = c.output;
  std::error_code none;
  Check(c.output == kDemoOutput || !fs::exists(output, none) ||
            fs::exists(output / "start", none) || fs::is_empty(output, none),
        ErrorCode::kUsage, "{}: not empty and no earlier demo; choose another -o",
        io::Escape(c.output));
  TrainOptions options = DemoOptions(c, text);
  const Model model = Model::Init(DemoConfig(), 1);
  model.Save(options.model);
  const double step_seconds = c.steps > 0 ? 0.0 : SecondsPerStep(context, options);
  SetLength(StepsOf(c, options, step_seconds), &options);
  options.checkpoints.save_every = std::max<idx_t>(1, options.steps / 4);
  PrintResult(fmt::format(
      "A byte-level Reformer (4 layers, the third one LSH, {} parameters) learns {}\n"
      "in {} updates of {} x {} bytes; the last tenth of the text is held out.\n"
      "{}, about {} of training.\n",
      model.parameters(), text.filename().string(), options.steps, options.batch, options.tokens,
      context.Describe(),
      c.steps > 0 ? "some minutes" : DurationText(TrainingSeconds(options, step_seconds))));
  const TrainResult result = TrainWithProgress(context, options, ParseProgressMode(c.progress));
  if (result.stopped) {
    PrintResult("stopped; longspan demo starts anew\n");
    return TrainExitCode(result);
  }
  DrawPictures(output);
  WriteSample(context, options.output, options.tokens);
  const double counting = WittenBellBitsPerByte(text, kDemoHeldOut, kWittenBellOrder);
  PrintResult(fmt::format(
      "\n{:.3f} bits per byte on the held-out tenth, after {} of training\n"
      "{:.3f} bits per byte: order-{} Witten-Bell counts on the same split\n\n"
      "Try next, on a text of your own:\n"
      "  longspan init --preset small -o start\n"
      "  longspan train lm -m start --train YOUR.txt -o run --tokens 1024\n"
      "  longspan generate -m run -p 'It was' --tokens 400\n"
      "  longspan pattern --kind lsh\n"
      "  longspan lsh-report -m run YOUR.txt --tokens 1024\n",
      result.eval_bits_per_byte, DurationText(result.seconds), counting, kWittenBellOrder));
  return 0;
}

}  // namespace

void RegisterDemo(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<DemoCommand>();
  command->add_option("--text", c->text, "Text to learn (default: the novel Persuasion)")
      ->type_name("FILE");
  command
      ->add_option("--minutes", c->minutes,
                   "Time of training, about; at most 16 passes over the text")
      ->check(CLI::Range(0.05, 600.0))
      ->capture_default_str();
  command->add_option("--steps", c->steps, "Number of updates, instead of minutes");
  command->add_option("-o,--output", c->output, "Folder to write")->capture_default_str();
  command
      ->add_option("--progress", c->progress,
                   "Form of the progress on stderr: auto, bar, plain or none")
      ->capture_default_str();
  command->footer(
      "Examples:\n  longspan demo\n  longspan demo --text my.txt --minutes 0.05 -o mine");
  command->callback(
      [c, &globals, &action] { action = [c, &globals] { return RunDemo(*c, globals.threads); }; });
}

}  // namespace longspan::cli
