// Words with tags, from CoNLL's columns, lists of words and tags, and texts with spans.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "longspan/head_training.h"
#include "train/stored_rows.h"

namespace longspan {

// The tag of a word that belongs to nothing.
inline constexpr const char* kOutsideTag = "O";

struct TaggedText {
  std::string text;               // words of a list are joined by single blanks
  std::vector<text::Span> words;  // characters of the text, in order; no two overlap
  std::vector<std::string> tags;  // of each word
  std::string where, id;          // "a.conll:12", escaped; the field "id" as JSON text
};

template <>
struct RowFields<TaggedText> {
  static auto Of(auto& row) { return std::tie(row.text, row.words, row.tags, row.where, row.id); }
};

struct TaggedTexts {
  std::string source;  // the first path, escaped
  StoredRows<TaggedText> rows;
  std::string fingerprint;  // of all that was read
};

// Reads files as TokenClassOptions says. kFormat with the row's place for lists of two lengths, a
// word or a tag that is none, spans that overlap or that the text has not; with data.skip_bad such
// rows are left out and told of in `notes`. The texts lie at `place`. kUsage, kIo.
TaggedTexts ReadTaggedTexts(const std::vector<std::filesystem::path>& files,
                            const DataOptions& data, const TokenClassOptions& task,
                            std::vector<std::string>* notes = nullptr,
                            const data::ScratchPlace& place = {});

// Words of a text whose entities are known, with the tags B-, I- and O: runs of characters that are
// no blanks, parted around each punctuation mark and at the borders of entities. Texts are valid
// UTF-8; entities are (characters, label), in order, and do not overlap.
struct LabelledSpan {
  text::Span chars;
  std::string label;
};
void TagWords(const std::vector<LabelledSpan>& spans, TaggedText* row);

// Whether the names are tags of entities, some of which say where one begins or goes on.
bool MarkEntities(const std::vector<std::string>& tags);

// The UTF-8 of these characters of a text.
std::string CharactersOf(const std::string& text, const std::vector<idx_t>& starts,
                         text::Span chars);

}  // namespace longspan
