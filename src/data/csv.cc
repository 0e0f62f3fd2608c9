#include "data/csv.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "longspan/files.h"

namespace longspan::data {
namespace {

// The text of a field of a TSV that stands in quotes; false: it does not, and is as it is.
bool Unquote(std::string_view field, std::string* out) {
  if (field.size() < 2 || field.front() != '"' || field.back() != '"') return false;
  out->clear();
  for (std::size_t i = 1; i + 1 < field.size(); ++i) {
    if (field[i] == '"' && (i + 2 >= field.size() || field[++i] != '"')) return false;
    out->push_back(field[i]);
  }
  return true;
}

}  // namespace

CsvReader::CsvReader(TextStream& stream, char separator, std::size_t most_bytes)
    : stream_(stream),
      separator_(separator),
      most_bytes_(most_bytes),
      most_now_(most_bytes),
      tries_bytes_(limits::kMostTsvTryBytes) {}

// Whether there is a byte at `at` of the rest.
bool CsvReader::Has(std::size_t at) {
  while (at >= stream_.rest().size()) {
    if (!stream_.More()) return false;
  }
  return true;
}

// The first of `marks` at or behind `from`; the rest's length: there is none, or none near enough.
std::size_t CsvReader::Find(std::string_view marks, std::size_t from) {
  for (std::size_t at = from;;) {
    const std::size_t found = stream_.rest().find_first_of(marks, at);
    too_long_ = std::min(found, stream_.rest().size()) > most_now_;
    if (too_long_) return stream_.rest().size();
    if (found != std::string_view::npos) return found;
    at = stream_.rest().size();
    if (!stream_.More()) return stream_.rest().size();
  }
}

void CsvReader::SkipLine() { stream_.Take(Find("\n", 0) + 1); }

// A field whose opening quote stands at `at`.
std::size_t CsvReader::Quoted(std::size_t at, std::string* field) {
  for (++at;;) {
    const std::size_t quote = Find("\"", at);
    if (quote == stream_.rest().size()) {
      why_ = "the quote that opens here is never closed";
      return quote;
    }
    field->append(stream_.rest().substr(at, quote - at));
    at = quote + 1;
    if (!Has(at) || stream_.rest()[at] != '"') break;
    field->push_back('"');
    ++at;
  }
  std::replace(field->begin(), field->end(), '\r', '\n');
  return at;
}

std::size_t CsvReader::Plain(std::size_t at, std::string* field) {
  const char marks[] = {separator_, '\n', '\r'};
  const std::size_t end = Find({marks, sizeof(marks)}, at);
  if (end < stream_.rest().size() && stream_.rest()[end] == '\r') {
    why_ = "a carriage return alone ends no line of a table; save it with LF or CR LF";
  }
  const std::string_view text = stream_.rest().substr(at, end - at);
  if (separator_ != '\t' || !Unquote(text, field)) field->assign(text);
  return end;
}

std::size_t CsvReader::Parse(bool quotes, std::vector<std::string>* fields) {
  fields->clear();
  why_.clear();
  for (std::size_t at = 0;;) {
    if (fields->size() >= limits::kMostTableFields) {
      why_ = fmt::format("more than {} fields", limits::kMostTableFields);
    }
    std::string& field = fields->emplace_back();
    const bool quoted = quotes && Has(at) && stream_.rest()[at] == '"';
    at = quoted ? Quoted(at, &field) : Plain(at, &field);
    if (too_long_ || !why_.empty() || !Has(at)) return at;
    const char next = stream_.rest()[at];
    if (next == '\n') return at + 1;
    if (next != separator_) {
      why_ = fmt::format(
          "bytes behind a closing quote: \"{}\"; a quote inside of one is written twice",
          io::Escape(stream_.rest().substr(at, 20)));
      return at;
    }
    ++at;
  }
}

// Quotes that reach beyond their field are looked for only where the line has another number of
// fields without them. What such looking may cost in all is bounded.
std::size_t CsvReader::ParseTabs(std::vector<std::string>* fields) {
  const std::size_t end = Parse(false, fields);
  if (too_long_ || !why_.empty() || fields->size() == width_ || width_ == 0) return end;
  std::vector<std::string> other;
  most_now_ = std::min(most_bytes_, tries_bytes_);
  const std::size_t other_end = Parse(true, &other);
  most_now_ = most_bytes_;
  if (!too_long_ && why_.empty() && other.size() == width_) {
    *fields = std::move(other);
    return other_end;
  }
  tries_bytes_ -= std::min(tries_bytes_, other_end);
  too_long_ = false;
  why_.clear();
  return end;
}

// A line of white space alone is no record. A separator is none: a line of tabs is a record.
bool CsvReader::SkipBlankLine() {
  constexpr std::string_view kBlanks = " \t\v\f";
  for (std::size_t at = 0; at <= most_bytes_; ++at) {
    const bool more = Has(at);
    const char c = more ? stream_.rest()[at] : '\n';
    if (c == '\n') {
      stream_.Take(at + 1);
      return more;
    }
    if (c == separator_ || kBlanks.find(c) == kBlanks.npos) return false;
  }
  return false;
}

// Takes the rest of a record that is too long, a piece at a time, so that no memory holds it. In
// quotes a line break ends nothing; a quote opens where a field begins, and again where one was
// closed just before.
void CsvReader::SkipRecord() {
  const bool quotes = separator_ != '\t';
  bool quoted = false, may_open = quotes;
  for (;;) {
    const std::string_view piece = stream_.rest();
    for (std::size_t i = 0; i < piece.size(); ++i) {
      const char c = piece[i];
      if (c == '\n' && !quoted) return stream_.Take(i + 1);
      const bool turns = c == '"' && (quoted || may_open);
      may_open = quotes && (c == separator_ || (turns && quoted));
      if (turns) quoted = !quoted;
    }
    stream_.Take(piece.size());
    if (!stream_.More()) break;
  }
  Check(!quoted, ErrorCode::kFormat,
        "{}:{}: a quote in this record of more than {} bytes is never closed", stream_.source(),
        line_, most_bytes_);
}

bool CsvReader::Next(std::vector<std::string>* fields) {
  can_go_on_ = false;
  if (std::exchange(too_long_, false)) SkipRecord();
  while (SkipBlankLine()) {
  }
  if (!Has(0)) return false;
  line_ = static_cast<idx_t>(stream_.line());
  const std::size_t end = separator_ == '\t' ? ParseTabs(fields) : Parse(true, fields);
  can_go_on_ = too_long_;
  Check(
      !too_long_, ErrorCode::kLimit,
      "{}:{}: a record has more than {} bytes; is a quote left open? --max-line-bytes allows more",
      stream_.source(), line_, most_bytes_);
  can_go_on_ = !why_.empty();
  if (can_go_on_) {
    SkipLine();
    Fail(ErrorCode::kFormat, "{}:{}: {}", stream_.source(), line_, why_);
  }
  stream_.Take(end);
  if (width_ == 0) width_ = fields->size();
  return true;
}

}  // namespace longspan::data
