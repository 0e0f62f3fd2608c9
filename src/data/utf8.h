// Texts that must be UTF-8 (io/utf8.h), and what is said of those that are not.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace longspan::data {

// Throws kFormat when `text`, which begins in line `first_line` of what `where` names, is not
// UTF-8: "where:LINE: byte 7 of the line is 0xfc, no UTF-8 (--encoding latin-1 ...)". `what` says
// which part of the line it is, such as "column text: "; empty: the line itself. `skipped`: bytes
// of the first line that stand before the text.
void CheckUtf8(std::string_view text, std::string_view where, std::size_t first_line,
               std::string_view what = {}, std::size_t skipped = 0);

}  // namespace longspan::data
