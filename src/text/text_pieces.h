// Long texts in pieces.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace longspan::text {

// Appends `text` in pieces of at most `most` bytes (4 or more) that end with a line where there is
// one, else behind a space, else anywhere but inside of a character.
void CutAtLines(std::string_view text, std::size_t most, std::vector<std::string_view>* pieces);

}  // namespace longspan::text
