// Questions about texts, with the places of their answers: SQuAD's file, JSON and tables.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "longspan/head_training.h"
#include "train/stored_rows.h"

namespace longspan {

struct AnsweredText {
  std::string question, context;
  std::vector<std::string> answers;  // none: the context does not say
  text::Span place;                  // characters of the first one
  std::string where, id;             // "dev.json[12]", escaped; the field "id" as JSON text
};

template <>
struct RowFields<AnsweredText> {
  static auto Of(auto& row) {
    return std::tie(row.question, row.context, row.answers, row.place, row.where, row.id);
  }
};

struct AnsweredTexts {
  std::string source;  // the first path, escaped
  StoredRows<AnsweredText> rows;
  std::string fingerprint;  // of all that was read

  bool unanswerable() const;  // some question has no answer
};

// Reads files as AnswerTaskOptions says. kFormat with the row's place and id for an answer that its
// context has not where it should be; with data.skip_bad such rows are left out and told of in
// `notes`. The texts lie at `place`. kUsage, kIo.
AnsweredTexts ReadAnsweredTexts(const std::vector<std::filesystem::path>& files,
                                const DataOptions& data, std::vector<std::string>* notes = nullptr,
                                const data::ScratchPlace& place = {});

}  // namespace longspan
