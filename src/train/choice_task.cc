#include "train/choice_task.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "model/head_losses.h"
#include "parallel/parallel_for.h"
#include "tasks/task_model.h"
#include "train/row_training.h"

namespace longspan {
namespace {

// Tokens of each question, all its choices together.
std::vector<idx_t> LengthsOfQuestions(const ChoiceRows& rows) {
  std::vector<idx_t> lengths;
  for (std::size_t q = 0; q + 1 < rows.first.size(); ++q) {
    lengths.push_back(rows.begin(rows.first[q + 1]) - rows.begin(rows.first[q]));
  }
  return lengths;
}

}  // namespace

ChoiceRows TokenizeChoices(Context& context, const text::Tokenizer& tokenizer,
                           const ChoiceTexts& texts, const TextModelInfo& info,
                           const ChoiceTaskOptions& task, idx_t tokens) {
  const bool cuts = task.overflow == text::Overflow::kTruncate;
  Check(cuts || task.overflow == text::Overflow::kError, ErrorCode::kUsage,
        "overflow: the choices of a question are compared in one row each; use error or truncate");
  CheckVocabulary(tokenizer.vocabulary(), info.vocab_size);
  ChoiceRows rows(texts.rows.place());
  rows.fingerprint = texts.fingerprint;
  std::vector<idx_t> lengths;  // of each question's longest row, before anything is cut
  texts.rows.ForEachChunk([&](std::size_t, std::span<const ChoiceText> some) {
    std::vector<std::vector<text::Encoding>> encoded(some.size());  // of each question
    ParallelFor(context, std::ssize(some), [&](idx_t i, int) {
      const auto n = static_cast<std::size_t>(i);
      for (const TaskText& pair : ChoicePairs({&some[n].question, 1})) {
        auto own = EncodeRows(tokenizer, pair, {tokens, text::Overflow::kTruncate}, some[n].where);
        encoded[n].push_back(std::move(own.front()));
      }
    });
    for (std::size_t n = 0; n < some.size(); ++n) {
      lengths.push_back(0);
      for (const text::Encoding& row : encoded[n]) {
        lengths.back() = std::max(lengths.back(), row.size() + row.dropped[0] + row.dropped[1]);
        rows.Add(row, info, some[n].where);
      }
      rows.first.push_back(rows.size());
      rows.labels.push_back(static_cast<std::int32_t>(some[n].label));
    }
  });
  rows.cut = CountTooLong(lengths, tokens, cuts, info,
                          [&](std::size_t n) { return rows.where(rows.first[n]); });
  return rows;
}

ChoiceEval EvaluateChoices(Context& context, TextModel& model, const GlobalPolicy& global,
                           const ChoiceRows& rows, const EvalHooks& hooks,
                           std::vector<float>* kept) {
  std::vector<float> logits(static_cast<std::size_t>(rows.size()));
  // A batch of one choice a question: each row has its logit.
  ForEachLogits(
      context, model, global, rows, hooks,
      [&](std::span<const idx_t> numbers, std::span<const idx_t>, std::span<const float> part) {
        for (std::size_t i = 0; i < numbers.size(); ++i) {
          logits[static_cast<std::size_t>(numbers[i])] = part[i];
        }
      });
  ChoiceEval e;
  e.questions = rows.questions();
  e.choices = rows.size();
  e.cut = rows.cut;
  for (idx_t q = 0; q < e.questions; ++q) {
    const auto n = static_cast<std::size_t>(q);
    const LogitRow own{logits.data() + rows.first[n], rows.choices(q), 1};
    e.loss += SoftmaxLoss(own, rows.labels[n], 0.0f, nullptr);
    e.right += LargestLogit(own) == rows.labels[n] ? 1 : 0;
    e.chance += 1.0 / static_cast<double>(rows.choices(q));
  }
  const auto count = static_cast<double>(e.questions);
  e.loss /= count;
  e.chance /= count;
  e.accuracy = static_cast<double>(e.right) / count;
  if (kept != nullptr) *kept = std::move(logits);
  return e;
}

// ---- the task -----------------------------------------------------------------------------------

ChoiceTask::ChoiceTask(const TrainOptions& options, const ChoiceTaskOptions& task,
                       const text::Tokenizer& tokenizer, const TextModelInfo& info,
                       ChoiceRows train, ChoiceRows held_out)
    : RowTask(options, info, {HeadKind::kChoice, {}, ProblemType::kInferred},
              GlobalPolicy(task.global, &tokenizer), LengthsOfQuestions(train)),
      task_(task),
      train_(std::move(train)),
      held_out_(std::move(held_out)) {
  for (idx_t q = 0; q < train_.questions(); ++q) {
    most_choices_ = std::max(most_choices_, train_.choices(q));
  }
}

nlohmann::json ChoiceTask::DecidingOptions() const {
  return WithSharedOptions({{"task", "multiple-choice"},
                            {"overflow", OverflowName(task_.overflow)},
                            {"text_column", options().data.read.text_field},
                            {"label_column", options().data.read.label_field}},
                           task_.epochs);
}

Batch ChoiceTask::Gather(std::span<const idx_t> questions) const {
  std::vector<idx_t> rows;
  std::vector<std::int32_t> labels;
  for (const idx_t q : questions) {
    const auto n = static_cast<std::size_t>(q);
    for (idx_t row = train_.first[n]; row < train_.first[n + 1]; ++row) rows.push_back(row);
    labels.push_back(train_.labels[n]);
  }
  Batch batch = GatherRows(train_, rows, info());
  batch.labels = std::move(labels);
  batch.choices = train_.choices(questions.front());
  return batch;
}

TaskEvaluation ChoiceTask::Evaluate(Context& context, const EvalHooks& hooks) {
  const ChoiceEval e = EvaluateChoices(context, model(), global(), held_out_, hooks);
  return {e.loss, {{"accuracy", e.accuracy}}};
}

}  // namespace longspan
