// Runs of characters of one kind. Internal.
#pragma once

#include <cstddef>

#include "text/unicode.h"

namespace longspan::text {

inline bool Is(const Glyph& g, KindBits kinds) { return (Kind(g.c) & kinds) != 0; }

// The end of the run of glyphs from `at` that all satisfy holds(glyph).
template <class Holds>
std::size_t RunEnd(const Glyphs& g, std::size_t at, std::size_t end, const Holds& holds) {
  while (at < end && holds(g[at])) ++at;
  return at;
}

}  // namespace longspan::text
