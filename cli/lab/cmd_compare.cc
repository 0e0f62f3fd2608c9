// longspan compare: full, local and LSH attention with the same weights, side by side: time and
// memory of a training step against the length, and what each learns in the same time.

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/demo_model.h"
#include "cli/duration.h"
#include "cli/signals.h"
#include "cli/training.h"
#include "cli/visual/chart.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/progress.h"
#include "cli/visual/stderr_lines.h"
#include "cli/visual/terminal.h"
#include "cli/waiting.h"
#include "lab/compare.h"
#include "longspan/files.h"
#include "longspan/machine.h"

namespace longspan::cli {
namespace {

namespace fs = std::filesystem;

constexpr idx_t kLeastTokens = 64;

struct CompareCommand {
  std::string text, preset = "tiny", output = "comparison";
  idx_t shortest = 1024, longest = 65536;
  double patience = 120.0;  // seconds of one step; longer ones are left out
  double minutes = 2.0;
  std::string max_time;     // empty: the updates that are set for `minutes` end a learning
  double max_time_s = 0.0;  // what it says; 0: nothing
  idx_t train_tokens = 1024, train_batch = 2;
  bool json = false;
};

struct LearningFigure {
  idx_t steps = 0;  // updates that were made
  double seconds = 0.0, bits_per_byte = 0.0;
  bool out_of_time = false;      // --max-time ended it
  std::vector<double> at, bits;  // held-out bits per byte after so many seconds
};

struct Comparison {
  std::vector<idx_t> lengths;
  std::map<std::string, std::map<idx_t, StepFigure>> steps;  // [attention][tokens]
  std::map<std::string, LearningFigure> learning;
  std::set<std::string> stepped;  // attentions whose steps are all timed, or left out as too long
  bool stopped = false;           // by a signal: something is missing
};

// ---- a training step against the length ---------------------------------------------------------

// Seconds of a step at `tokens`, from the one before at half the length and the growth of the work.
double ExpectedSeconds(const ComparedSteps& steps, idx_t tokens,
                       const std::map<idx_t, StepFigure>& known) {
  if (known.empty()) return 0.0;
  const auto& [before, figure] = *known.rbegin();
  return figure.seconds * steps.Gflop(tokens) / steps.Gflop(before);
}

// Ends the comparison when a signal has asked for it.
void StopHere() {
  if (StopSignal() != 0) throw Cancelled();
}

// Called behind each figure.
using Keep = std::function<void(const Comparison& so_far)>;

void CompareSteps(const CompareCommand& c, int threads, const Keep& keep, Comparison* result) {
  for (idx_t tokens = c.shortest; tokens <= c.longest; tokens *= 2) {
    result->lengths.push_back(tokens);
  }
  for (const std::string attention : kComparedAttentions) {
    const ComparedSteps steps(c.preset, attention, c.longest);
    auto& figures = result->steps[attention];
    for (const idx_t tokens : result->lengths) {
      const double expected = ExpectedSeconds(steps, tokens, figures);
      if (expected > c.patience) {
        TellLine(fmt::format("{} attention, {} tokens: left out, a step would take about {}",
                             attention, tokens, DurationText(expected)));
        break;
      }
      {
        const Waiting timing(fmt::format("timing {} attention, {} tokens", attention, tokens));
        figures[tokens] = steps.Time(threads, tokens, expected);
      }
      TellLine(fmt::format("{} attention, {} tokens: {:.2f} s, {:.0f} MB", attention, tokens,
                           figures[tokens].seconds,
                           static_cast<double>(figures[tokens].rss_bytes) * 1e-6));
      keep(*result);
      StopHere();
    }
    result->stepped.insert(attention);
  }
}

// ---- learning in the same time ------------------------------------------------------------------

// How long a learning lasts. Updates that are set in advance let the rate fall to its end. Where
// time ends it nobody knows the number of updates, so the rate stays.
void SetEnd(const CompareCommand& c, double step_seconds, TrainOptions* options) {
  constexpr idx_t kBeyondAnyTime = 1'000'000'000;
  const bool by_time = c.max_time_s > 0.0;
  SetLength(StepsFor(by_time ? c.max_time_s / 60.0 : c.minutes, step_seconds), options);
  options->checkpoints.save_every = 0;
  if (!by_time) return;
  options->steps = kBeyondAnyTime;
  options->schedule.kind = ScheduleKind::kConstant;
  options->schedule.final_rate = ScheduleOptions().final_rate;
  options->checkpoints.max_time_s = c.max_time_s;
}

// Where a learning is: in updates, or in seconds where time ends it.
ProgressLine LearningLine(const CompareCommand& c, const std::string& unit,
                          const TrainEvent& event) {
  const bool by_time = c.max_time_s > 0.0, has_stepped = event.kind == TrainEvent::Kind::kStep;
  ProgressLine line;
  line.unit = unit;
  line.step = by_time ? static_cast<idx_t>(std::min(event.seconds, c.max_time_s)) : event.step;
  line.steps = by_time ? static_cast<idx_t>(std::ceil(c.max_time_s)) : event.steps;
  if (has_stepped) {
    line.seconds_left = by_time ? std::max(c.max_time_s - event.seconds, 0.0) : event.seconds_left;
  }
  return line;
}

LearningFigure Learn(Context& context, const CompareCommand& c, const fs::path& text,
                     const std::string& attention) {
  TrainOptions options = DemoRecipe();
  options.model = fs::path(c.output) / "start";
  options.output = fs::path(c.output) / attention;
  options.data.train = {text};
  options.compute.reformer.attention = ParseAttention(attention);
  options.tokens = c.train_tokens;
  options.batch = c.train_batch;
  const double step_seconds = [&] {
    const Waiting timing(fmt::format("timing an update with {} attention", attention));
    return SecondsPerStep(context, options);
  }();
  StopHere();
  SetEnd(c, step_seconds, &options);
  LearningFigure figure;
  TrainHooks hooks;
  const bool bar = DetectTerminal(STDERR_FILENO).interactive;
  const std::string unit =
      fmt::format("{} attention: {}", attention, c.max_time_s > 0.0 ? "second" : "update");
  Progress progress(bar ? ProgressMode::kBar : ProgressMode::kNone);
  hooks.on_event = [&](const TrainEvent& event) {
    using Kind = TrainEvent::Kind;
    if (event.kind == Kind::kStart || event.kind == Kind::kStep) {
      progress.Update(LearningLine(c, unit, event));
    }
    if (event.kind != Kind::kEval) return;
    figure.at.push_back(event.seconds);
    figure.bits.push_back(event.bits_per_byte);
  };
  hooks.should_stop = [] { return StopSignal() != 0; };
  const TrainResult trained = TrainLanguageModel(context, options, hooks);
  progress.Finish();
  StopHere();
  figure.steps = trained.step;
  figure.out_of_time = trained.out_of_time;
  figure.seconds = trained.seconds;
  figure.bits_per_byte = trained.eval_bits_per_byte;
  TellLine(fmt::format("{} attention: {:.3f} bits per byte after {} updates in {}", attention,
                       figure.bits_per_byte, figure.steps, DurationText(figure.seconds)));
  return figure;
}

void CompareLearning(const CompareCommand& c, int threads, const Keep& keep, Comparison* result) {
  const fs::path text = c.text.empty() ? FindNovel() : fs::path(c.text);
  Context context(threads);
  WriteLongerReformer(DemoConfig(), c.train_tokens, fs::path(c.output) / "start");
  for (const std::string attention : kComparedAttentions) {
    result->learning[attention] = Learn(context, c, text, attention);
    keep(*result);
  }
}

// ---- what is shown ------------------------------------------------------------------------------

// What has been measured so far: a comparison that is stopped keeps it.
const std::map<idx_t, StepFigure>& StepsOf(const Comparison& result, const std::string& attention) {
  static const std::map<idx_t, StepFigure> none;
  const auto found = result.steps.find(attention);
  return found == result.steps.end() ? none : found->second;
}
const LearningFigure* LearningOf(const Comparison& result, const std::string& attention) {
  const auto found = result.learning.find(attention);
  return found == result.learning.end() ? nullptr : &found->second;
}

// By more than the noise between two measurements, and visibly in the table's hundredths.
bool IsFaster(double seconds, double rival) {
  constexpr double kNoise = 0.05, kShown_s = 0.01;
  return seconds < (1 - kNoise) * rival && rival - seconds >= kShown_s;
}

// The shortest length from which on `attention` is faster than full attention.
std::optional<idx_t> WinsFrom(const Comparison& result, const std::string& attention) {
  std::optional<idx_t> from;
  const auto& full = StepsOf(result, "full");
  for (const auto& [tokens, figure] : StepsOf(result, attention)) {
    const auto rival = full.find(tokens);
    if (rival == full.end()) continue;
    const bool wins = IsFaster(figure.seconds, rival->second.seconds);
    if (!wins) from.reset();
    if (wins && !from) from = tokens;
  }
  return from;
}

// What a comparison that was stopped has not measured.
std::vector<std::string> Missing(const Comparison& result) {
  std::vector<std::string> missing;
  for (const std::string attention : kComparedAttentions) {
    if (result.stepped.contains(attention)) continue;
    const auto& steps = StepsOf(result, attention);
    missing.push_back(steps.empty() ? fmt::format("steps with {} attention", attention)
                                    : fmt::format("steps with {} attention beyond {} tokens",
                                                  attention, steps.rbegin()->first));
  }
  for (const std::string attention : kComparedAttentions) {
    if (LearningOf(result, attention) == nullptr) {
      missing.push_back(fmt::format("learning with {} attention", attention));
    }
  }
  return missing;
}

std::string Markdown(const CompareCommand& c, const Comparison& result,
                     const std::string& machine) {
  std::string text = fmt::format(
      "Training step of the `{}` preset, one row; seconds, peak memory, fraction of the machine's "
      "peak for useful work.\n{}\n\n"
      "| tokens | full | local | lsh |\n|---|---|---|---|\n",
      c.preset, machine);
  for (const idx_t tokens : result.lengths) {
    text += fmt::format("| {} |", tokens);
    for (const std::string attention : kComparedAttentions) {
      const auto& figures = StepsOf(result, attention);
      const auto found = figures.find(tokens);
      text += found == figures.end()
                  ? (result.learning.empty() ? " |" : " left out |")
                  : fmt::format(" {:.2f} s, {:.0f} MB, {:.2f} |", found->second.seconds,
                                static_cast<double>(found->second.rss_bytes) * 1e-6,
                                found->second.fraction);
    }
    text += "\n";
  }
  for (const std::string attention : {"local", "lsh"}) {
    if (StepsOf(result, attention).empty()) continue;
    const std::optional<idx_t> from = WinsFrom(result, attention);
    text += from ? fmt::format("\nFaster than full attention from {} tokens on: {}.\n", *from,
                               attention)
                 : fmt::format("\nNot faster than full attention at any measured length: {}.\n",
                               attention);
  }
  text += fmt::format(
      "\n{} for each, the demo's model, {} x {} bytes an update. {}:\n\n"
      "| attention | time | updates | bits per byte, held out |\n|---|---|---|---|\n",
      c.max_time_s > 0.0 ? DurationText(c.max_time_s) : "About the same time", c.train_batch,
      c.train_tokens,
      c.max_time_s > 0.0
          ? "The time decides how many updates there are, so another run has other figures, and "
            "the "
            "learning rate does not fall"
          : "The number of updates is set in advance, so that the learning rate falls to its end");
  for (const std::string attention : kComparedAttentions) {
    const LearningFigure* figure = LearningOf(result, attention);
    if (figure == nullptr) continue;
    text += fmt::format("| {} | {} | {} | {:.3f} |\n", attention, DurationText(figure->seconds),
                        figure->steps, figure->bits_per_byte);
  }
  if (result.stopped) {
    text += fmt::format("\nStopped before the end. Not measured: {}.\n",
                        fmt::join(Missing(result), "; "));
  }
  return text;
}

std::string Json(const Comparison& result, const std::string& machine) {
  nlohmann::ordered_json j = {{"machine", machine}};
  for (const std::string attention : kComparedAttentions) {
    for (const auto& [tokens, figure] : StepsOf(result, attention)) {
      j["steps"].push_back({{"attention", attention},
                            {"tokens", tokens},
                            {"seconds", figure.seconds},
                            {"peak_rss_bytes", figure.rss_bytes},
                            {"fraction", figure.fraction}});
    }
    const LearningFigure* figure = LearningOf(result, attention);
    if (figure == nullptr) continue;
    j["learning"].push_back({{"attention", attention},
                             {"seconds", figure->seconds},
                             {"steps", figure->steps},
                             {"ended_by", figure->out_of_time ? "time" : "updates"},
                             {"bits_per_byte", figure->bits_per_byte}});
  }
  if (result.stopped) j["missing"] = Missing(result);
  return DumpJson(j);
}

// One line for each attention of the values that `value` takes from its figures.
template <class Value>
Chart StepChart(const Comparison& result, const char* title, const char* label,
                const Value& value) {
  Chart chart;
  chart.title = title;
  chart.x = {"tokens", true};
  chart.y = {label, true};
  for (const std::string attention : kComparedAttentions) {
    Series series{attention, {}, {}, static_cast<idx_t>(chart.series.size()), true};
    for (const auto& [tokens, figure] : StepsOf(result, attention)) {
      series.x.push_back(static_cast<double>(tokens));
      series.y.push_back(value(figure));
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

Chart LearningChart(const Comparison& result) {
  Chart chart;
  chart.title = "Learning in the same time";
  chart.x.label = "seconds";
  chart.y.label = "bits per byte, held out";
  for (const std::string attention : kComparedAttentions) {
    const LearningFigure& figure = result.learning.at(attention);
    chart.series.push_back(
        {attention, figure.at, figure.bits, static_cast<idx_t>(chart.series.size()), true});
  }
  return chart;
}

void DrawPictures(const fs::path& folder, const Comparison& result) {
  const auto draw = [&folder](const char* name, const Chart& chart) {
    WritePicture(folder / fmt::format("{}.svg", name), DrawChart(chart, PictureFormat::kSvg));
  };
  draw("seconds", StepChart(result, "A training step", "seconds",
                            [](const StepFigure& figure) { return figure.seconds; }));
  draw("memory",
       StepChart(result, "A training step", "peak memory (MB)", [](const StepFigure& figure) {
         return static_cast<double>(figure.rss_bytes) * 1e-6;
       }));
  draw("learning", LearningChart(result));
}

// A measurement that has begun is a figure too: a stop waits for it, a second one does not.
StopWords StopWordsFor(const std::string& table) {
  StopWords words;
  words.told = [](const char* signal) {
    return fmt::format(
        "{}: the comparison ends when the measurement that runs now is done, and shows what it "
        "has; a second one ends it at once",
        signal);
  };
  words.lost = [table](const char* signal) {
    return fmt::format("{}: stopped; {} has the figures that were finished", signal, table);
  };
  return words;
}

int RunCompare(CompareCommand c, int threads) {
  if (!c.max_time.empty()) c.max_time_s = ParseDuration("--max-time", c.max_time);
  Check(c.shortest >= kLeastTokens && c.longest >= c.shortest, ErrorCode::kUsage,
        "compare: --from {} --to {}: need at least {}, and --to not below --from", c.shortest,
        c.longest, kLeastTokens);
  const fs::path output = c.output;
  std::error_code none;
  Check(!fs::exists(output, none) || fs::exists(output / "table.md", none) ||
            fs::is_empty(output, none),
        ErrorCode::kUsage, "{}: not empty and no earlier comparison; choose another -o",
        io::Escape(c.output));
  fs::create_directories(output, none);
  Check(!none, ErrorCode::kIo, "{}: cannot create: {}", io::Escape(c.output), none.message());
  const std::string machine = [&] {
    Context context(threads);
    return context.Describe() + "; peak: " + Describe(ProbePeaks(context));
  }();
  Comparison result;
  // Behind each figure: hours of measuring outlive a Ctrl-C.
  const auto keep = [&](const Comparison& so_far) {
    io::WriteFileAtomic(output / "table.md", Markdown(c, so_far, machine));
    io::WriteFileAtomic(output / "results.json", Json(so_far, machine));
  };
  CatchStopSignals(StopWordsFor(io::Escape((output / "table.md").string())));
  try {
    CompareSteps(c, threads, keep, &result);
    CompareLearning(c, threads, keep, &result);
  } catch (const Cancelled&) {
    result.stopped = true;
  }
  keep(result);
  if (!result.stopped) DrawPictures(output, result);
  PrintResult(c.json ? Json(result, machine) : Markdown(c, result, machine));
  return result.stopped ? 128 + StopSignal() : 0;
}

}  // namespace

void RegisterCompare(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<CompareCommand>();
  const auto option = [command](const char* name, auto& value, const char* text) {
    return command->add_option(name, value, text)->capture_default_str();
  };
  command->add_option("FILE", c->text, "Text to learn (default: the novel of the demo)");
  option("--preset", c->preset, "Model whose training step is timed: tiny, small or base");
  option("--from", c->shortest, "Shortest row in tokens; the next ones double")
      ->check(CLI::Range(64, 1 << 22));
  option("--to", c->longest, "Longest row in tokens")->check(CLI::Range(64, 1 << 22));
  option("--patience", c->patience, "Longest time of one step; longer ones are left out")
      ->check(CLI::Range(0.1, 1e6));
  auto* minutes =
      option("--minutes", c->minutes,
             "About how long each attention learns; sets the number of updates in advance")
          ->check(CLI::Range(0.01, 600.0));
  command
      ->add_option("--max-time", c->max_time,
                   "Time after which each learning ends, for example 10m, whatever it has updated")
      ->excludes(minutes);
  option("--train-tokens", c->train_tokens, "Length of a row to learn from, in tokens")
      ->check(CLI::Range(64, 1 << 20));
  option("--train-batch", c->train_batch, "Rows of an update")->check(CLI::Range(1, 4096));
  option("-o,--output", c->output, "Folder for table.md, results.json and the pictures");
  command->add_flag("--json", c->json, "Print one JSON document instead of the table");
  command->footer(
      "Examples:\n  longspan compare --to 1024 --minutes 0.05\n"
      "  longspan compare my.txt --from 256 --to 512 --minutes 0.02 -o mine\n"
      "  longspan compare --to 1024 --max-time 3s -o same-time");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunCompare(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
