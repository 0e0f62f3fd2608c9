#include "train/classify_task.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <utility>

#include "base/errors.h"
#include "model/head_losses.h"
#include "tasks/scores.h"
#include "train/class_weights.h"
#include "train/window_mean.h"

namespace longspan {
namespace {

// Logits (N, labels) of all rows, in their order.
std::vector<float> AllLogits(Context& context, TextModel& model, const GlobalPolicy& global,
                             const ClassifyRows& data, const EvalHooks& hooks) {
  const idx_t labels = model.info().label_count();
  std::vector<float> logits(static_cast<std::size_t>(data.size() * labels));
  ForEachLogits(
      context, model, global, data, hooks,
      [&](std::span<const idx_t> numbers, std::span<const idx_t>, std::span<const float> part) {
        for (std::size_t i = 0; i < numbers.size(); ++i) {
          std::copy_n(part.begin() + static_cast<idx_t>(i) * labels, labels,
                      logits.begin() + numbers[i] * labels);
        }
      });
  return logits;
}

// The place of the largest score, of equal ones the first: the class that classify names.
std::size_t BestOf(std::span<const double> scores) {
  return static_cast<std::size_t>(Largest(scores, 1).front());
}

// Fills what classes and sets have in common: truth and predicted (N, K).
void ScoreLabels(const std::vector<std::string>& names, std::span<const std::uint8_t> truth,
                 std::span<const std::uint8_t> predicted, ClassifierEval* e) {
  e->classes = metrics::ScoreClasses(names, truth, predicted);
  e->macro = metrics::AverageOf(e->classes, metrics::Average::kMacro);
  e->micro = metrics::AverageOf(e->classes, metrics::Average::kMicro);
  e->weighted = metrics::AverageOf(e->classes, metrics::Average::kWeighted);
  const auto labels = static_cast<std::ptrdiff_t>(names.size());
  idx_t exact = 0;
  for (idx_t r = 0; r < e->rows; ++r) {
    const auto t = truth.begin() + r * labels, p = predicted.begin() + r * labels;
    const bool right = std::equal(t, t + labels, p);
    e->right.push_back(right);
    exact += right ? 1 : 0;
  }
  e->exact_match = static_cast<double>(exact) / static_cast<double>(e->rows);
}

// Elements of the last of K columns of rows (N, K).
template <typename T>
std::vector<T> LastColumn(std::span<const T> rows, std::size_t columns) {
  std::vector<T> column;
  for (std::size_t i = columns - 1; i < rows.size(); i += columns) column.push_back(rows[i]);
  return column;
}

// Of truth and scores (N, K). Scores that are not numbers have no order, and no areas.
void ScoreAreas(std::span<const std::uint8_t> truth, std::span<const double> scores,
                ClassifierEval* e) {
  const std::size_t labels = e->classes.size();
  const bool sets = e->problem == ProblemType::kMultiLabel;
  const bool ordered =
      std::none_of(scores.begin(), scores.end(), [](double s) { return std::isnan(s); });
  if (!ordered || (!sets && labels < 2)) return;
  if (!sets && labels == 2) {
    const std::vector<std::uint8_t> has = LastColumn(truth, labels);
    const std::vector<double> column = LastColumn(scores, labels);
    e->auc = metrics::RocAuc(has, column);
    e->average_precision = metrics::AveragePrecision(has, column);
    return;
  }
  const auto width = static_cast<idx_t>(labels);
  e->auc = metrics::MacroRocAuc(truth, scores, width);
  e->average_precision = metrics::MacroAveragePrecision(truth, scores, width);
}

// Rows of a matrix (rows, labels) of logits.
std::span<const float> LogitsOfRow(std::span<const float> logits, idx_t row, std::size_t labels) {
  return logits.subspan(static_cast<std::size_t>(row) * labels, labels);
}

// The scores of all texts (texts, labels).
std::vector<double> ScoresOfTexts(const ClassifyRows& data, std::span<const float> logits,
                                  ScoreKind kind, std::size_t labels) {
  std::vector<double> scores;
  scores.reserve(static_cast<std::size_t>(data.texts()) * labels);
  for (idx_t text = 0; text < data.texts(); ++text) {
    const auto t = static_cast<std::size_t>(text);
    std::vector<std::vector<double>> windows;
    for (idx_t row = data.first[t]; row < data.first[t + 1]; ++row) {
      windows.push_back(ScoresOfLogits(kind, LogitsOfRow(logits, row, labels)));
    }
    const std::vector<double> mean = MeanOfWindows(windows, data.SharesOf(text));
    scores.insert(scores.end(), mean.begin(), mean.end());
  }
  return scores;
}

// The loss of a text, or with `labels` of a few of its labels: those of the columns of `logits`
// (rows, columns) from `column` on.
double LossOfText(const ClassifyRows& data, const ClassifierScores& said, std::size_t labels,
                  idx_t text, const SequenceTargets& targets, idx_t column, idx_t columns) {
  const auto t = static_cast<std::size_t>(text);
  View<const float, 2> own;
  own.data = said.logits.data() + data.first[t] * static_cast<idx_t>(labels) + column;
  own.extent = {data.first[t + 1] - data.first[t], columns};
  own.stride = {static_cast<idx_t>(labels), 1};
  return LossOfWindowMean(targets, {own, data.SharesOf(text)}, nullptr);
}

void JudgeClasses(const std::vector<std::string>& names, const ClassifyRows& data,
                  const ClassifierScores& said, ClassifierEval* e) {
  const std::size_t labels = names.size();
  std::vector<std::uint8_t> truth(said.scores.size(), 0), predicted(said.scores.size(), 0);
  double sum = 0.0;
  for (idx_t text = 0; text < e->rows; ++text) {
    const auto t = static_cast<std::size_t>(text);
    const auto label = static_cast<std::size_t>(data.labels[t]);
    const SequenceTargets own{ProblemType::kSingleLabel, std::span(data.labels).subspan(t, 1), {}};
    sum += LossOfText(data, said, labels, text, own, 0, static_cast<idx_t>(labels));
    truth[t * labels + label] = 1;
    predicted[t * labels + BestOf(std::span(said.scores).subspan(t * labels, labels))] = 1;
  }
  e->loss = sum / static_cast<double>(e->rows);
  ScoreLabels(names, truth, predicted, e);
  e->accuracy = e->exact_match;
  e->mcc = metrics::MatthewsCorrelation(e->classes);
  ScoreAreas(truth, said.scores, e);
}

void JudgeSets(const std::vector<std::string>& names, const ClassifyRows& data,
               const ClassifierScores& said, ClassifierEval* e) {
  const std::size_t labels = names.size();
  std::vector<std::uint8_t> truth(said.scores.size()), predicted(said.scores.size());
  idx_t hits = 0;
  double sum = 0.0;
  for (std::size_t i = 0; i < said.scores.size(); ++i) {
    truth[i] = HasLabel(data.values[i]) ? 1 : 0;
    predicted[i] = HasLabel(said.scores[i]) ? 1 : 0;
    hits += truth[i] == predicted[i] ? 1 : 0;
    const SequenceTargets own{ProblemType::kMultiLabel, {}, std::span(data.values).subspan(i, 1)};
    sum += LossOfText(data, said, labels, static_cast<idx_t>(i / labels), own,
                      static_cast<idx_t>(i % labels), 1);
  }
  const auto pairs = static_cast<double>(said.scores.size());
  e->loss = sum / pairs;
  e->accuracy = static_cast<double>(hits) / pairs;
  ScoreLabels(names, truth, predicted, e);
  ScoreAreas(truth, said.scores, e);
}

void JudgeNumbers(const ClassifyRows& data, const ClassifierScores& said, ClassifierEval* e) {
  const std::vector<double> values(data.values.begin(), data.values.end());
  double sum = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double difference = said.scores[i] - values[i];
    sum += difference * difference;
  }
  e->loss = e->mse = sum / static_cast<double>(e->rows);
  e->pearson = metrics::Pearson(said.scores, std::span<const double>(values));
  e->spearman = metrics::Spearman(said.scores, std::span<const double>(values));
}

}  // namespace

ClassifierEval EvaluateRows(Context& context, TextModel& model, const ClassifyTarget& target,
                            const GlobalPolicy& global, const ClassifyRows& data,
                            const EvalHooks& hooks, ClassifierScores* kept) {
  const std::size_t labels = target.labels.size();
  ClassifierScores said;
  said.logits = AllLogits(context, model, global, data, hooks);
  said.scores =
      ScoresOfTexts(data, said.logits, ScoresOf(target.problem, std::ssize(target.labels)), labels);
  ClassifierEval e;
  e.problem = target.problem;
  e.rows = data.texts();
  e.cut = data.cut;
  e.in_windows = data.in_windows;
  e.windows = data.size();
  e.longest = data.longest;
  switch (target.problem) {
    case ProblemType::kRegression:
      JudgeNumbers(data, said, &e);
      break;
    case ProblemType::kMultiLabel:
      JudgeSets(target.labels, data, said, &e);
      break;
    case ProblemType::kInferred:
    case ProblemType::kSingleLabel:
      JudgeClasses(target.labels, data, said, &e);
      break;
  }
  if (kept != nullptr) *kept = std::move(said);
  return e;
}

std::vector<TrainMetric> MetricsOf(const ClassifierEval& e) {
  switch (e.problem) {
    case ProblemType::kRegression:
      return {{"mse", e.mse}, {"pearson", e.pearson}, {"spearman", e.spearman}};
    case ProblemType::kMultiLabel:
      return {{"accuracy", e.accuracy}, {"auc", e.auc},           {"exact_match", e.exact_match},
              {"macro_f1", e.macro.f1}, {"micro_f1", e.micro.f1}, {"weighted_f1", e.weighted.f1}};
    case ProblemType::kInferred:
    case ProblemType::kSingleLabel:
      break;
  }
  return {{"accuracy", e.accuracy},
          {"auc", e.auc},
          {"macro_f1", e.macro.f1},
          {"mcc", e.mcc},
          {"weighted_f1", e.weighted.f1}};
}

std::vector<std::string> MetricNames(ProblemType problem) {
  ClassifierEval none;
  std::set<std::string> names;
  for (const ProblemType one : {ProblemType::kSingleLabel, ProblemType::kMultiLabel, problem}) {
    if (problem != ProblemType::kInferred && one != problem) continue;
    none.problem = one;
    for (const TrainMetric& metric : MetricsOf(none)) names.insert(metric.name);
  }
  return {names.begin(), names.end()};
}

namespace {

// The double of the fewest digits that read back as this float: of 0.99 in a file 0.99 again, not
// 0.9900000095367432. `value` is finite.
double ShortestDouble(float value) {
  const std::string digits = fmt::format("{}", value);
  double shortest = 0.0;
  std::from_chars(digits.data(), digits.data() + digits.size(), shortest);
  return shortest;
}

}  // namespace

std::vector<Prediction> PredictionsOf(const ClassifyTarget& target, const ClassifyRows& data,
                                      std::span<const double> scores) {
  const std::size_t labels = target.labels.size();
  std::vector<Prediction> predictions;
  for (std::size_t n = 0; n < static_cast<std::size_t>(data.texts()); ++n) {
    const std::span<const double> own = scores.subspan(n * labels, labels);
    Prediction p;
    p.input = data.where(data.first[n]);
    p.id = data.names[n];
    p.scores.assign(own.begin(), own.end());
    if (target.problem == ProblemType::kRegression) {
      p.gold_value = ShortestDouble(data.values[n]);
    } else if (target.problem == ProblemType::kMultiLabel) {
      for (std::size_t k = 0; k < labels; ++k) {
        if (HasLabel(data.values[n * labels + k])) p.gold.push_back(static_cast<idx_t>(k));
        if (HasLabel(own[k])) p.predicted.push_back(static_cast<idx_t>(k));
      }
    } else {
      p.gold = {data.labels[n]};
      p.predicted = {static_cast<idx_t>(BestOf(own))};
    }
    predictions.push_back(std::move(p));
  }
  return predictions;
}

// ---- the task -----------------------------------------------------------------------------------

namespace {

// The label of each example: of a row that of its text. None for sets and numbers.
std::vector<std::int32_t> LabelsOfExamples(const ClassifyRows& rows, bool by_text) {
  if (by_text) return rows.labels;
  std::vector<std::int32_t> labels;
  for (std::size_t text = 0; text < rows.labels.size(); ++text) {
    const idx_t count = rows.first[text + 1] - rows.first[text];
    labels.insert(labels.end(), static_cast<std::size_t>(count), rows.labels[text]);
  }
  return labels;
}

// Tokens of each example.
std::vector<idx_t> LengthsOfExamples(const ClassifyRows& rows, bool by_text) {
  if (!by_text) return rows.lengths();
  std::vector<idx_t> lengths;
  for (std::size_t text = 0; text + 1 < rows.first.size(); ++text) {
    lengths.push_back(rows.begin(rows.first[text + 1]) - rows.begin(rows.first[text]));
  }
  return lengths;
}

}  // namespace

ClassifyTask::ClassifyTask(const TrainOptions& options, const ClassifyOptions& task,
                           const text::Tokenizer& tokenizer, const TextModelInfo& info,
                           ClassifyTarget target, ClassifyRows train, ClassifyRows held_out)
    : RowTask(options, info, {HeadKind::kSequence, target.labels, target.problem},
              GlobalPolicy(task.global, &tokenizer),
              LengthsOfExamples(train, task.window_loss == WindowLoss::kMean)),
      task_(task),
      target_(std::move(target)),
      train_(std::move(train)),
      held_out_(std::move(held_out)),
      labels_(LabelsOfExamples(train_, by_text())),
      weights_(ResolveClassWeights(task.weights, target_.labels,
                                   CountsOf(labels_, target_.labels.size()))) {}

nlohmann::json ClassifyTask::DecidingOptions() const {
  nlohmann::json deciding = {{"task", "classify"},
                             {"problem", ProblemName(target_.problem)},
                             {"labels", target_.labels},
                             {"text_column", options().data.read.text_field},
                             {"label_column", options().data.read.label_field},
                             {"pair_column", options().data.read.pair_field.value_or("")}};
  // Left out where there are none: runs from before there was a choice go on.
  if (!weights_.empty()) deciding["class_weights"] = weights_;
  if (task_.label_smoothing > 0.0) deciding["label_smoothing"] = task_.label_smoothing;
  if (task_.overflow == text::Overflow::kWindow) {
    deciding["overflow"] = OverflowName(task_.overflow);
    deciding["stride"] = task_.stride;
  }
  if (by_text()) deciding["window_loss"] = WindowLossName(task_.window_loss);
  return WithSharedOptions(std::move(deciding), task_.epochs);
}

// Of sets and numbers every value counts.
idx_t ClassifyTask::Counted(idx_t /*example*/) const {
  return labels_.empty() ? static_cast<idx_t>(target_.labels.size()) : 1;
}

double ClassifyTask::Weight(idx_t example) const {
  if (weights_.empty()) return 0.0;
  const std::int32_t label = labels_[static_cast<std::size_t>(example)];
  return static_cast<double>(weights_[static_cast<std::size_t>(label)]);
}

Batch ClassifyTask::Gather(std::span<const idx_t> examples) const {
  std::vector<idx_t> rows;
  for (const idx_t example : examples) rows.push_back(FirstRow(example));
  Batch batch = GatherRows(train_, rows, info());
  batch.class_weights = weights_;
  batch.label_smoothing = static_cast<float>(task_.label_smoothing);
  const auto labels = static_cast<idx_t>(train_.values.size()) / train_.texts();
  for (const idx_t example : examples) {
    if (!labels_.empty()) batch.labels.push_back(labels_[static_cast<std::size_t>(example)]);
    const auto values = train_.values.begin() + train_.text_of(FirstRow(example)) * labels;
    batch.values.insert(batch.values.end(), values, values + labels);
  }
  return batch;
}

TaskEvaluation ClassifyTask::Evaluate(Context& context, const EvalHooks& hooks) {
  const ClassifierEval e = EvaluateRows(context, model(), target_, global(), held_out_, hooks);
  return {e.loss, MetricsOf(e)};
}

// The labels of a set are not independent of each other, so only whole sets are counted.
HeldOutTexts ClassifyTask::held_out_texts() const {
  if (target_.problem == ProblemType::kRegression) return {held_out_.texts(), ""};
  const bool sets = target_.problem == ProblemType::kMultiLabel;
  return {held_out_.texts(), sets ? "exact_match" : "accuracy"};
}

}  // namespace longspan
