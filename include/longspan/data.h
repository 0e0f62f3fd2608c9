// How texts and tables are read, the same for every command, training and evaluation.
// docs/reference/data.md has the rules.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/error.h"
#include "longspan/types.h"

#pragma GCC visibility push(default)
namespace longspan {

// What a file holds. kAuto: as the ending of its name says, and text for other endings.
enum class DataFormat { kAuto, kText, kCsv, kTsv, kJsonLines, kJson };
// "auto", "text", "csv", "tsv", "jsonl" or "json"; kUsage otherwise.
DataFormat ParseDataFormat(std::string_view name);

// What a file of this name holds where nobody says it: by the ending, in any case and before .gz or
// .zst (.csv, .tsv, .jsonl and .ndjson, .json); kText for anything else.
DataFormat DataFormatOf(const std::filesystem::path& path);

// Where one document of a text ends: with its file, at every blank line, at every line; kJoined:
// all files are one.
enum class Documents { kFile, kBlankLine, kLine, kJoined };
// "file", "blank-line", "line", and "joined" where it is allowed; kUsage otherwise.
Documents ParseDocuments(std::string_view name, bool joined = false);

// How files are read.
struct DataOptions {
  DataFormat format = DataFormat::kAuto;  // of files; kAuto: as their names end
  // The encoding: "utf-8", or any name that iconv knows ("latin-1", "cp1252", "utf-16"). "bytes",
  // for models of bytes, keeps every byte of prose, byte-order mark and line breaks included.
  std::string encoding = "utf-8";
  // Columns of tables, fields of JSON.
  std::string text_field = "text", label_field = "label";
  // The second of two texts. Absent: "text_pair" where a row has it. Empty: none is read.
  std::optional<std::string> pair_field = {};
  char label_separator = '|';  // between the names of a set of labels, in CSV and TSV
  // Largest size of a line, of a record of a table, or of a text that is asked about.
  std::size_t most_line_bytes = std::size_t{64} << 20;
  // Of trainings, evaluations and statistics: true leaves out rows that cannot be used, and counts
  // them; false ends with the first one. A TextSource gives every row, and says what is wrong with
  // it.
  bool skip_bad = false;
  // Of rows that are left out so: called for each, with its place and what is wrong. Then a file
  // that is damaged as a whole ends nothing either.
  std::function<void(const Error& why)> on_bad = {};
};

// kFormat "WHERE:1: byte 7 of the line is 0xfc, no UTF-8 ..." unless the text is UTF-8.
void CheckUtf8(std::string_view text, std::string_view where);

// ---- texts one by one ---------------------------------------------------------------------------

// A column of a table or a field of an object that somebody will use. Others are never looked at.
struct WantedField {
  std::string name;       // of a column or a field
  bool required = false;  // a table without this column cannot be read at all
  // Integers of any length come back digit by digit, and an empty field of a table's column is
  // null, not absent: an id.
  bool exact = false;
};

// The field of second texts: the one that `data` names, which is required, else "text_pair", which
// is not, unless the texts or labels are named so. Absent: none is to be read.
std::optional<WantedField> PairFieldOf(const DataOptions& data);

// Tagged words as CoNLL writes them: a word and what is known of it a line, in columns between tabs
// or blanks, and a blank line after each sentence. A sentence is a row with two lists.
struct TaggedColumns {
  idx_t word = 1, tag = 0;                      // their columns, from 1; 0: the last one
  std::string words = "tokens", tags = "tags";  // the names of the row's fields
};

// What is read.
struct TextRules {
  DataOptions options;              // how the files are read
  std::vector<WantedField> fields;  // those that are looked at
  bool lines = false;               // each line of a text is a row
  bool any_bytes = false;           // prose need not be UTF-8: a model of bytes asks
  bool squad = false;               // .json may be SQuAD's: rows are its questions
  // Prose is CoNLL's columns: rows are its sentences. `-DOCSTART-` lines are passed over, and so
  // are lines that begin with '#' and have another number of columns than the words.
  std::optional<TaggedColumns> columns = {};
  std::string missing_hint = {};  // ends the message about a path that does not exist
  // Prose has labels. A text whose first line that is not blank begins with `__label__` is
  // fastText's: each line is a row. Of a folder whose sub-folders hold texts each text is a row,
  // and its sub-folder's name is the label. Such rows have options.text_field and
  // options.label_field, one name or a list of several. Other prose stays prose.
  bool labels = false;
};

// One text: a file, a line, a record of a table, a JSON object, or one that was given as it stands.
struct TextRow {
  std::string name;  // "a.txt", "a.csv:12" (its line), "a.json[3]" (an item), "stdin"; not escaped
  idx_t line = 0;    // where it begins, from 1; 0: it is the whole file
  std::string text;  // of prose
  bool has_fields = false;                    // it is a row of a table or of JSON
  std::map<std::string, std::string> fields;  // the wanted ones that are there, each as JSON text
  bool given = false;                         // not from a file
  bool ends_file = false;                     // it is refused, and so is the rest of its file
  std::optional<Error> refused = {};          // why it cannot be used; then nothing else is there

  // A list of texts, or in tables a text that holds such a list in JSON. kFormat for anything else.
  std::vector<std::string> TextList(const std::string& field) const;
  // A field for people, such as an id: a JSON string without its quotes, anything else as it
  // stands; empty if it is absent or null.
  std::string Shown(const std::string& field) const;
  // A field as text. kFormat when it is missing, empty, or something else; Optional: absent and
  // empty fields of tables and null are nothing.
  std::string Text(const std::string& field) const;
  std::optional<std::string> OptionalText(const std::string& field) const;
  // The second text of a pair, in `field` (PairFieldOf). A row where it is absent or empty, or for
  // which no field is to be read, is a single text: nothing. kFormat for what is no text.
  std::optional<std::string> PairText(const std::optional<WantedField>& field) const;
};

// Reads files, folders of them, standard input ("-") and texts that are given as they stand, row
// by row: memory grows with a row, never with a file. gzip and zstd are unpacked on the way.
// Move-only.
//
//   TextRules rules;
//   rules.fields = {{"id"}, {"text"}};  // of tables and JSON
//   TextSource source({"rows.jsonl"}, {}, rules);
//   for (auto rows = source.NextChunk(); !rows.empty(); rows = source.NextChunk()) {
//     for (TextRow& row : rows) {
//       UseRow(row, [&](TextRow& r) { texts.push_back(r.Text("text")); },
//              [&](const TextRow&, const Error& why) { Warn(why.what()); });
//     }
//   }
class TextSource {
 public:
  // kUsage when there is nothing to read or an option cannot be; kIo for a path that does not
  // exist, kFormat for a folder without a file, kLimit for one with too many.
  TextSource(const std::vector<std::string>& paths, std::vector<std::string> given,
             TextRules rules);
  ~TextSource();
  TextSource(TextSource&&) noexcept;
  TextSource& operator=(TextSource&&) noexcept;

  // Prose need not be UTF-8 from now on.
  void AllowAnyBytes();
  // The next row; nothing: that was all. A row that cannot be used, and a file that is empty, say
  // why (TextRow::refused). kIo, kLimit.
  std::optional<TextRow> Next();
  // The next rows, hundreds of short ones or a few long ones: enough for some batches of a model,
  // whatever their size. None: that was all.
  std::vector<TextRow> NextChunk();
  // What was passed over in folders since the last call, and why: lines for people.
  std::vector<std::string> TakeNotes();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Calls use(row). What `use` throws with kFormat, and a row that is refused already, goes to
// `refuse` instead, with a message that begins with the row's name. False: it was refused.
bool UseRow(TextRow& row, const std::function<void(TextRow& row)>& use,
            const std::function<void(const TextRow& row, const Error& why)>& refuse);

// The files that these paths mean: as they stand, and of a folder all that lies below it, in the
// order of the names, without hidden files and leftovers of editors. Errors as TextSource.
std::vector<std::string> ListTextFiles(const std::vector<std::string>& paths);

}  // namespace longspan
#pragma GCC visibility pop
