// A training run on one page: `longspan report`.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longspan/run_log.h"

namespace longspan::cli {

// One line of `eval --predictions FILE.jsonl`.
struct ReportedPrediction {
  std::string input, id;        // the text's place; its id as JSON, or empty
  std::string text;             // its beginning, or those of a pair, one a line; empty: not told
  std::string gold, predicted;  // a label, a list of labels as JSON, or a number
  bool right = false;           // false of numbers
  bool classes = false;         // one label each
  double wrong_by = 0.0;        // how far from right: the score of a wrong label, a distance
};

// kIo; kFormat names file and line of what is no prediction.
std::vector<ReportedPrediction> ReadPredictions(const std::filesystem::path& file);

struct RunReport {
  RunLog log;
  std::string options;  // run.toml; empty: there is none
  std::string config;   // config.json; empty: there is none
  std::optional<std::vector<ReportedPrediction>> predictions;
};

// The page: summary, curves, evaluations, predictions and options. Everything that comes from
// outside is escaped. kIo if pictures cannot be drawn.
std::string ReportHtml(const RunReport& report);

}  // namespace longspan::cli
