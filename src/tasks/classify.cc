#include "longspan/tasks.h"
#include "tasks/scores.h"
#include "tasks/task_model.h"

namespace longspan {

ScoreKind ScoresOf(const ModelInfo& info) {
  return ScoresOf(info.problem, std::ssize(info.labels));
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
  RunLogits(context, model, rows, [&](std::span<const idx_t> numbers, const Tensor& logits) {
    for (std::size_t b = 0; b < numbers.size(); ++b) {
      const std::span<const float> row(logits.data<float>() + b * labels, labels);
      scores[static_cast<std::size_t>(numbers[b])] = ScoresOfLogits(kind, row);
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
  std::vector<std::vector<double>> scores = RowScores(context, model, rows.rows);
  std::vector<ClassifiedText> result(static_cast<std::size_t>(rows.texts()));
  for (idx_t text = 0; text < rows.texts(); ++text) {
    const std::span<const text::Encoding> windows = rows.of(text);
    const auto own =
        std::span(scores).subspan(static_cast<std::size_t>(rows.begin(text)), windows.size());
    std::vector<idx_t> tokens;
    for (const text::Encoding& window : windows) tokens.push_back(window.size());
    ClassifiedText& whole = result[static_cast<std::size_t>(text)];
    // A caller may have texts without a row.
    whole.scores = own.empty() ? std::vector<double>(model.info().labels.size(), 0.0)
                               : MeanOfWindows(own, SharesOfWindows(tokens));
    for (std::size_t w = 0; w < windows.size(); ++w) {
      whole.windows.push_back({CharsOf(windows[w]), tokens[w], std::move(own[w])});
    }
  }
  return result;
}

}  // namespace longspan
