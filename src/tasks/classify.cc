#include "tasks/classify.h"

#include "tasks/scores.h"

namespace longspan {

ScoreKind ScoresOf(const TextModelInfo& info) {
  if (info.problem == ProblemType::kMultiLabel) return ScoreKind::kLabels;
  const bool number = info.problem == ProblemType::kRegression ||
                      (info.problem == ProblemType::kInferred && info.label_count() == 1);
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

std::vector<ClassifiedText> Classify(Context& context, TaskModel& model, const TaskRows& rows) {
  const ScoreKind kind = ScoresOf(model.info());
  const auto labels = static_cast<std::size_t>(model.info().label_count());
  std::vector<std::vector<double>> scores(rows.rows.size());  // of each row
  model.Run(context, rows.rows, [&](const TaskBatch& batch) {
    const Tensor logits = model.Logits(context, batch);
    for (std::size_t b = 0; b < batch.rows.size(); ++b) {
      const std::span<const float> row(logits.data<float>() + b * labels, labels);
      std::vector<double>& out = scores[static_cast<std::size_t>(batch.rows[b])];
      if (kind == ScoreKind::kClasses) out = Softmax(row);
      if (kind == ScoreKind::kLabels) out = Sigmoid(row);
      if (kind == ScoreKind::kValues) out.assign(row.begin(), row.end());
    }
  });
  std::vector<ClassifiedText> result(static_cast<std::size_t>(rows.texts()));
  for (idx_t text = 0; text < rows.texts(); ++text) {
    std::vector<double>& sum = result[static_cast<std::size_t>(text)].scores;
    sum.assign(labels, 0.0);
    const auto tokens = static_cast<double>(rows.tokens(text));
    for (idx_t row = rows.begin(text); row < rows.begin(text + 1); ++row) {
      const auto r = static_cast<std::size_t>(row);
      const double weight = static_cast<double>(rows.rows[r].size()) / tokens;
      for (std::size_t label = 0; label < labels; ++label) sum[label] += weight * scores[r][label];
    }
  }
  return result;
}

}  // namespace longspan
