// Sentences of CoNLL's columns, one row each.
#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/rows.h"
#include "data/utf8.h"
#include "io/ascii.h"
#include "longspan/files.h"

namespace longspan::data {
namespace {

constexpr std::string_view kDocumentStart = "-DOCSTART-";

// A line that is not blank, apart at its tabs, or else at its blanks.
std::vector<std::string_view> ColumnsOf(std::string_view line) {
  const bool tabs = line.find('\t') != std::string_view::npos;
  const std::string_view between = tabs ? "\t" : " ";
  std::vector<std::string_view> columns;
  for (std::size_t at = 0; at <= line.size();) {
    const std::size_t end = std::min(line.find_first_of(between, at), line.size());
    // Of blanks any number stand between two columns; between two tabs a column may be empty.
    if (tabs || end > at) columns.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  return columns;
}

struct WordLine {
  idx_t number;  // from 1
  std::string text;
};

bool MayBeRemark(const WordLine& line) { return line.text.front() == '#'; }

// Takes away lines that begin with '#' and have not the `width` columns of words; 0: as many as the
// first of the other lines.
void DropRemarks(std::size_t width, std::vector<WordLine>* lines) {
  for (const WordLine& line : *lines) {
    if (width != 0) break;
    if (!MayBeRemark(line)) width = ColumnsOf(line.text).size();
  }
  std::erase_if(*lines, [&](const WordLine& line) {
    return MayBeRemark(line) && ColumnsOf(line.text).size() != width;
  });
}

}  // namespace

// The lines up to the next blank one. Without a sentence: ended_.
void RowReader::ReadSentence(Row* row) {
  begun_ = true;
  std::vector<WordLine> lines;
  std::size_t bytes = 0;
  while (!ended_) {
    const std::string_view line = Line();
    const idx_t number = line_;
    if (io::IsBlank(line)) {
      DropRemarks(width_, &lines);
      if (!lines.empty()) break;
      continue;
    }
    if (line.starts_with(kDocumentStart)) continue;
    bytes += line.size();
    Check(bytes <= rules_.options.most_line_bytes, ErrorCode::kLimit,
          "{}:{}: a sentence of more than {} bytes; a blank line ends one, --max-line-bytes allows "
          "more",
          source_, number, rules_.options.most_line_bytes);
    lines.push_back({number, std::string(line)});
  }
  if (lines.empty()) return;
  row->line = lines.front().number;
  SetName(fmt::format(":{}", row->line), row);
  go_on_ = true;
  if (width_ == 0) width_ = ColumnsOf(lines.front().text).size();
  const TaggedColumns& wanted = *rules_.columns;
  const auto word = static_cast<std::size_t>(wanted.word - 1);
  const std::size_t tag = wanted.tag == 0 ? width_ - 1 : static_cast<std::size_t>(wanted.tag - 1);
  nlohmann::json words = nlohmann::json::array(), tags = nlohmann::json::array();
  for (const WordLine& line : lines) {
    CheckUtf8(line.text, source_, static_cast<std::size_t>(line.number), {},
              line.number == 1 ? stream_.mark_bytes() : 0);
    const std::vector<std::string_view> columns = ColumnsOf(line.text);
    const std::size_t count = columns.size();
    Check(count == width_, ErrorCode::kFormat,
          "{}:{}: {} columns, but the first word has {}; a word and its tags stand in a line, a "
          "blank line ends a sentence",
          source_, line.number, count, width_);
    Check(std::max(word, tag) < count && word != tag, ErrorCode::kFormat,
          "{}:{}: {} columns, need a word in column {} and its tag in another{}", source_,
          line.number, count, wanted.word,
          wanted.tag == 0 ? std::string() : fmt::format(", {}", wanted.tag));
    Check(!columns[word].empty() && !columns[tag].empty(), ErrorCode::kFormat,
          "{}:{}: the word or its tag is empty", source_, line.number);
    words.emplace_back(columns[word]);
    tags.emplace_back(columns[tag]);
  }
  row->fields = nlohmann::json::object();
  row->fields[wanted.words] = std::move(words);
  row->fields[wanted.tags] = std::move(tags);
}

}  // namespace longspan::data
