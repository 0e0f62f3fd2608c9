// longspan long-evidence: does a long model use what a short one cannot see?

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/training.h"
#include "cli/visual/chart.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "lab/long_evidence.h"
#include "longspan/evaluate.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kWanted = 0.95;  // of the long documents
constexpr const char* kEvidenceOutput = "longspan-evidence";

struct EvidenceCommand {
  std::string output = kEvidenceOutput, progress = "auto";
  idx_t tokens = 4096, documents = 1000;
  double updates = 1.0;  // share of each stage's
  std::uint64_t seed = 1;
  bool json = false;
};

// The model on the test documents cut to `tokens`.
struct EvidenceScore {
  idx_t tokens = 0, right = 0, documents = 0;
  idx_t whole = 0;  // documents of which both facts are left
  double share() const { return static_cast<double>(right) / static_cast<double>(documents); }
  ShareInterval interval() const { return WilsonInterval(right, documents); }
};

// Not farther from one half than four standard deviations of as many tossed coins.
bool IsChance(const EvidenceScore& score) {
  const auto n = static_cast<double>(score.documents);
  return std::abs(score.share() - 0.5) <= 4.0 * 0.5 / std::sqrt(n);
}

// Stage `number` from 1; the last one leaves the model.
TrainOptions StageOptions(const EvidenceCommand& c, const EvidenceStage& stage, std::size_t number,
                          const fs::path& start) {
  const fs::path output = c.output;
  TrainOptions o = FineTuneOptions();
  o.model = start;
  const bool last = number == EvidenceStages(c.tokens).size();
  o.data.train = {output / "data" / fmt::format("train-{}.jsonl", number)};
  o.data.eval = output / "data" / fmt::format("held-out-{}.jsonl", number);
  o.output = output / (last ? std::string("model") : fmt::format("stage-{}", number));
  o.tokens = stage.tokens;
  o.batch = stage.batch;
  o.accumulate = 1;
  o.optimizer.learning_rate = 1e-3;
  o.seed = c.seed;
  o.checkpoints.eval_every = o.checkpoints.save_every = 0;
  o.checkpoints.overwrite = true;
  o.selection.kept = KeptModel::kLast;
  return o;
}

// Stage by stage; the last one's model lies in output/model. The result is the last stage's, or
// that of the one that a signal stopped, but for the seconds, which are those of all.
TrainResult TrainStages(Context& context, const EvidenceCommand& c) {
  constexpr idx_t kHeldOut = 200;
  fs::path model = fs::path(c.output) / "start";
  WriteEvidenceModel(c.tokens, c.seed, model);
  TrainResult result;
  double seconds = 0.0;
  std::size_t number = 0;
  for (EvidenceStage stage : EvidenceStages(c.tokens)) {
    stage.updates = std::llround(c.updates * static_cast<double>(stage.updates));
    const TrainOptions o = StageOptions(c, stage, ++number, model);
    WriteEvidence(o.data.train[0], stage, c.seed, EvidenceSplit::kTrain,
                  stage.updates * stage.batch);
    WriteEvidence(o.data.eval, stage, c.seed, EvidenceSplit::kHeldOut, kHeldOut);
    ClassifyOptions task;
    task.epochs = 1.0;
    result = RunWithProgress(
        ParseProgressMode(c.progress), o.output.string(),
        [&](const TrainHooks& hooks) { return TrainClassifier(context, o, task, hooks); });
    seconds += result.seconds;
    if (result.stopped) break;
    if (!c.json) {
      PrintResult(
          fmt::format("{}: {:.3f} right after {} updates on documents of {} tokens, decoys: {}\n",
                      stage.label == EvidenceLabel::kColours ? "which colours" : "the same",
                      result.metrics.front().value, result.step, stage.tokens, stage.decoys));
    }
    model = o.output;
  }
  result.seconds = seconds;
  return result;
}

EvidenceScore Score(Context& context, const EvidenceCommand& c, const EvidenceStage& stage,
                    idx_t tokens) {
  ClassifierEvalOptions o;
  o.model = fs::path(c.output) / "model";
  o.file = fs::path(c.output) / "data" / "test.jsonl";
  o.tokens = tokens;
  o.task.overflow = text::Overflow::kTruncate;
  const ClassifierEval eval = EvaluateClassifier(context, o);
  EvidenceScore score{tokens, 0, eval.rows, 0};
  score.right = std::count(eval.right.begin(), eval.right.end(), true);
  for (idx_t i = 0; i < c.documents; ++i) {
    const EvidenceDocument d =
        MakeEvidence(stage.tokens, stage.decoys, c.seed, EvidenceSplit::kTest, i);
    // The last token of a cut text is [SEP].
    score.whole += d.second + kFactTokens <= tokens - 1;
  }
  return score;
}

std::string ScoreTable(const std::vector<EvidenceScore>& scores) {
  std::string text = fmt::format("\n{:>11}  {:>8}  {:^16}  {:>18}\n", "tokens read", "right",
                                 "95 % between", "both facts in them");
  for (const EvidenceScore& s : scores) {
    text += fmt::format("{:>11}  {:>8.3f}  {:.3f} and {:.3f}  {:>17.1f} %\n", s.tokens, s.share(),
                        s.interval().low, s.interval().high,
                        100.0 * static_cast<double>(s.whole) / static_cast<double>(s.documents));
  }
  return text;
}

nlohmann::ordered_json ScoresJson(const EvidenceCommand& c,
                                  const std::vector<EvidenceScore>& scores, double seconds,
                                  bool holds) {
  nlohmann::ordered_json j;
  j["holds"] = holds;
  j["documents"] = c.documents;
  j["tokens"] = c.tokens;
  j["seed"] = c.seed;
  j["training_seconds"] = seconds;
  for (const EvidenceScore& s : scores) {
    j["scores"].push_back({{"tokens", s.tokens},
                           {"accuracy", s.share()},
                           {"low", s.interval().low},
                           {"high", s.interval().high},
                           {"right", s.right},
                           {"both_facts", s.whole}});
  }
  return j;
}

// The share of right answers against the tokens read, and what a perfect reader of them reaches.
Chart ScoreChart(const std::vector<EvidenceScore>& scores) {
  Chart chart;
  chart.title = "The same weights, reading more of each document";
  chart.note = "perfect reader: right where both facts are read, else by chance";
  chart.x.label = "tokens read";
  chart.y.label = "share of right answers";
  Series model{"model", {}, {}, 0, true, false}, perfect{"perfect reader", {}, {}, 1, false, true};
  for (const EvidenceScore& s : scores) {
    const double whole = static_cast<double>(s.whole) / static_cast<double>(s.documents);
    model.x.push_back(static_cast<double>(s.tokens));
    model.y.push_back(s.share());
    perfect.x.push_back(static_cast<double>(s.tokens));
    perfect.y.push_back(0.5 + 0.5 * whole);
  }
  chart.series = {perfect, model};
  return chart;
}

int RunLongEvidence(const EvidenceCommand& c, int threads) {
  const fs::path output = c.output;
  std::error_code none;
  Check(c.output == kEvidenceOutput || !fs::exists(output, none) ||
            fs::exists(output / "start", none) || fs::is_empty(output, none),
        ErrorCode::kUsage, "{}: not empty and no earlier run; choose another -o",
        io::Escape(c.output));
  Context context(threads);
  if (!c.json) {
    PrintResult(fmt::format(
        "Does anna have the colour that otto has? One of them stands in the first eighth of a "
        "text\n"
        "of {} tokens, the other one behind five eighths, among {} sentences about other people.\n",
        c.tokens, EvidenceStages(c.tokens).back().decoys));
  }
  const TrainResult trained = TrainStages(context, c);
  if (trained.stopped) {
    PrintResult("stopped; longspan long-evidence starts anew\n");
    return TrainExitCode(trained);
  }
  const EvidenceStage stage = EvidenceStages(c.tokens).back();
  WriteEvidence(output / "data" / "test.jsonl", stage, c.seed, EvidenceSplit::kTest, c.documents);
  std::vector<EvidenceScore> scores;
  for (const idx_t eighths : {1, 2, 4, 6, 8}) {
    scores.push_back(Score(context, c, stage, c.tokens * eighths / 8));
  }
  const EvidenceScore &cut = scores.front(), &whole = scores.back();
  const bool holds = whole.share() >= kWanted && IsChance(cut);
  const Chart chart = ScoreChart(scores);
  for (const char* file : {"evidence.svg", "evidence.png"}) {
    WritePicture(output / file, DrawChart(chart, FormatOf(file)));
  }
  if (c.json) {
    PrintResult(DumpJson(ScoresJson(c, scores, trained.seconds, holds)));
  } else {
    PrintResult(PrintChart(chart, DetectTerminal(STDOUT_FILENO)));
    PrintResult(ScoreTable(scores));
    PrintResult(fmt::format(
        "\n{} test documents of {} tokens: {:.1f} % right; the same weights on the first {} "
        "tokens: "
        "{:.1f} %, chance is 50 %\n{} of training; {}: model, data, pictures\n"
        "again: longspan eval -m {}/model {}/data/test.jsonl --tokens {} --overflow truncate\n",
        c.documents, c.tokens, 100.0 * whole.share(), cut.tokens, 100.0 * cut.share(),
        DurationText(trained.seconds), c.output, c.output, c.output, cut.tokens));
  }
  return holds ? 0 : kDoesNotHold;
}

}  // namespace

void RegisterLongEvidence(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<EvidenceCommand>();
  command->add_option("--tokens", c->tokens, "Length of a document in tokens")
      ->check(CLI::Range(64, 65536))
      ->capture_default_str();
  command->add_option("--documents", c->documents, "Number of documents of the test")
      ->check(CLI::Range(2, 1000000))
      ->capture_default_str();
  command
      ->add_option("--updates", c->updates,
                   "Share of the updates of each stage that are done; less is a quick look")
      ->check(CLI::Range(0.1, 1.0))
      ->capture_default_str();
  command->add_option("--seed", c->seed, "Seed of documents and weights")->capture_default_str();
  command->add_option("-o,--output", c->output, "Folder to write")->capture_default_str();
  command
      ->add_option("--progress", c->progress,
                   "Form of the progress on stderr: auto, bar, plain or none")
      ->capture_default_str();
  command->add_flag("--json", c->json, "Print one JSON document");
  command->footer(
      "Exit code 0: at least 95 % of the documents are judged right, and the cut ones by\n"
      "chance; 1: not. It takes minutes.\nExamples:\n  longspan long-evidence\n"
      "  longspan long-evidence --tokens 512 --seed 2 -o evidence --json");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunLongEvidence(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
