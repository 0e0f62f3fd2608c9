// The rows of a file, whatever it holds: records of a table, JSON objects, lines, or the whole
// text.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/errors.h"
#include "data/csv.h"
#include "data/format.h"
#include "data/text_stream.h"

namespace longspan::data {

using RowRules = TextRules;

// One row.
struct Row {
  std::string name;  // "a.txt", "a.csv:12" (its line), "a.json[3]" (an item), "stdin"; as it is
  idx_t line = 0;    // where it begins, from 1; 0: it is the whole file
  std::string text;  // of prose
  nlohmann::json fields;   // the wanted ones that are there, of tables as text; null: it is prose
  bool given = false;      // on the command line, not in a file
  bool labelled = false;   // prose with labels: its label is text, or a list of several
  bool ends_file = false;  // refused: nothing of the file can be read behind it
  std::optional<Error> refused = {};  // why the row cannot be used; then nothing else is there

  bool has_fields() const { return fields.is_object(); }
  // A field as text. kFormat when it is missing, empty, or something else; Optional: absent and
  // empty fields of tables and null are nothing.
  std::string Text(const std::string& field) const;
  std::optional<std::string> OptionalText(const std::string& field) const;
};

// A row goes to one of the two: to `use`, or, when the reader or `use` itself says that it cannot
// be used (kFormat), to `refuse`. False: it was refused.
using UseRow = std::function<void(Row& row)>;
using RefuseRow = std::function<void(const Row& row, const Error& why)>;
bool TakeRow(Row& row, const UseRow& use, const RefuseRow& refuse);

// Reads rows one by one; memory grows with a row, never with the file. A row that is damaged is
// returned with what is wrong; kIo, and kLimit for rows that are too long, are thrown.
class RowReader {
 public:
  // `path`: a regular file or "-". Opens it. kIo, kFormat.
  // `label`: of the whole text, if it is not empty and rules.labels is set.
  RowReader(const std::filesystem::path& path, const RowRules& rules, std::string label = {});
  // Text in memory that outlives the reader, under a name.
  RowReader(std::string_view bytes, const std::string& name, Format format, const RowRules& rules);

  std::optional<Row> Next();
  void ForEach(const UseRow& use, const RefuseRow& refuse);  // all that are left, by TakeRow
  Format format() const { return format_; }
  // Whether it is prose whose labels the rules let it read: lines of fastText's, or a text that has
  // one. Ask before the first row.
  bool HasLabels();

 private:
  RowReader(std::unique_ptr<ByteStream> bytes, std::string name, Format format,
            const RowRules& rules);
  void Read(Row* row);
  void ReadText(Row* row);
  void ReadLine(Row* row);
  void ReadSentence(Row* row);      // data/tagged_columns.cc
  void ReadLabelledLine(Row* row);  // data/labelled_prose.cc
  void ReadLabelledText(Row* row);
  void ReadRecord(Row* row);
  void ReadJsonLine(Row* row);
  void ReadJson(Row* row);
  void ReadQuestion(Row* row);

  void ReadHeader();
  void FindColumn(std::size_t field);
  bool ReadSquad(std::string_view document);
  void BeginJson();
  std::string_view JsonValue();
  void SkipLine();
  std::string_view Line(Row* row = nullptr);
  bool SkipJsonSpace();
  void SetFields(std::string_view object, Row* row) const;
  void SetName(const std::string& place, Row* row) const;

  RowRules rules_;
  Format format_;
  std::string name_, source_;  // as it is; escaped for messages
  std::string label_;          // of the whole text
  TextStream stream_;
  CsvReader records_;
  std::vector<std::string> record_;
  std::vector<std::optional<std::size_t>> columns_;  // of each wanted field
  std::size_t width_ = 0, item_ = 0;
  bool begun_ = false, ended_ = false, in_list_ = false, go_on_ = false, any_ = false;
  bool labelled_lines_ = false, skip_line_ = false;
  idx_t line_ = 0;  // of the line read last, from 1

  struct Question {  // of SQuAD's document_: text of JSON; without fields: none where some must be
    std::string_view context, fields;
  };
  std::string document_;
  std::vector<Question> questions_;
  std::size_t next_question_ = 0;
  std::string_view parsed_of_;  // whose text context_ is: many questions share one
  nlohmann::json context_;
};

}  // namespace longspan::data
