// Comma- and tab-separated values from files that nobody vouches for.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/text_stream.h"
#include "longspan/types.h"

namespace longspan::data {

// Walks over the records of a stream. Lines of white space alone are skipped.
//
// Commas (RFC 4180): a field in double quotes may hold commas, line breaks and doubled quotes; a
// quote inside of another field is a character as any.
// Tabs: writers of TSV quote nothing, or as for commas, and sentences begin with quotation marks. A
// field stands in quotes when the closing one stands before its end; where the line otherwise has
// another number of fields than the first one, quotes are read as for commas. Any other quote is a
// character.
//
// Debian's readers know no line breaks inside of fields, which documents have.
class CsvReader {
 public:
  // `stream` outlives the reader. No record may be longer than `most_bytes`.
  CsvReader(TextStream& stream, char separator, std::size_t most_bytes);

  // The next record; false at the end. kFormat with the line: a quote that is never closed, bytes
  // behind a closing quote, a lone CR, too many fields; the reader then stands behind the line and
  // can go on. kLimit for a record that is too long; the next call passes over it, and throws
  // kFormat where a quote in it is never closed.
  bool Next(std::vector<std::string>* fields);

  // Where the record read last begins, from 1.
  idx_t line() const { return line_; }
  // Whether Next can go on behind what it refused.
  bool can_go_on() const { return can_go_on_; }

 private:
  bool Has(std::size_t at);
  std::size_t Find(std::string_view marks, std::size_t from);
  void SkipLine();
  bool SkipBlankLine();
  void SkipRecord();
  // These follow a record from the front of the rest without taking it, and leave in why_ what is
  // wrong with it. They return the place behind what they read.
  std::size_t Parse(bool quotes, std::vector<std::string>* fields);
  std::size_t Quoted(std::size_t at, std::string* field);
  std::size_t Plain(std::size_t at, std::string* field);
  std::size_t ParseTabs(std::vector<std::string>* fields);

  TextStream& stream_;
  char separator_;
  std::size_t most_bytes_, most_now_;
  idx_t line_ = 0;
  std::size_t width_ = 0;    // fields of the first record
  std::size_t tries_bytes_;  // that may still be read for nothing, of quotes in a TSV
  bool can_go_on_ = false, too_long_ = false;
  std::string why_;
};

}  // namespace longspan::data
