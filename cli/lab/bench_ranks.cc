#include "cli/lab/bench_ranks.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "longspan/counted.h"

namespace longspan::cli {

idx_t PeakRssOf(const std::vector<RankFigures>& ranks) {
  idx_t most = 0;
  for (const RankFigures& rank : ranks) most = std::max(most, rank.peak_rss_bytes);
  return most;
}

void AddRanks(const RankedStep& step, const std::vector<RankFigures>& ranks,
              nlohmann::ordered_json* j) {
  (*j)["ranks"] = ranks.size();
  (*j)["row_ranks"] = step.row_ranks;
  j->update(ranks.front().Json(step.seconds));
  for (const RankFigures& rank : ranks) {
    nlohmann::ordered_json one = {{"peak_rss_bytes", rank.peak_rss_bytes}};
    one.update(rank.Json(step.seconds));
    (*j)["by_rank"].push_back(std::move(one));
  }
}

std::string RanksText(const RankedStep& step, const std::vector<RankFigures>& ranks) {
  std::string text =
      fmt::format("{} ranks, {} an update{}; memory is that of the rank with most\n", ranks.size(),
                  Counted(step.accumulate, "micro-batch", "micro-batches"),
                  step.row_ranks == 1 ? "" : fmt::format(", rows shared by {}", step.row_ranks));
  text += fmt::format("{:<10} {:>15} {:>14} {:>14} {:>13}\n", "exchange", "least waited, s",
                      "most waited, s", "% of the step", "most sent, MB");
  const auto line = [&](std::string_view name, const auto& waited, const auto& sent) {
    double least = waited(ranks.front()), most = least, bytes = 0.0;
    for (const RankFigures& rank : ranks) {
      least = std::min(least, waited(rank));
      most = std::max(most, waited(rank));
      bytes = std::max(bytes, sent(rank));
    }
    if (most == 0.0 && bytes == 0.0) return;
    text += fmt::format("{:<10} {:>15.3f} {:>14.3f} {:>14.1f} {:>13.3f}\n", name, least, most,
                        100.0 * most / step.seconds, bytes * 1e-6);
  };
  for (std::size_t i = 0; i < kExchangeKinds; ++i) {
    line(
        NameOf(static_cast<ExchangeKind>(i)),
        [i](const RankFigures& rank) { return rank.exchanged[i].waited_s; },
        [i](const RankFigures& rank) { return static_cast<double>(rank.exchanged[i].bytes); });
  }
  line(
      "all", [](const RankFigures& rank) { return rank.waited_s(); },
      [](const RankFigures& rank) { return rank.sent_bytes(); });
  return text;
}

}  // namespace longspan::cli
