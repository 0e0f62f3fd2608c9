// Rows of prose with labels: fastText's lines, and whole texts that a folder names.
#include "data/labelled_prose.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "data/rows.h"
#include "data/utf8.h"
#include "io/ascii.h"
#include "longspan/files.h"

namespace longspan::data {
namespace {

constexpr std::string_view kLabelMark = "__label__";
constexpr std::string_view kBlanks = " \t\r\n\f\v";

std::string_view WithoutBlanks(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  return text;
}

// Whether a word in `text` begins as a label does.
bool HasLabelWord(std::string_view text) {
  for (std::size_t at = text.find(kLabelMark); at != text.npos;
       at = text.find(kLabelMark, at + 1)) {
    if (at == 0 || kBlanks.find(text[at - 1]) != kBlanks.npos) return true;
  }
  return false;
}

// Takes the labels from the beginning of `line`: what stays is the text. `where` is escaped.
nlohmann::json TakeLabels(std::string_view* line, const std::string& where) {
  nlohmann::json names = nlohmann::json::array();
  for (;;) {
    *line = WithoutBlanks(*line);
    if (!line->starts_with(kLabelMark)) return names;
    const std::string_view word = line->substr(0, line->find_first_of(kBlanks));
    std::string name(word.substr(kLabelMark.size()));
    Check(!name.empty(), ErrorCode::kFormat, "{}: {} without a name; write {}NAME", where,
          kLabelMark, kLabelMark);
    Check(std::find(names.begin(), names.end(), name) == names.end(), ErrorCode::kFormat,
          "{}: label \"{}\" stands there twice", where, io::Escape(name, 60));
    names.push_back(std::move(name));
    line->remove_prefix(word.size());
  }
}

}  // namespace

bool BeginsWithLabel(std::string_view text) { return WithoutBlanks(text).starts_with(kLabelMark); }

bool RowReader::HasLabels() {
  if (!rules_.labels || format_ != Format::kText) return false;
  if (!label_.empty()) return true;
  // As far as the first word.
  while (WithoutBlanks(stream_.rest()).size() < kLabelMark.size() &&
         stream_.rest().size() <= rules_.options.most_line_bytes && stream_.More()) {
  }
  return BeginsWithLabel(stream_.rest());
}

// The next line that is not blank. Without one: ended_.
void RowReader::ReadLabelledLine(Row* row) {
  ReadLine(row);
  if (row->text.empty()) return;
  const std::string line = std::exchange(row->text, {}), where = io::EscapeName(row->name);
  std::string_view text = line;
  nlohmann::json names = TakeLabels(&text, where);
  Check(!names.empty(), ErrorCode::kFormat,
        "{}: has no label; every line of a file whose first one begins with {} must begin so",
        where, kLabelMark);
  Check(!text.empty(), ErrorCode::kFormat, "{}: no text stands after its labels", where);
  Check(!HasLabelWord(text), ErrorCode::kFormat,
        "{}: a label stands in the text; write all labels at the beginning of the line", where);
  for (const nlohmann::json& name : names) {
    CheckUtf8(name.get_ref<const std::string&>(), source_, static_cast<std::size_t>(row->line),
              "label, ");
  }
  row->labelled = true;
  row->fields = nlohmann::json::object();
  row->fields[rules_.options.text_field] = text;
  row->fields[rules_.options.label_field] =
      names.size() == 1 ? std::move(names[0]) : std::move(names);
}

void RowReader::ReadLabelledText(Row* row) {
  ReadText(row);
  Check(!BeginsWithLabel(row->text), ErrorCode::kFormat,
        "{}: begins with {}, but lies in a folder whose name is its label; give the file itself",
        io::EscapeName(row->name), kLabelMark);
  row->labelled = true;
  row->fields = nlohmann::json::object();
  row->fields[rules_.options.text_field] = std::exchange(row->text, {});
  row->fields[rules_.options.label_field] = label_;
}

}  // namespace longspan::data
