// Looking for a fixed text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/unicode.h"

namespace longspan::text {

// A text that is looked for in others, in time linear in those whatever the two are (Knuth, Morris
// and Pratt): patterns and texts come from outside, and a thousand equal characters in a text of
// them is where simpler searches need a thousand steps for each.
class LiteralSearch {
 public:
  LiteralSearch() = default;
  LiteralSearch(std::u32string literal);  // NOLINT(google-explicit-constructor): is one

  std::size_t size() const { return literal_.size(); }
  std::u32string_view text() const { return literal_; }
  // Where it begins first in glyphs [at, end); `end`: nowhere. Of an empty literal: nowhere.
  std::size_t Find(const Glyphs& glyphs, std::size_t at, std::size_t end) const;

 private:
  std::u32string literal_;
  std::vector<std::size_t> shorter_;  // of a start of n + 1: the longest shorter start at its end
};

// The same in bytes, by the C library's memmem, which is linear too; npos: nowhere.
std::size_t FindText(std::string_view text, std::string_view literal, std::size_t at);

}  // namespace longspan::text
