// Texts to learn from, to judge a language model by, to count: whole files in memory.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/errors.h"
#include "data/documents.h"
#include "data/inputs.h"
#include "data/mapped_file.h"
#include "longspan/data.h"
#include "longspan/types.h"

namespace longspan::data {

struct CorpusRules {
  DataOptions options;
  bool any_bytes = false;     // prose need not be UTF-8: a model of bytes reads it
  bool may_be_empty = false;  // no text at all is no error
  bool labels = false;        // prose that begins with `__label__` is lines with labels: rows
  std::uint64_t copy_below = MappedFile::kCopyBelow;
  // Called for each row, and for each file, that cannot be used; it goes on without. Empty: the
  // first one is thrown, unless options.skip_bad.
  std::function<void(const Error&)> on_bad;
  // Called for each row that has a text. The row has these fields too, where
  // they are there.
  std::vector<WantedField> fields = {};
  std::function<void(const Row& row, bool table)> on_row = {};
};

// One file: prose, mapped as it lies on the disk where nothing in it has to change; or the texts of
// a table's or JSON's rows. A move leaves the views of text() and rows() good.
class CorpusFile {
 public:
  CorpusFile() = default;

  const std::string& source() const { return source_; }  // escaped
  // Prose as it is; of rows their texts with a line feed between two.
  std::string_view text() const { return text_; }
  bool has_rows() const { return has_rows_; }
  const std::vector<std::string_view>& rows() const { return rows_; }
  // Its documents: each row is one, whatever ends one in prose; kJoined: the whole text is one.
  std::vector<std::string_view> DocumentsOf(Documents kind) const;
  // Splits the file: `last` gets what begins at byte `at` of the text or behind it, at the border
  // of a row or, of a text in UTF-8, of a character.
  void Split(std::size_t at, bool any_bytes, CorpusFile* last);

  // Length and checksum of the whole text as it is read: a resumed run must see the same.
  std::string Fingerprint() const;
  // kFormat, kIo when the file is mapped and no longer what was opened.
  void CheckUnchanged() const;

 private:
  friend class CorpusReader;
  std::string source_;
  std::shared_ptr<const MappedFile> mapped_;
  std::shared_ptr<const std::string> copy_;
  std::string_view all_, text_;  // the file's, this part's
  std::vector<std::string_view> rows_;
  bool has_rows_ = false;
};

struct Corpus {
  std::vector<CorpusFile> files;
  std::size_t bad = 0, empty = 0;  // rows and files that were left out; rows without a text
  std::vector<std::string> notes;  // lines for people
};

// Reads files and folders. Everything is checked here: what is returned can be used. kIo; kFormat
// without a text, and with file, line and byte for bytes that are no UTF-8, rows that are damaged
// or lack the text's field.
Corpus ReadCorpus(const std::vector<std::filesystem::path>& paths, const CorpusRules& rules);

}  // namespace longspan::data
