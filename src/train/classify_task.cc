#include "train/classify_task.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/errors.h"
#include "families/model_inside.h"
#include "model/head_losses.h"
#include "tasks/batches.h"
#include "tasks/scores.h"
#include "train/class_weights.h"
#include "train/evaluate.h"

namespace longspan {
namespace {

std::vector<idx_t> Lengths(const ClassifyRows& rows) {
  std::vector<idx_t> lengths;
  for (idx_t r = 0; r < rows.size(); ++r) lengths.push_back(rows.length(r));
  return lengths;
}

// The rows with these numbers as a batch: side by side where the model takes them so, else padded
// to the longest.
Batch Gather(const ClassifyRows& data, std::span<const idx_t> numbers, const TextModelInfo& info) {
  idx_t width = 0, all = 0;
  for (const idx_t r : numbers) {
    width = std::max(width, data.length(r));
    all += data.length(r);
  }
  Batch rows;
  const auto count = static_cast<idx_t>(numbers.size());
  rows.Reset(info.side_by_side ? 1 : count, info.side_by_side ? all : width, info.pad_token);
  const auto labels = static_cast<idx_t>(data.values.size()) / data.size();
  idx_t row = 0, at = 0;
  for (const idx_t r : numbers) {
    const auto begin = static_cast<std::size_t>(data.begins[static_cast<std::size_t>(r)]);
    const auto length = static_cast<std::size_t>(data.length(r));
    const auto ids = std::span(data.ids).subspan(begin, length);
    const auto types = data.with_types ? std::span(data.types).subspan(begin, length)
                                       : std::span<const std::int32_t>();
    if (info.side_by_side) {
      rows.AddDocument(at, ids, types);
    } else {
      rows.SetRow(row++, ids, types);
    }
    at += data.length(r);
    if (!data.labels.empty()) rows.labels.push_back(data.labels[static_cast<std::size_t>(r)]);
    const auto values = data.values.begin() + r * labels;
    rows.values.insert(rows.values.end(), values, values + labels);
  }
  return rows;
}

// Logits (N, labels) of all rows, in their order.
std::vector<float> AllLogits(Context& context, TextModel& model, const GlobalPolicy& global,
                             const ClassifyRows& data, const EvalHooks& hooks) {
  const TextModelInfo& info = model.info();
  const idx_t labels = info.label_count();
  const std::vector<idx_t> lengths = Lengths(data);
  std::vector<float> logits(static_cast<std::size_t>(data.size() * labels));
  idx_t done = 0;
  const auto plan = info.side_by_side ? PlanSideBySide : PlanBatches;
  for (const std::vector<idx_t>& numbers : plan(lengths, kEvalTokens)) {
    Batch rows = Gather(data, numbers, info);
    global.Mark(info, &rows);
    const Tensor part = WithinLimit(context, "evaluate", [&](Context& c) {
      Tensor hidden({rows.rows * rows.tokens, info.width});
      model.Encode(c, rows.view(), hidden.view<2>());
      return model.Logits(c, rows.view(), hidden.view<2>());
    });
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      std::copy_n(part.data<float>() + static_cast<idx_t>(i) * labels, labels,
                  logits.begin() + numbers[i] * labels);
    }
    done += static_cast<idx_t>(numbers.size());
    Tell(hooks, done, data.size());
  }
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
    if (n < data.where.size()) p.input = data.where[n];
    if (n < data.names.size()) p.id = data.names[n];
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
    : TextTask(options, info, {HeadKind::kSequence, target.labels, target.problem},
               GlobalPolicy(task.global, &tokenizer)),
      task_(task),
      target_(std::move(target)),
      train_(std::move(train)),
      held_out_(std::move(held_out)),
      weights_(ResolveClassWeights(task.weights, target_, train_)),
      order_(Lengths(train_), options.batch, options.accumulate,
             KeyOf(options.seed, RunKey::kData)) {}

std::string ClassifyTask::DataFingerprint() const {
  return train_.fingerprint + " " + held_out_.fingerprint +
         fmt::format(" tokens {} and {}", train_.ids.size(), held_out_.ids.size());
}

nlohmann::json ClassifyTask::DecidingOptions() const {
  nlohmann::json deciding = {{"task", "classify"},
                             {"problem", ProblemName(target_.problem)},
                             {"labels", target_.labels},
                             {"text_column", options().data.read.text_field},
                             {"label_column", options().data.read.label_field},
                             {"pair_column", options().data.read.pair_field}};
  // Left out where there are none: runs from before there was a choice go on.
  if (!weights_.empty()) deciding["class_weights"] = weights_;
  if (task_.label_smoothing > 0.0) deciding["label_smoothing"] = task_.label_smoothing;
  return WithSharedOptions(std::move(deciding));
}

StepSize ClassifyTask::Draw(idx_t step) {
  micros_ = order_.Update(step);
  StepSize size;
  for (const std::vector<idx_t>& micro : micros_) {
    for (const idx_t row : micro) {
      size.tokens += train_.length(row);
      if (weights_.empty()) continue;
      const std::int32_t label = train_.labels[static_cast<std::size_t>(row)];
      size.weight += static_cast<double>(weights_[static_cast<std::size_t>(label)]);
    }
    size.counted += static_cast<idx_t>(micro.size());
  }
  // Of sets and numbers every value counts.
  if (train_.labels.empty()) size.counted *= static_cast<idx_t>(target_.labels.size());
  return size;
}

TaskLoss ClassifyTask::Accumulate(Context& context, idx_t micro, float scale,
                                  const StepDropout& dropout) {
  const bool counts_hits = target_.problem != ProblemType::kRegression;
  if (micro >= static_cast<idx_t>(micros_.size())) return {0.0, counts_hits ? 0 : -1};
  Batch rows = Gather(train_, micros_[static_cast<std::size_t>(micro)], info());
  rows.class_weights = weights_;
  rows.label_smoothing = static_cast<float>(task_.label_smoothing);
  const HeadLoss loss = LossAndGradients(context, rows, scale, dropout);
  return {loss.sum, counts_hits ? loss.correct : -1};
}

std::vector<std::string> ClassifyTask::RowsOf(idx_t micro) const {
  std::vector<std::string> rows;
  if (micro >= static_cast<idx_t>(micros_.size())) return rows;
  for (const idx_t row : micros_[static_cast<std::size_t>(micro)]) {
    rows.push_back(train_.where[static_cast<std::size_t>(row)]);
  }
  return rows;
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
