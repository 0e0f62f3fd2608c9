#include "tasks/answers.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/errors.h"
#include "longspan/tasks.h"
#include "tasks/scores.h"
#include "tasks/task_model.h"

namespace longspan {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// Where an answer may be: the tokens of the second text, and the first token of the row, which
// stands for no answer.
bool MayAnswer(const text::Encoding& row, idx_t t) {
  return t == 0 || row.sequence[static_cast<std::size_t>(t)] == 1;
}

// log of the sum over all windows.
double Normaliser(std::span<const AnswerLogits> rows, std::vector<float> AnswerLogits::*side) {
  std::vector<float> all;
  for (const AnswerLogits& row : rows)
    all.insert(all.end(), (row.*side).begin(), (row.*side).end());
  return LogSumExp(all);
}

class Candidates {
 public:
  Candidates(std::span<const text::Encoding> windows, std::span<const AnswerLogits> logits,
             const AnswerOptions& options)
      : windows_(windows),
        logits_(logits),
        options_(options),
        log_starts_(Normaliser(logits, &AnswerLogits::starts)),
        log_ends_(Normaliser(logits, &AnswerLogits::ends)) {}

  std::vector<Answer> Best() {
    for (std::size_t w = 0; w < windows_.size(); ++w) AddWindow(w);
    if (options_.may_be_none) AddNone();
    std::stable_sort(found_.begin(), found_.end(),
                     [](const Answer& a, const Answer& b) { return a.score > b.score; });
    if (static_cast<idx_t>(found_.size()) > options_.most) {
      found_.resize(static_cast<std::size_t>(options_.most));
    }
    return found_;
  }

 private:
  double Score(std::size_t w, idx_t start, idx_t end) const {
    return std::exp(logits_[w].starts[static_cast<std::size_t>(start)] - log_starts_ +
                    logits_[w].ends[static_cast<std::size_t>(end)] - log_ends_);
  }

  // Keeps the best `most` that read differently. Cost per candidate: one comparison, mostly.
  void Offer(const Answer& answer) {
    if (static_cast<idx_t>(found_.size()) >= options_.most && answer.score <= found_.back().score) {
      return;
    }
    const auto same = std::find_if(found_.begin(), found_.end(), [&](const Answer& a) {
      return a.chars == answer.chars && a.none == answer.none;
    });
    if (same != found_.end()) {
      if (same->score >= answer.score) return;
      found_.erase(same);
    }
    const auto at = std::find_if(found_.begin(), found_.end(),
                                 [&](const Answer& a) { return a.score < answer.score; });
    found_.insert(at, answer);
    if (static_cast<idx_t>(found_.size()) > options_.most) found_.pop_back();
  }

  void AddWindow(std::size_t w) {
    const text::Encoding& row = windows_[w];
    for (idx_t start = 0; start < row.size(); ++start) {
      if (row.sequence[static_cast<std::size_t>(start)] != 1) continue;
      const idx_t last = start + std::min(row.size() - start, options_.longest);
      for (idx_t end = start; end < last; ++end) {
        const auto e = static_cast<std::size_t>(end), s = static_cast<std::size_t>(start);
        if (row.sequence[e] != 1) break;
        Answer answer;
        answer.score = Score(w, start, end);
        answer.chars = {row.chars[s].begin, row.chars[e].end};
        answer.bytes = {row.bytes[s].begin, row.bytes[e].end};
        Offer(answer);
      }
    }
  }

  // The text answers nothing when none of its windows does.
  void AddNone() {
    Answer none;
    none.none = true;
    none.score = 1.0;
    for (std::size_t w = 0; w < windows_.size(); ++w) {
      none.score = std::min(none.score, Score(w, 0, 0));
    }
    Offer(none);
  }

  std::span<const text::Encoding> windows_;
  std::span<const AnswerLogits> logits_;
  const AnswerOptions& options_;
  double log_starts_, log_ends_;
  std::vector<Answer> found_;
};

}  // namespace

AnswerLogits::AnswerLogits(const text::Encoding& row, const float* logits) {
  for (idx_t t = 0; t < row.size(); ++t) {
    starts.push_back(MayAnswer(row, t) ? logits[2 * t] : kNever);
    ends.push_back(MayAnswer(row, t) ? logits[2 * t + 1] : kNever);
  }
}

std::vector<Answer> BestAnswers(std::span<const text::Encoding> windows,
                                std::span<const AnswerLogits> logits,
                                const AnswerOptions& options) {
  return Candidates(windows, logits, options).Best();
}

std::vector<std::vector<Answer>> FindAnswers(Context& context, const TaskModel& model,
                                             std::span<const TaskText> pairs,
                                             const AnswerOptions& options) {
  return FindAnswers(context, model, model.Encode(context, pairs, kAnswerRows), options);
}

std::vector<std::vector<Answer>> FindAnswers(Context& context, const TaskModel& model,
                                             const TaskRows& rows, const AnswerOptions& options) {
  RequireHead(model, HeadKind::kQuestion);
  CheckRows(rows);
  Check(options.most >= 1 && options.longest >= 1, ErrorCode::kUsage,
        "qa: {} answers of at most {} tokens, need at least 1 of 1", options.most, options.longest);
  std::vector<AnswerLogits> logits(rows.rows.size());
  RunRows(context, model, rows.rows, [&](const TaskBatch& batch) {
    const Tensor all = LogitsOf(context, model, batch);
    for (std::size_t b = 0; b < batch.rows.size(); ++b) {
      const auto row = static_cast<std::size_t>(batch.rows[b]);
      logits[row] = AnswerLogits(rows.rows[row], all.data<float>() + 2 * batch.begins[b]);
    }
  });
  std::vector<std::vector<Answer>> answers;
  for (idx_t text = 0; text < rows.texts(); ++text) {
    const auto own = std::span<const AnswerLogits>(logits).subspan(
        static_cast<std::size_t>(rows.begin(text)), rows.of(text).size());
    answers.push_back(BestAnswers(rows.of(text), own, options));
  }
  return answers;
}

}  // namespace longspan
