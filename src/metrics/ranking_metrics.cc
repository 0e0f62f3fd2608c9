#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "base/errors.h"
#include "longspan/metrics.h"
#include "metrics/compensated_sum.h"

namespace longspan::metrics {
namespace {

bool IsRelevant(double gain) { return gain > 0.0; }

void CheckQuery(const RankedQuery& query, idx_t k) {
  Check(k >= 1, ErrorCode::kUsage, "metrics: k is {}, need at least 1", k);
  for (const double gain : query.found) {
    Check(std::isfinite(gain) && gain >= 0.0, ErrorCode::kUsage,
          "metrics: gain {} is not finite and at least 0", gain);
  }
  for (const double gain : query.relevant) {
    Check(std::isfinite(gain) && gain > 0.0, ErrorCode::kUsage,
          "metrics: gain {} of a relevant document is not finite and above 0", gain);
  }
  const auto found = std::count_if(query.found.begin(), query.found.end(), IsRelevant);
  Check(found <= std::ssize(query.relevant), ErrorCode::kUsage,
        "metrics: {} relevant documents are found, and there are {}", found, query.relevant.size());
}

// The first k that were found, or all of them.
std::span<const double> Top(const std::vector<double>& gains, idx_t k) {
  return std::span(gains).first(std::min(gains.size(), static_cast<std::size_t>(k)));
}

double DiscountedGain(std::span<const double> gains) {
  CompensatedSum sum;
  for (std::size_t i = 0; i < gains.size(); ++i) {
    sum.Add(gains[i] / std::log2(static_cast<double>(i + 2)));
  }
  return sum.value();
}

}  // namespace

RankedQuery RankByScore(std::span<const double> scores, std::span<const double> gains) {
  Check(scores.size() == gains.size(), ErrorCode::kUsage, "metrics: {} scores for {} gains",
        scores.size(), gains.size());
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (const std::size_t i : order) {
    Check(!std::isnan(scores[i]), ErrorCode::kNumeric, "metrics: score {} is NaN", i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  RankedQuery query;
  for (const std::size_t i : order) {
    query.found.push_back(gains[i]);
    if (IsRelevant(gains[i])) query.relevant.push_back(gains[i]);
  }
  return query;
}

double Ndcg(const RankedQuery& query, idx_t k) {
  CheckQuery(query, k);
  std::vector<double> best = query.relevant;
  std::sort(best.begin(), best.end(), std::greater<>());
  const double most = DiscountedGain(Top(best, k));
  return most == 0.0 ? 0.0 : DiscountedGain(Top(query.found, k)) / most;
}

double ReciprocalRank(const RankedQuery& query, idx_t k) {
  CheckQuery(query, k);
  const std::span<const double> top = Top(query.found, k);
  const auto first = std::find_if(top.begin(), top.end(), IsRelevant);
  return first == top.end() ? 0.0 : 1.0 / static_cast<double>(first - top.begin() + 1);
}

double RecallAt(const RankedQuery& query, idx_t k) {
  CheckQuery(query, k);
  if (query.relevant.empty()) return 0.0;
  const std::span<const double> top = Top(query.found, k);
  return static_cast<double>(std::count_if(top.begin(), top.end(), IsRelevant)) /
         static_cast<double>(query.relevant.size());
}

double AveragePrecisionAt(const RankedQuery& query, idx_t k) {
  CheckQuery(query, k);
  if (query.relevant.empty()) return 0.0;
  const std::span<const double> top = Top(query.found, k);
  CompensatedSum sum;
  idx_t hits = 0;
  for (std::size_t i = 0; i < top.size(); ++i) {
    if (IsRelevant(top[i])) sum.Add(static_cast<double>(++hits) / static_cast<double>(i + 1));
  }
  return sum.value() / static_cast<double>(query.relevant.size());
}

RankingScore ScoreRankings(std::span<const RankedQuery> queries, idx_t k) {
  CompensatedSum ndcg, reciprocal, recall, precision;
  RankingScore score;
  for (const RankedQuery& query : queries) {
    ndcg.Add(Ndcg(query, k));
    reciprocal.Add(ReciprocalRank(query, k));
    recall.Add(RecallAt(query, k));
    precision.Add(AveragePrecisionAt(query, k));
    score.without += query.relevant.empty() ? 1 : 0;
  }
  score.queries = std::ssize(queries);
  const auto count = static_cast<double>(score.queries);
  score.ndcg = ndcg.value() / count;
  score.mrr = reciprocal.value() / count;
  score.recall = recall.value() / count;
  score.map = precision.value() / count;
  return score;
}

}  // namespace longspan::metrics
