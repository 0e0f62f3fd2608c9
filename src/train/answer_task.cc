#include "train/answer_task.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "model/head_losses.h"
#include "parallel/parallel_for.h"
#include "tasks/answers.h"
#include "tasks/task_model.h"
#include "train/row_training.h"

namespace longspan {
namespace {

void CheckAnswerOptions(const AnswerTaskOptions& task) {
  Check(task.overflow != text::Overflow::kTruncateFirst, ErrorCode::kUsage,
        "overflow: the question stands in every row; use window, truncate or error");
  Check(task.stride.value_or(0) >= 0, ErrorCode::kUsage, "stride: {} is below 0",
        task.stride.value_or(0));
  Check(task.longest >= 1, ErrorCode::kUsage, "qa: answers of at most {} tokens, need at least 1",
        task.longest);
}

// The rows of some questions, encoded by several threads.
std::vector<std::vector<text::Encoding>> EncodeQuestions(Context& context,
                                                         const text::Tokenizer& tokenizer,
                                                         std::span<const AnsweredText> texts,
                                                         const RowRule& rule) {
  std::vector<std::vector<text::Encoding>> windows(texts.size());
  ParallelFor(context, std::ssize(texts), [&](idx_t i, int) {
    const AnsweredText& text = texts[static_cast<std::size_t>(i)];
    windows[static_cast<std::size_t>(i)] =
        EncodeRows(tokenizer, {text.question, text.context}, rule, text.where);
  });
  return windows;
}

// The best answer of each question, and its score.
std::vector<AnsweredPair> PairsOf(const AnswerRows& rows, const AnsweredTexts& texts,
                                  std::span<const AnswerLogits> logits,
                                  const AnswerOptions& options, metrics::Squad rules) {
  std::vector<AnsweredPair> pairs;
  for (std::size_t q = 0; q < texts.rows.size(); ++q) {
    const AnsweredText text = texts.rows[q];
    const auto begin = static_cast<std::size_t>(rows.first[q]);
    const std::size_t count = static_cast<std::size_t>(rows.first[q + 1]) - begin;
    std::vector<text::Encoding> windows;
    for (std::size_t w = 0; w < count; ++w) windows.push_back(rows.windows[begin + w]);
    const std::vector<Answer> best = BestAnswers(windows, logits.subspan(begin, count), options);
    AnsweredPair pair{text.where, text.id, text.question, text.answers, {}, {}, {}};
    if (!best.empty()) {
      pair.answer = best.front();
      const text::Span bytes = best.front().bytes;
      pair.said = text.context.substr(static_cast<std::size_t>(bytes.begin),
                                      static_cast<std::size_t>(bytes.end - bytes.begin));
    }
    pair.right = metrics::ScoreAnswer(pair.said, pair.gold, rules);
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

}  // namespace

AnswerTokens TokensOfAnswer(const text::Encoding& window, text::Span answer) {
  if (answer.begin == answer.end) return {};
  AnswerTokens tokens;
  const auto count = static_cast<std::size_t>(window.size());
  for (std::size_t t = 0; t < count; ++t) {
    if (window.sequence[t] != 1) continue;
    if (window.chars[t].begin <= answer.begin) tokens.start = static_cast<std::int32_t>(t);
  }
  for (std::size_t t = count; t-- > 0;) {
    if (window.sequence[t] != 1) continue;
    if (window.chars[t].end < answer.end) break;
    tokens.end = static_cast<std::int32_t>(t);
  }
  const bool whole = tokens.start > 0 && tokens.end >= tokens.start;
  return whole ? tokens : AnswerTokens();
}

AnswerRows TokenizeAnswered(Context& context, const text::Tokenizer& tokenizer,
                            const AnsweredTexts& texts, const TextModelInfo& info,
                            const AnswerTaskOptions& task, idx_t tokens, bool answered) {
  CheckAnswerOptions(task);
  CheckVocabulary(tokenizer.vocabulary(), info.vocab_size);
  const bool windows = task.overflow == text::Overflow::kWindow;
  const RowRule rule{tokens, windows ? task.overflow : text::Overflow::kTruncate, task.stride,
                     kAnswerRows.stride};
  AnswerRows rows(texts.rows.place());
  rows.fingerprint = texts.fingerprint;
  std::vector<idx_t> lengths;  // of questions that are one row, before anything is cut
  texts.rows.ForEachChunk([&](std::size_t, std::span<const AnsweredText> some) {
    const auto encoded = EncodeQuestions(context, tokenizer, some, rule);
    for (std::size_t q = 0; q < some.size(); ++q) {
      const text::Encoding& one = encoded[q].front();
      lengths.push_back(encoded[q].size() > 1 ? 0 : one.size() + one.dropped[0] + one.dropped[1]);
      for (const text::Encoding& window : encoded[q]) {
        const AnswerTokens place = TokensOfAnswer(window, some[q].place);
        rows.Add(window, info, some[q].where);
        rows.starts.push_back(place.start);
        rows.ends.push_back(place.end);
        if (answered) rows.windows.push_back(window);
      }
      rows.first.push_back(rows.size());
    }
  });
  rows.cut = CountTooLong(lengths, tokens, task.overflow == text::Overflow::kTruncate, info,
                          [&](std::size_t n) { return rows.where(rows.first[n]); });
  return rows;
}

AnswerEval EvaluateAnswers(Context& context, TextModel& model, const GlobalPolicy& global,
                           const AnswerRows& rows, const AnsweredTexts& texts, idx_t longest,
                           bool may_be_none, const EvalHooks& hooks,
                           std::vector<AnsweredPair>* kept) {
  std::vector<AnswerLogits> logits(rows.windows.size());
  std::vector<double> losses(rows.windows.size());
  const auto use = [&](std::span<const idx_t> numbers, std::span<const idx_t> begins,
                       std::span<const float> part) {
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const auto row = static_cast<std::size_t>(numbers[i]);
      const float* const own = part.data() + 2 * begins[i];
      const idx_t length[] = {rows.length(numbers[i])};
      logits[row] = AnswerLogits(rows.windows[row], own);
      losses[row] =
          AnswerLoss({std::span(rows.starts).subspan(row, 1), std::span(rows.ends).subspan(row, 1)},
                     {}, length, View<const float, 2>{own, {length[0], 2}}, nullptr)
              .sum;
    }
  };
  ForEachLogits(context, model, global, rows, hooks, use);
  AnswerEval e;
  e.windows = rows.size();
  e.cut = rows.cut;
  for (const double loss : losses) e.loss += loss;  // in the order of the rows
  e.loss /= static_cast<double>(e.windows);
  e.may_be_none = may_be_none;
  const metrics::Squad rules = may_be_none ? metrics::Squad::k2_0 : metrics::Squad::k1_1;
  std::vector<AnsweredPair> pairs = PairsOf(rows, texts, logits, {1, longest, may_be_none}, rules);
  std::vector<metrics::AnsweredQuestion> questions;
  for (const AnsweredPair& pair : pairs) questions.push_back({pair.said, pair.gold});
  e.score = metrics::ScoreAnswers(questions, rules);
  if (kept != nullptr) *kept = std::move(pairs);
  return e;
}

// ---- the task -----------------------------------------------------------------------------------

AnswerTask::AnswerTask(const TrainOptions& options, const AnswerTaskOptions& task,
                       const text::Tokenizer& tokenizer, const TextModelInfo& info,
                       AnswerRows train, AnswerRows held_out, AnsweredTexts held_texts,
                       bool may_be_none)
    : RowTask(options, info, {HeadKind::kQuestion, {}, ProblemType::kInferred},
              GlobalPolicy(task.global, &tokenizer), train.lengths()),
      task_(task),
      may_be_none_(may_be_none),
      train_(std::move(train)),
      held_out_(std::move(held_out)),
      held_texts_(std::move(held_texts)) {}

nlohmann::json AnswerTask::DecidingOptions() const {
  nlohmann::json deciding = {{"task", "qa"},
                             {"overflow", OverflowName(task_.overflow)},
                             {"longest", task_.longest},
                             {"text_column", options().data.read.text_field}};
  if (task_.stride) deciding["stride"] = *task_.stride;
  return WithSharedOptions(std::move(deciding), task_.epochs);
}

Batch AnswerTask::Gather(std::span<const idx_t> rows) const {
  Batch batch = GatherRows(train_, rows, info());
  for (const idx_t row : rows) {
    batch.starts.push_back(train_.starts[static_cast<std::size_t>(row)]);
    batch.ends.push_back(train_.ends[static_cast<std::size_t>(row)]);
  }
  return batch;
}

TaskEvaluation AnswerTask::Evaluate(Context& context, const EvalHooks& hooks) {
  const AnswerEval e = EvaluateAnswers(context, model(), global(), held_out_, held_texts_,
                                       task_.longest, may_be_none_, hooks);
  return {e.loss, {{"exact_match", e.score.all.exact}, {"f1", e.score.all.f1}}};
}

}  // namespace longspan
