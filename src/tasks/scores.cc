#include "tasks/scores.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/errors.h"

namespace longspan {

void CheckFinite(std::span<const float> values, const char* what) {
  const bool finite =
      std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
  Check(finite, ErrorCode::kNumeric,
        "model: {} are not finite: its weights overflow in the computation, or are no weights of a "
        "trained model",
        what);
}

double LogSumExp(std::span<const float> logits) {
  if (logits.empty()) return -std::numeric_limits<double>::infinity();
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

std::vector<double> Softmax(std::span<const float> logits) {
  const double normaliser = LogSumExp(logits);
  std::vector<double> scores;
  for (const float logit : logits) scores.push_back(std::exp(logit - normaliser));
  return scores;
}

std::vector<double> Sigmoid(std::span<const float> logits) {
  std::vector<double> scores;
  for (const float logit : logits) scores.push_back(1.0 / (1.0 + std::exp(-double{logit})));
  return scores;
}

ScoreKind ScoresOf(ProblemType problem, idx_t labels) {
  if (problem == ProblemType::kMultiLabel) return ScoreKind::kLabels;
  const bool number =
      problem == ProblemType::kRegression || (problem == ProblemType::kInferred && labels == 1);
  return number ? ScoreKind::kValues : ScoreKind::kClasses;
}

std::vector<double> ScoresOfLogits(ScoreKind kind, std::span<const float> logits) {
  switch (kind) {
    case ScoreKind::kClasses:
      return Softmax(logits);
    case ScoreKind::kLabels:
      return Sigmoid(logits);
    case ScoreKind::kValues:
      break;
  }
  return {logits.begin(), logits.end()};
}

std::vector<double> SharesOfWindows(std::span<const idx_t> tokens) {
  const auto all = static_cast<double>(std::accumulate(tokens.begin(), tokens.end(), idx_t{0}));
  std::vector<double> shares;
  for (const idx_t own : tokens) shares.push_back(static_cast<double>(own) / all);
  return shares;
}

std::vector<double> MeanOfWindows(std::span<const std::vector<double>> windows,
                                  std::span<const double> shares) {
  std::vector<double> mean(windows.front().size(), 0.0);
  for (std::size_t w = 0; w < windows.size(); ++w) {
    for (std::size_t label = 0; label < mean.size(); ++label) {
      mean[label] += shares[w] * windows[w][label];
    }
  }
  return mean;
}

std::vector<idx_t> Largest(std::span<const double> scores, idx_t most) {
  std::vector<idx_t> order(scores.size());
  std::iota(order.begin(), order.end(), idx_t{0});
  const auto count = std::clamp<idx_t>(most, 0, static_cast<idx_t>(order.size()));
  const auto above = [&](idx_t a, idx_t b) {
    const double left = scores[static_cast<std::size_t>(a)];
    const double right = scores[static_cast<std::size_t>(b)];
    return left > right || (left == right && a < b);
  };
  std::partial_sort(order.begin(), order.begin() + count, order.end(), above);
  order.resize(static_cast<std::size_t>(count));
  return order;
}

double RankOf(double score) {
  return std::isnan(score) ? -std::numeric_limits<double>::infinity() : score;
}

text::Span CharsOf(const text::Encoding& row) {
  const std::int8_t sequence =
      row.sequence.empty() ? 0 : *std::max_element(row.sequence.begin(), row.sequence.end());
  text::Span chars;
  bool any = false;
  for (std::size_t t = 0; t < row.chars.size(); ++t) {
    if (row.sequence[t] != sequence || sequence < 0) continue;
    chars.begin = any ? std::min(chars.begin, row.chars[t].begin) : row.chars[t].begin;
    chars.end = any ? std::max(chars.end, row.chars[t].end) : row.chars[t].end;
    any = true;
  }
  return chars;
}

}  // namespace longspan
