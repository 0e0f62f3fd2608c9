#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "tasks/cross_encoder_folder.h"
#include "tasks/scores.h"
#include "tasks/task_model.h"

namespace longspan {

struct Reranker::Inside {
  TaskModel model;
  CrossEncoderFolder folder;
};

namespace {

bool Before(const RankedText& a, const RankedText& b) {
  const double score = RankOf(a.score), other = RankOf(b.score);
  if (score != other) return score > other;
  const double logit = RankOf(a.logit), other_logit = RankOf(b.logit);
  return logit != other_logit ? logit > other_logit : a.text < b.text;
}

}  // namespace

Reranker::Reranker(const TaskModel& model) {
  const ModelInfo& info = model.info();
  Check(info.head == HeadKind::kSequence && info.labels.size() == 1, ErrorCode::kFormat,
        "model: {} with {} labels scores no pairs; reranking needs a sequence classifier with one "
        "label (num_labels 1)",
        info.class_name, info.labels.size());
  const std::filesystem::path& directory = model.model().directory();
  Inside inside{model, {}};
  inside.folder = ReadCrossEncoderFolder(directory);
  inside.model = Shortened(model, inside.folder.transformer.max_tokens);
  if (inside.folder.transformer.lower_case) {
    inside.folder.prompt = LowerCaseText(inside.folder.prompt);
  }
  inside_ = std::make_shared<const Inside>(std::move(inside));
}

Reranker Reranker::Load(const std::filesystem::path& directory, const TaskOptions& task,
                        const ModelOptions& model) {
  return Reranker(TaskModel::Load(directory, task, model));
}

Reranker Reranker::Load(Context& context, const std::filesystem::path& directory,
                        const TaskOptions& task, const ModelOptions& model) {
  return Reranker(TaskModel::Load(context, directory, task, model));
}

const TaskModel& Reranker::model() const { return inside_->model; }
std::string_view Reranker::activation() const { return inside_->folder.activation->name; }
const std::string& Reranker::prompt() const { return inside_->folder.prompt; }

TaskText Reranker::Prepare(std::string_view query, std::string_view text) const {
  const bool lower = inside_->folder.transformer.lower_case;
  const auto cased = [&](std::string_view x) { return lower ? LowerCaseText(x) : std::string(x); };
  return {prompt() + cased(query), cased(text)};
}

std::vector<RankedText> Reranker::Score(Context& context, const TaskRows& rows) const {
  CheckRows(rows);
  std::vector<float> logits(rows.rows.size());
  RunLogits(context, model(), rows.rows, [&](std::span<const idx_t> numbers, const Tensor& values) {
    for (std::size_t b = 0; b < numbers.size(); ++b) {
      logits[static_cast<std::size_t>(numbers[b])] = values.data<float>()[b];
    }
  });
  std::vector<RankedText> ranked;
  for (idx_t text = 0; text < rows.texts(); ++text) {
    std::vector<RankedText> windows;
    for (idx_t row = rows.begin(text); row < rows.begin(text + 1); ++row) {
      const auto r = static_cast<std::size_t>(row);
      const double logit = logits[r];
      windows.push_back(
          {text, inside_->folder.activation->value(logit), logit, CharsOf(rows.rows[r])});
    }
    ranked.push_back(*std::min_element(windows.begin(), windows.end(), Before));
  }
  return ranked;
}

std::vector<RankedText> Reranker::Rank(Context& context, std::string_view query,
                                       std::span<const std::string> texts, idx_t most) const {
  Check(most >= 1, ErrorCode::kUsage, "rerank: {} texts are wanted, need at least 1", most);
  std::vector<TaskText> pairs;
  for (const std::string& text : texts) pairs.push_back(Prepare(query, text));
  std::vector<RankedText> ranked = Score(context, model().Encode(context, pairs));
  KeepBest(ranked, most);
  return ranked;
}

void KeepBest(std::vector<RankedText>& ranked, idx_t most) {
  std::sort(ranked.begin(), ranked.end(), Before);
  if (most < static_cast<idx_t>(ranked.size())) ranked.resize(static_cast<std::size_t>(most));
}

}  // namespace longspan
