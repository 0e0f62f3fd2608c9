// What the ranks of `bench train` waited for, printed.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lab/rank_figures.h"

namespace longspan::cli {

// What was timed: `seconds` of a step of `accumulate` micro-batches.
struct RankedStep {
  double seconds = 0.0;
  idx_t accumulate = 1;
  int row_ranks = 1;
};

// The largest of any rank.
idx_t PeakRssOf(const std::vector<RankFigures>& ranks);
// Adds the fields of a step that several ranks share.
void AddRanks(const RankedStep& step, const std::vector<RankFigures>& ranks,
              nlohmann::ordered_json* j);
// A line about the ranks, and a table: one line for each kind of exchange that there is.
std::string RanksText(const RankedStep& step, const std::vector<RankFigures>& ranks);

}  // namespace longspan::cli
