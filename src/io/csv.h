// Comma- and tab-separated values (RFC 4180) from files that nobody vouches for.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "longspan/types.h"

namespace longspan::io {

// Walks over the records of a text that outlives it. A field in double quotes may hold the
// separator, line breaks and doubled quotes; a quote inside of another field is a character as any.
// Lines end with LF or CRLF; empty lines are skipped, and
// so is a UTF-8 byte-order mark at the start. Debian's readers know no line breaks inside of
// fields, which documents have.
class CsvReader {
 public:
  static constexpr std::size_t kMostFieldBytes = std::size_t{64} << 20;
  static constexpr std::size_t kMostFields = 4096;  // of a record

  // `source` is what messages call the text.
  CsvReader(std::string_view text, char separator, std::string source);

  // The next record; false at the end. kFormat with the line: a quote that is never closed, bytes
  // behind a closing quote, too many or too long fields.
  bool Next(std::vector<std::string>* fields);

  // Where the record read last begins, from 1.
  idx_t line() const { return line_; }

 private:
  void Quoted(std::string* field);
  void Plain(std::string* field);

  std::string_view rest_;
  char separator_;
  std::string source_;
  idx_t line_ = 0, next_line_ = 1;
};

}  // namespace longspan::io
