// Where the `tokenizers` package and utf8proc differ, each by the version of Unicode that it
// follows. The tables are written by tools/make_unicode_exceptions.py.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace longspan::text::exceptions {

struct Range {  // first and last included, sorted, disjoint
  char32_t first, last;
  std::uint16_t value;
};
struct Mapping {  // to, ended by 0 or by the end of the array
  char32_t from, to[4];
};

const std::vector<Range>& Kinds();     // the bits of unicode.h
const std::vector<Range>& Starters();  // combining class 0, whatever utf8proc says
const std::vector<Range>& Whole();     // no compatibility decomposition
const std::vector<Mapping>& Decompositions();
const std::vector<Mapping>& LowerCase();

// The row that holds a character; nullptr: none.
inline const Range* Find(const std::vector<Range>& rows, char32_t c) {
  const auto after = std::upper_bound(rows.begin(), rows.end(), c,
                                      [](char32_t x, const Range& row) { return x < row.first; });
  if (after == rows.begin() || (after - 1)->last < c) return nullptr;
  return &*(after - 1);
}
inline const Mapping* Find(const std::vector<Mapping>& rows, char32_t c) {
  const auto found = std::lower_bound(rows.begin(), rows.end(), c,
                                      [](const Mapping& row, char32_t x) { return row.from < x; });
  return found == rows.end() || found->from != c ? nullptr : &*found;
}

}  // namespace longspan::text::exceptions
