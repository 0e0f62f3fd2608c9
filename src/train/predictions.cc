#include <algorithm>
#include <map>
#include <utility>

#include "longspan/evaluate.h"

namespace longspan {

std::vector<Confusion> CountConfusions(std::span<const Prediction> predictions) {
  std::map<std::pair<idx_t, idx_t>, idx_t> texts;
  for (const Prediction& p : predictions) ++texts[{p.gold.front(), p.predicted.front()}];
  std::vector<Confusion> pairs;
  for (const auto& [pair, count] : texts) pairs.push_back({pair.first, pair.second, count});
  return pairs;
}

std::vector<Confusion> MostConfused(std::vector<Confusion> pairs) {
  std::erase_if(pairs, [](const Confusion& c) { return c.gold == c.predicted; });
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const Confusion& a, const Confusion& b) { return a.texts > b.texts; });
  return pairs;
}

idx_t CountHits(std::span<const Prediction> predictions, idx_t label) {
  const auto has = [&](const std::vector<idx_t>& labels) {
    return std::find(labels.begin(), labels.end(), label) != labels.end();
  };
  return std::count_if(predictions.begin(), predictions.end(),
                       [&](const Prediction& p) { return has(p.gold) && has(p.predicted); });
}

}  // namespace longspan
