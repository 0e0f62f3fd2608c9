// What a training run wrote into its metrics.jsonl: one JSON object a line.
//   {"kind": "train", "step": 40, "loss": 2.41, "bits_per_byte": 3.48, "learning_rate": 2.7e-4,
//   ...}
//   {"kind": "eval", "step": 100, "loss": 2.35, "bits_per_byte": 3.39}
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "longspan/types.h"

#pragma GCC visibility push(default)
namespace longspan {

// The numbers of one kind of record. A column is as long as `step`; NaN where a record lacks the
// field or has null there.
struct MetricTable {
  std::vector<double> step;                            // updates, rising
  std::map<std::string, std::vector<double>> columns;  // for each step; NaN where a step has none
};

// The metrics of a run, and where it is.
struct RunLog {
  std::string name;                          // of the run's directory
  std::filesystem::path file;                // the metrics.jsonl
  std::map<std::string, MetricTable> kinds;  // "train", "eval", ...

  // The column, or null when no record of this kind has the field.
  const std::vector<double>* Find(const std::string& kind, const std::string& metric) const;
  // Every field that any record has, in alphabetical order.
  std::vector<std::string> Metrics() const;
};

// Reads a metrics.jsonl, or the one inside the directory `run`. A last line without its end, which
// an interrupted writer left, is skipped when it is not a whole object. Unknown fields that are
// numbers become columns, other unknown fields are skipped.
// Throws kIo when the file cannot be read; kFormat with file and line for any other bad line, and
// for steps that do not rise within a kind (a resumed run repeats none).
RunLog ReadRunLog(const std::filesystem::path& run);

}  // namespace longspan
#pragma GCC visibility pop
