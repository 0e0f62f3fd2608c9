// Rows of two or more texts that belong together: pairs, triplets, scored pairs.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/rows.h"
#include "longspan/train.h"
#include "train/stored_rows.h"

namespace longspan {

// Whether a row has something in this column or field.
bool HasField(const data::Row& row, const std::string& field);
// The texts of a field: one, or a list (in tables a list in JSON); none if it is absent or empty.
// kFormat, with `where`, for anything else.
std::vector<std::string> TextsOfField(const data::Row& row, const std::string& field, bool table,
                                      const std::string& where);

struct PairRow {
  std::string anchor, positive;        // of a scored pair its two texts
  std::vector<std::string> negatives;  // any number
  double score = 0.0;                  // of a scored pair
  std::string where;                   // "pairs.jsonl:12", escaped
};

template <>
struct RowFields<PairRow> {
  static auto Of(auto& row) {
    return std::tie(row.anchor, row.positive, row.negatives, row.score, row.where);
  }
};

struct PairTexts {
  std::string source;  // the first path, escaped
  StoredRows<PairRow> rows;
  bool scored = false;      // else pairs and triplets
  std::string fingerprint;  // of all that was read
};

// Reads tables and JSON. The first row decides whether all have scores. A negative is a text or a
// list of texts (in tables a list in JSON); absent or empty: none. kFormat with the line for a
// column that is missing, an empty text, a score that is no finite number; with data.skip_bad such
// rows are left out and told of in `notes`. The texts lie at `place`. kUsage, kIo as ReadRowFiles.
PairTexts ReadPairTexts(const std::vector<std::filesystem::path>& files, const DataOptions& data,
                        const PairColumns& columns, std::vector<std::string>* notes = nullptr,
                        const data::ScratchPlace& place = {});

}  // namespace longspan
