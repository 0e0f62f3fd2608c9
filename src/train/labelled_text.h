// Texts with labels, from tables: CSV, TSV and JSON lines.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "longspan/train.h"
#include "model/longformer_config.h"

namespace longspan {

struct LabelledText {
  std::string text, pair;           // pair: empty when there is no such column
  std::vector<std::string> labels;  // one; a set of labels: any number; regression: none
  double value = 0.0;               // regression
  idx_t line = 0;                   // of the file, from 1
};

struct LabelledTexts {
  std::string source;  // the path, escaped
  std::vector<LabelledText> rows;
  bool sets = false;        // a label was a list
  std::string fingerprint;  // of the file's bytes
};

// Reads a file by its ending: .csv, .tsv, .jsonl (or .ndjson, .json: an object a line). CSV and TSV
// begin with a line of column names. `regression` reads labels as numbers. Sets of labels are JSON
// lists, in tables names with options.label_separator between them. kUsage for another ending;
// kFormat with the line for damage, a missing column, a label that is no text, number or list; kIo.
LabelledTexts ReadLabelledTexts(const std::filesystem::path& file, const ClassifyColumns& columns,
                                ProblemType problem);

// The problem's name in config.json, and "auto" for kInferred. kUsage.
ProblemType ParseProblem(const std::string& name);
std::string ProblemName(ProblemType problem);

// The names of all labels of the rows, sorted: as numbers when all are integers.
std::vector<std::string> LabelNames(const std::vector<LabelledText>& rows);

}  // namespace longspan
