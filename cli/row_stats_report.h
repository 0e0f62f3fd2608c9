// What is printed of the statistics of a training's rows.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "longspan/data_stats.h"

namespace longspan::cli {

// A table for people: a line for each number, a column for the training rows and, if there are
// any, for those that are held out.
std::string RowStatsText(const RowStats& stats, const RowStatsOptions& options);
// The same in one document.
nlohmann::ordered_json RowStatsJson(const RowStats& stats, const RowStatsOptions& options);

}  // namespace longspan::cli
