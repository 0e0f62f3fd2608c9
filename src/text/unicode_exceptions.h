// Where the `tokenizers` package and utf8proc differ, each by the version of Unicode that it
// follows. The tables are written by tools/make_unicode_exceptions.py.
#pragma once

#include <cstdint>
#include <vector>

namespace longspan::text::exceptions {

struct Range {  // first and last included, sorted, disjoint
  char32_t first, last;
  std::uint8_t value;
};
struct Mapping {  // to, ended by 0 or by the end of the array
  char32_t from, to[4];
};

const std::vector<Range>& Kinds();     // the bits of unicode.h
const std::vector<Range>& Starters();  // combining class 0, whatever utf8proc says
const std::vector<Mapping>& Decompositions();
const std::vector<Mapping>& LowerCase();

}  // namespace longspan::text::exceptions
