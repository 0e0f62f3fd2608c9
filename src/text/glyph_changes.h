// A text made anew from another one, with the places of characters as the `tokenizers` package
// keeps them. Internal.
#pragma once

#include <vector>

#include "text/unicode.h"

namespace longspan::text {

// A character of the new text. `change` 0: it takes the place of the next character of the old
// one; 1: it is one more, at the place of the one before it; -n: it takes the next place, and the n
// characters behind that go.
struct GlyphChange {
  char32_t c = 0;
  int change = 0;
};

Glyphs Changed(const std::vector<GlyphChange>& changes, const Glyphs& glyphs);

}  // namespace longspan::text
