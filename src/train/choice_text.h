// Questions with choices, of which one is right: JSON and tables, SWAG's and RACE's forms.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "longspan/head_training.h"
#include "train/stored_rows.h"

namespace longspan {

struct ChoiceText {
  Question question;
  idx_t label = 0;        // the place of the right choice
  std::string where, id;  // "test.jsonl:12", escaped; the field "id" as JSON text
};

template <>
struct RowFields<ChoiceText> {
  static auto Of(auto& row) {
    return std::tie(row.question.text, row.question.choices, row.label, row.where, row.id);
  }
};

struct ChoiceTexts {
  std::string source;  // the first path, escaped
  StoredRows<ChoiceText> rows;
  std::string fingerprint;  // of all that was read
};

// Reads files as ChoiceTaskOptions says. kFormat with the row's place for fewer than two choices, a
// label that is none of them, and a question without a text; with data.skip_bad such rows are left
// out and told of in `notes`. The texts lie at `place`. kUsage, kIo.
ChoiceTexts ReadChoiceTexts(const std::vector<std::filesystem::path>& files,
                            const DataOptions& data, std::vector<std::string>* notes = nullptr,
                            const data::ScratchPlace& place = {});

}  // namespace longspan
