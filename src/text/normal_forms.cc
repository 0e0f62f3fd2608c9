// Decomposition and composition, with the places of characters as the `tokenizers` package keeps
// them.
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <optional>

#include "text/glyph_changes.h"
#include "text/unicode.h"
#include "text/unicode_exceptions.h"

namespace longspan::text {
namespace {

struct Part : GlyphChange {
  int combining = 0;  // class
};

int CombiningClass(char32_t c) {
  if (c < 0x300 || exceptions::Find(exceptions::Starters(), c) != nullptr) return 0;
  return utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class;
}

void AppendParts(char32_t c, bool compatibility, std::vector<Part>& parts) {
  const auto put = [&](char32_t part, bool first) {
    parts.push_back({{part, first ? 0 : 1}, CombiningClass(part)});
  };
  if (c < 0xA0) return put(c, true);
  if (const auto* row = exceptions::Find(exceptions::Decompositions(), c)) {
    for (int i = 0; i < 4 && row->to[i] != 0; ++i) put(row->to[i], i == 0);
    return;
  }
  if (compatibility && exceptions::Find(exceptions::Whole(), c) != nullptr) return put(c, true);
  std::array<utf8proc_int32_t, 32> buffer{};
  int last = 0;
  const int options = UTF8PROC_DECOMPOSE | (compatibility ? UTF8PROC_COMPAT : 0);
  const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), buffer.data(),
                                             static_cast<utf8proc_ssize_t>(buffer.size()),
                                             static_cast<utf8proc_option_t>(options), &last);
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    put(static_cast<char32_t>(buffer[static_cast<std::size_t>(i)]), i == 0);
  }
}

// Decomposed, marks in canonical order.
std::vector<Part> Decomposed(const Glyphs& glyphs, bool compatibility, std::size_t most) {
  std::vector<Part> parts;
  parts.reserve(glyphs.size());
  for (const Glyph& g : glyphs) {
    AppendParts(g.c, compatibility, parts);
    if (parts.size() > most) break;
  }
  for (auto i = parts.begin(); i != parts.end();) {
    const auto is_starter = [](const Part& p) { return p.combining == 0; };
    i = std::find_if_not(i, parts.end(), is_starter);
    const auto end = std::find_if(i, parts.end(), is_starter);
    std::stable_sort(i, end,
                     [](const Part& a, const Part& b) { return a.combining < b.combining; });
    i = end;
  }
  return parts;
}

// The character that two compose to.
std::optional<char32_t> Composed(char32_t a, char32_t b) {
  std::array<utf8proc_int32_t, 2> pair = {static_cast<utf8proc_int32_t>(a),
                                          static_cast<utf8proc_int32_t>(b)};
  const int options = UTF8PROC_COMPOSE | UTF8PROC_STABLE;
  if (utf8proc_normalize_utf32(pair.data(), 2, static_cast<utf8proc_option_t>(options)) != 1) {
    return std::nullopt;
  }
  const auto c = static_cast<char32_t>(pair[0]);
  // What the package does not take apart it does not put together.
  const auto* row = exceptions::Find(exceptions::Decompositions(), c);
  return row != nullptr && row->to[0] == c ? std::nullopt : std::optional(c);
}

// Unicode 3.11: each starter takes the marks behind it that are not blocked and compose with it.
std::vector<Part> Recomposed(const std::vector<Part>& parts) {
  std::vector<Part> result, marks;  // marks: behind the starter, not composed
  std::optional<Part> starter;
  const auto flush = [&] {
    if (starter) result.push_back(*starter);
    result.insert(result.end(), marks.begin(), marks.end());
    starter.reset();
    marks.clear();
  };
  for (const Part& part : parts) {
    if (!starter) {
      if (part.combining == 0) {
        starter = part;
      } else {
        result.push_back(part);
      }
      continue;
    }
    const bool blocked = !marks.empty() && marks.back().combining >= part.combining;
    const auto composed = blocked ? std::nullopt : Composed(starter->c, part.c);
    if (composed) {
      starter->c = *composed;
      starter->change += part.change - 1;
    } else if (part.combining == 0) {
      flush();
      starter = part;
    } else {
      marks.push_back(part);
    }
  }
  flush();
  return result;
}

// Marks that change places keep no better account of them, there as here.
Glyphs Placed(const std::vector<Part>& parts, const Glyphs& glyphs) {
  return Changed({parts.begin(), parts.end()}, glyphs);
}

}  // namespace

Glyphs Changed(const std::vector<GlyphChange>& changes, const Glyphs& glyphs) {
  Glyphs result;
  if (glyphs.empty()) return result;
  result.reserve(changes.size());
  std::size_t next = 0;
  for (const GlyphChange& change : changes) {
    if (change.change > 0) {
      const Glyph& from = glyphs[next == 0 ? 0 : std::min(next, glyphs.size()) - 1];
      result.push_back({change.c, from.begin, next == 0 ? from.begin : from.end});
      continue;
    }
    const Glyph& from = glyphs[std::min(next, glyphs.size() - 1)];
    result.push_back({change.c, from.begin, from.end});
    next += static_cast<std::size_t>(1 - change.change);
  }
  return result;
}

// Characters below U+00A0 are their own normal forms.
static bool IsNormal(const Glyphs& glyphs) {
  return std::all_of(glyphs.begin(), glyphs.end(), [](const Glyph& g) { return g.c < 0xA0; });
}

Glyphs Decompose(Glyphs glyphs, bool compatibility, std::size_t most) {
  if (IsNormal(glyphs)) return glyphs;
  return Placed(Decomposed(glyphs, compatibility, most), glyphs);
}

Glyphs Compose(Glyphs glyphs, bool compatibility, std::size_t most) {
  if (IsNormal(glyphs)) return glyphs;
  const std::vector<Part> parts = Decomposed(glyphs, compatibility, most);
  return Placed(parts.size() > most ? parts : Recomposed(parts), glyphs);
}

}  // namespace longspan::text
