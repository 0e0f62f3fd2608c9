#include "train/classify_task.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/errors.h"
#include "model/head_losses.h"
#include "tasks/scores.h"
#include "train/class_weights.h"

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

// Fills what classes and sets have in common: truth and predicted (N, K).
void ScoreLabels(const std::vector<std::string>& names, std::span<const std::uint8_t> truth,
                 std::span<const std::uint8_t> predicted, ClassifierEval* e) {
  e->classes = metrics::ScoreClasses(names, truth, predicted);
  e->macro = metrics::AverageOf(e->classes, metrics::Average::kMacro);
  e->micro = metrics::AverageOf(e->classes, metrics::Average::kMicro);
  e->weighted = metrics::AverageOf(e->classes, metrics::Average::kWeighted);
  e->macro_f1 = e->macro.f1;
  e->micro_f1 = e->micro.f1;
  e->weighted_f1 = e->weighted.f1;
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

void JudgeClasses(const std::vector<std::string>& names, const ClassifyRows& data,
                  std::span<const float> logits, ClassifierEval* e) {
  const auto labels = static_cast<idx_t>(names.size());
  std::vector<std::uint8_t> truth(logits.size(), 0), predicted(logits.size(), 0);
  std::vector<double> scores;
  double sum = 0.0;
  for (idx_t r = 0; r < e->rows; ++r) {
    const LogitRow row{logits.data() + r * labels, labels, 1};
    const std::vector<double> shares =
        Softmax(logits.subspan(static_cast<std::size_t>(r * labels), names.size()));
    scores.insert(scores.end(), shares.begin(), shares.end());
    const std::int32_t label = data.labels[static_cast<std::size_t>(r)];
    sum += SoftmaxLoss(row, label, 0.0f, nullptr);
    truth[static_cast<std::size_t>(r * labels + label)] = 1;
    predicted[static_cast<std::size_t>(r * labels + LargestLogit(row))] = 1;
  }
  e->loss = sum / static_cast<double>(e->rows);
  ScoreLabels(names, truth, predicted, e);
  e->accuracy = e->exact_match;
  e->mcc = metrics::MatthewsCorrelation(e->classes);
  ScoreAreas(truth, scores, e);
}

void JudgeSets(const std::vector<std::string>& names, const ClassifyRows& data,
               std::span<const float> logits, ClassifierEval* e) {
  std::vector<std::uint8_t> truth(logits.size()), predicted(logits.size());
  idx_t hits = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    truth[i] = data.values[i] > 0.5f;
    predicted[i] = logits[i] > 0.0f;
    hits += truth[i] == predicted[i] ? 1 : 0;
  }
  const auto pairs = static_cast<double>(logits.size());
  e->loss = BinaryLoss(logits, data.values, 0.0f, nullptr) / pairs;
  e->accuracy = static_cast<double>(hits) / pairs;
  ScoreLabels(names, truth, predicted, e);
  ScoreAreas(truth, Sigmoid(logits), e);
}

}  // namespace

ClassifierEval EvaluateRows(Context& context, TextModel& model, const ClassifyTarget& target,
                            const GlobalPolicy& global, const ClassifyRows& data,
                            const EvalHooks& hooks, std::vector<float>* kept) {
  std::vector<float> logits = AllLogits(context, model, global, data, hooks);
  ClassifierEval e;
  e.problem = target.problem;
  e.rows = data.size();
  e.cut = data.cut;
  switch (target.problem) {
    case ProblemType::kRegression:
      e.loss = e.mse =
          SquaredLoss(logits, data.values, 0.0f, nullptr) / static_cast<double>(e.rows);
      e.pearson = metrics::Pearson(logits, std::span<const float>(data.values));
      e.spearman = metrics::Spearman(logits, std::span<const float>(data.values));
      break;
    case ProblemType::kMultiLabel:
      JudgeSets(target.labels, data, logits, &e);
      break;
    case ProblemType::kInferred:
    case ProblemType::kSingleLabel:
      JudgeClasses(target.labels, data, logits, &e);
      break;
  }
  if (kept != nullptr) *kept = std::move(logits);
  return e;
}

std::vector<TrainMetric> MetricsOf(const ClassifierEval& e) {
  switch (e.problem) {
    case ProblemType::kRegression:
      return {{"mse", e.mse}, {"pearson", e.pearson}, {"spearman", e.spearman}};
    case ProblemType::kMultiLabel:
      return {{"accuracy", e.accuracy}, {"auc", e.auc},           {"exact_match", e.exact_match},
              {"macro_f1", e.macro_f1}, {"micro_f1", e.micro_f1}, {"weighted_f1", e.weighted_f1}};
    case ProblemType::kInferred:
    case ProblemType::kSingleLabel:
      break;
  }
  return {{"accuracy", e.accuracy},
          {"auc", e.auc},
          {"macro_f1", e.macro_f1},
          {"mcc", e.mcc},
          {"weighted_f1", e.weighted_f1}};
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

std::vector<Prediction> PredictionsOf(const ClassifyTarget& target, const ClassifyRows& data,
                                      std::span<const float> logits) {
  const bool sets = target.problem == ProblemType::kMultiLabel;
  const auto labels = static_cast<idx_t>(target.labels.size());
  std::vector<Prediction> predictions;
  for (idx_t r = 0; r < data.size(); ++r) {
    const auto n = static_cast<std::size_t>(r);
    const auto row = logits.subspan(static_cast<std::size_t>(r * labels), target.labels.size());
    Prediction p;
    p.input = data.where(r);
    p.id = data.names[n];
    if (target.problem == ProblemType::kRegression) {
      p.gold_value = static_cast<double>(data.values[n]);
      p.scores.assign(row.begin(), row.end());
    } else if (sets) {
      p.scores = Sigmoid(row);
      for (idx_t k = 0; k < labels; ++k) {
        if (data.values[static_cast<std::size_t>(r * labels + k)] > 0.5f) p.gold.push_back(k);
        if (row[static_cast<std::size_t>(k)] > 0.0f) p.predicted.push_back(k);
      }
    } else {
      p.scores = Softmax(row);
      p.gold = {data.labels[n]};
      p.predicted = {LargestLogit({row.data(), labels, 1})};
    }
    predictions.push_back(std::move(p));
  }
  return predictions;
}

// ---- the task -----------------------------------------------------------------------------------

ClassifyTask::ClassifyTask(const TrainOptions& options, const ClassifyOptions& task,
                           const text::Tokenizer& tokenizer, const TextModelInfo& info,
                           ClassifyTarget target, ClassifyRows train, ClassifyRows held_out)
    : RowTask(options, info, {HeadKind::kSequence, target.labels, target.problem},
              GlobalPolicy(task.global, &tokenizer), train.lengths()),
      task_(task),
      target_(std::move(target)),
      train_(std::move(train)),
      held_out_(std::move(held_out)),
      weights_(ResolveClassWeights(task.weights, target_.labels,
                                   CountsOf(train_.labels, target_.labels.size()))) {}

std::string ClassifyTask::DataFingerprint() const {
  return train_.fingerprint + " " + held_out_.fingerprint +
         fmt::format(" tokens {} and {}", train_.tokens(), held_out_.tokens());
}

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
  return WithSharedOptions(std::move(deciding), task_.epochs);
}

// Of sets and numbers every value counts.
idx_t ClassifyTask::Counted(idx_t /*row*/) const {
  return train_.labels.empty() ? static_cast<idx_t>(target_.labels.size()) : 1;
}

double ClassifyTask::Weight(idx_t row) const {
  if (weights_.empty()) return 0.0;
  const std::int32_t label = train_.labels[static_cast<std::size_t>(row)];
  return static_cast<double>(weights_[static_cast<std::size_t>(label)]);
}

Batch ClassifyTask::Gather(std::span<const idx_t> rows) const {
  Batch batch = GatherRows(train_, rows, info());
  batch.class_weights = weights_;
  batch.label_smoothing = static_cast<float>(task_.label_smoothing);
  const auto labels = static_cast<idx_t>(train_.values.size()) / train_.size();
  for (const idx_t r : rows) {
    if (!train_.labels.empty()) batch.labels.push_back(train_.labels[static_cast<std::size_t>(r)]);
    const auto values = train_.values.begin() + r * labels;
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
  if (target_.problem == ProblemType::kRegression) return {held_out_.size(), ""};
  const bool sets = target_.problem == ProblemType::kMultiLabel;
  return {held_out_.size(), sets ? "exact_match" : "accuracy"};
}

}  // namespace longspan
