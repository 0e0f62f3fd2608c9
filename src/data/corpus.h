// Texts to learn from, to judge a language model by, to count: whole files in memory.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/errors.h"
#include "data/documents.h"
#include "data/inputs.h"
#include "data/mapped_file.h"
#include "data/scratch_file.h"
#include "longspan/data.h"
#include "longspan/types.h"

namespace longspan::data {

struct CorpusRules {
  DataOptions options;
  bool any_bytes = false;     // prose need not be UTF-8: a model of bytes reads it
  bool may_be_empty = false;  // no text at all is no error
  bool labels = false;        // prose that begins with `__label__` is lines with labels: rows
  std::uint64_t copy_below = MappedFile::kCopyBelow;
  // A path near which files may lie that hold what is not mapped as it lies (data/scratch_file.h):
  // tables, JSON, packed texts, other encodings and line breaks. Empty: memory holds all of it.
  std::filesystem::path scratch_near = {};
  std::uint64_t scratch_above = ScratchFile::kInMemory;  // bytes of a file's text
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
  // Its documents: each row is one, whatever ends one in prose; kJoined: the whole text is one.
  std::vector<std::string_view> DocumentsOf(Documents kind) const;
  // Gives each of them to `use`.
  void ForEachDocument(Documents kind, const UseDocument& use) const;
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
  std::shared_ptr<ScratchFile> copy_, ends_;  // a text; where its rows end, 8 bytes each
  std::string_view all_, text_;               // the file's, this part's
  std::span<const std::uint64_t> row_ends_;   // in all_; this part's rows
  std::uint64_t first_row_ = 0;               // where the first of these begins in all_
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
// The same, file by file: `use` gets each one when the next has been read, so that two of them are
// there at a time, and is told which is the last. What is returned has no files.
using UseCorpusFile = std::function<void(CorpusFile file, bool last)>;
Corpus ReadCorpus(const std::vector<std::filesystem::path>& paths, const CorpusRules& rules,
                  const UseCorpusFile& use);

}  // namespace longspan::data
