#include "longspan/tasks.h"
#include "tasks/scores.h"
#include "tasks/task_model.h"

namespace longspan {

ScoreKind ScoresOf(const ModelInfo& info) {
  if (info.problem == ProblemType::kMultiLabel) return ScoreKind::kLabels;
  const bool number = info.problem == ProblemType::kRegression ||
                      (info.problem == ProblemType::kInferred && info.labels.size() == 1);
  return number ? ScoreKind::kValues : ScoreKind::kClasses;
}

std::string_view ScoreKindName(ScoreKind kind) {
  switch (kind) {
    case ScoreKind::kClasses:
      return "classes";
    case ScoreKind::kLabels:
      return "labels";
    case ScoreKind::kValues:
      break;
  }
  return "values";
}

namespace {

// The scores of each row (rows, labels).
std::vector<std::vector<double>> RowScores(Context& context, const TaskModel& model,
                                           std::span<const text::Encoding> rows) {
  const ScoreKind kind = ScoresOf(model.info());
  const auto labels = model.info().labels.size();
  std::vector<std::vector<double>> scores(rows.size());
  RunRows(context, model, rows, [&](const TaskBatch& batch) {
    const Tensor logits = LogitsOf(context, model, batch);
    for (std::size_t b = 0; b < batch.rows.size(); ++b) {
      const std::span<const float> row(logits.data<float>() + b * labels, labels);
      std::vector<double>& out = scores[static_cast<std::size_t>(batch.rows[b])];
      if (kind == ScoreKind::kClasses) out = Softmax(row);
      if (kind == ScoreKind::kLabels) out = Sigmoid(row);
      if (kind == ScoreKind::kValues) out.assign(row.begin(), row.end());
    }
  });
  return scores;
}

}  // namespace

std::vector<ClassifiedText> Classify(Context& context, const TaskModel& model,
                                     std::span<const TaskText> texts) {
  return Classify(context, model, model.Encode(context, texts));
}

std::vector<ClassifiedText> Classify(Context& context, const TaskModel& model,
                                     const TaskRows& rows) {
  RequireHead(model, HeadKind::kSequence);
  CheckRows(rows);
  const auto labels = model.info().labels.size();
  std::vector<std::vector<double>> scores = RowScores(context, model, rows.rows);
  std::vector<ClassifiedText> result(static_cast<std::size_t>(rows.texts()));
  for (idx_t text = 0; text < rows.texts(); ++text) {
    ClassifiedText& whole = result[static_cast<std::size_t>(text)];
    whole.scores.assign(labels, 0.0);
    const auto tokens = static_cast<double>(rows.tokens(text));
    for (idx_t row = rows.begin(text); row < rows.begin(text + 1); ++row) {
      const auto r = static_cast<std::size_t>(row);
      const double weight = static_cast<double>(rows.rows[r].size()) / tokens;
      for (std::size_t label = 0; label < labels; ++label) {
        whole.scores[label] += weight * scores[r][label];
      }
      whole.windows.push_back({CharsOf(rows.rows[r]), rows.rows[r].size(), std::move(scores[r])});
    }
  }
  return result;
}

}  // namespace longspan
