#include "io/csv.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "io/escape.h"

namespace longspan::io {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

}  // namespace

CsvReader::CsvReader(std::string_view text, char separator, std::string source)
    : rest_(text), separator_(separator), source_(std::move(source)) {
  if (rest_.starts_with(kByteOrderMark)) rest_.remove_prefix(kByteOrderMark.size());
}

// From behind the opening quote to behind the closing one.
void CsvReader::Quoted(std::string* field) {
  const idx_t opened = next_line_;
  for (;;) {
    const std::size_t quote = rest_.find('"');
    Check(quote != std::string_view::npos, ErrorCode::kFormat,
          "{}:{}: the quote that opens here is never closed", source_, opened);
    field->append(rest_.substr(0, quote));
    Check(field->size() <= kMostFieldBytes, ErrorCode::kFormat,
          "{}:{}: a field has more than {} bytes", source_, opened, kMostFieldBytes);
    next_line_ += std::count(rest_.begin(), rest_.begin() + static_cast<idx_t>(quote), '\n');
    rest_.remove_prefix(quote + 1);
    if (!rest_.starts_with('"')) return;
    field->push_back('"');
    rest_.remove_prefix(1);
  }
}

void CsvReader::Plain(std::string* field) {
  std::size_t end = 0;
  while (end < rest_.size() && rest_[end] != separator_ && rest_[end] != '\n') ++end;
  std::string_view text = rest_.substr(0, end);
  if (text.ends_with('\r') && (end == rest_.size() || rest_[end] == '\n')) text.remove_suffix(1);
  Check(text.size() <= kMostFieldBytes, ErrorCode::kFormat, "{}:{}: a field has more than {} bytes",
        source_, next_line_, kMostFieldBytes);
  field->assign(text);
  rest_.remove_prefix(end);
}

bool CsvReader::Next(std::vector<std::string>* fields) {
  while (rest_.starts_with('\n') || rest_.starts_with("\r\n")) {
    rest_.remove_prefix(rest_.find('\n') + 1);
    ++next_line_;
  }
  if (rest_.empty()) return false;
  line_ = next_line_;
  fields->clear();
  for (;;) {
    Check(fields->size() < kMostFields, ErrorCode::kFormat, "{}:{}: more than {} fields", source_,
          line_, kMostFields);
    std::string& field = fields->emplace_back();
    if (rest_.starts_with('"')) {
      rest_.remove_prefix(1);
      Quoted(&field);
    } else {
      Plain(&field);
    }
    if (rest_.starts_with("\r\n") || rest_ == "\r") rest_.remove_prefix(1);
    if (rest_.empty()) return true;
    Check(rest_[0] == separator_ || rest_[0] == '\n', ErrorCode::kFormat,
          "{}:{}: bytes behind a closing quote: \"{}\"", source_, next_line_,
          Escape(rest_.substr(0, 20)));
    const bool ends = rest_[0] == '\n';
    rest_.remove_prefix(1);
    if (!ends) continue;
    ++next_line_;
    return true;
  }
}

}  // namespace longspan::io
