#include "text/characters_map.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <deque>

#include "base/errors.h"
#include "base/limits.h"
#include "text/glyph_changes.h"

namespace longspan::text {
namespace {

// A unit of the trie, as the darts-clone library lays it out: either a node with the byte that
// leads to it, or a leaf with a value.
std::uint32_t Label(std::uint32_t unit) { return unit & (0x80000000u | 0xFFu); }
bool HasLeaf(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
std::uint32_t Offset(std::uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
std::uint32_t Value(std::uint32_t unit) { return unit & 0x7FFFFFFFu; }

}  // namespace

CharactersMap::CharactersMap(std::string_view bytes, std::string_view source) {
  Check(bytes.size() <= limits::kMostMapBytes, ErrorCode::kFormat,
        "{}: precompiled_charsmap has {} bytes, at most {} are read", source, bytes.size(),
        limits::kMostMapBytes);
  const auto word = [&](std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 4; i-- > 0;) {
      value = value << 8 | static_cast<std::uint8_t>(bytes[at + i]);
    }
    return value;
  };
  const std::size_t trie = bytes.size() < 4 ? 0 : word(0);
  Check(trie >= 1024 && trie % 4 == 0 && trie < bytes.size() - 4 && bytes.back() == '\0',
        ErrorCode::kFormat, "{}: precompiled_charsmap of {} bytes is damaged: a trie of {} bytes",
        source, bytes.size(), trie);
  units_.resize(trie / 4);
  for (std::size_t i = 0; i < units_.size(); ++i) units_[i] = word(4 + 4 * i);
  texts_ = bytes.substr(4 + trie);
  CheckTrie(source);
}

// Walks every path from the root once, short ones first: the first way to a text is the one on
// which it stands for the fewest bytes.
void CharactersMap::CheckTrie(std::string_view source) {
  const auto damaged = [&](std::size_t at) {
    Fail(ErrorCode::kFormat,
         "{}: precompiled_charsmap is damaged: unit {} of its trie leads out of it", source, at);
  };
  const std::size_t count = units_.size();
  std::vector<bool> seen(count, false);
  struct Place {
    std::uint32_t base;
    std::size_t bytes;  // on the way to it
  };
  std::deque<Place> open;
  // `base`: the children of a node lie at base ^ byte.
  const auto visit = [&](std::size_t node, std::uint32_t base, std::size_t bytes) {
    if ((base | 0xFFu) >= count) damaged(node);
    if (seen[base]) return;
    seen[base] = true;
    open.push_back({base, bytes});
  };
  visit(0, Offset(units_[0]), 0);
  while (!open.empty()) {
    const auto [base, bytes] = open.front();
    open.pop_front();
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t node = base ^ byte;
      const std::uint32_t unit = units_[node];
      if (Label(unit) != byte) continue;
      const std::uint32_t next = node ^ Offset(unit);
      visit(node, next, bytes + 1);
      if (!HasLeaf(unit)) continue;
      const std::size_t value = Value(units_[next]);
      if (value >= texts_.size()) damaged(next);
      // What is beyond the bound is not measured: leaves may share a long text.
      const std::size_t most = (limits::kMostGrowth + 1) * (bytes + 1);
      const std::size_t size = strnlen(texts_.c_str() + value, most);
      growth_ = std::max(growth_, (size + bytes) / (bytes + 1));
    }
  }
}

std::optional<std::string_view> CharactersMap::Find(std::string_view text) const {
  std::uint32_t base = Offset(units_[0]);
  for (const char c : text) {
    const std::uint32_t byte = static_cast<std::uint8_t>(c);
    const std::uint32_t unit = units_[base ^ byte];
    if (Label(unit) != byte) return std::nullopt;
    base = base ^ byte ^ Offset(unit);
    if (HasLeaf(unit)) return std::string_view(texts_.c_str() + Value(units_[base]));
  }
  return std::nullopt;
}

void CharactersMap::Apply(Glyphs& glyphs, std::size_t most) const {
  std::vector<GlyphChange> changes;
  changes.reserve(glyphs.size());
  // `old_count` characters become `text`. What of them stands for nothing goes with the character
  // before it; at the front of a text nothing tells that it went, there as here.
  const auto replace = [&](std::size_t old_count, std::string_view text) {
    std::vector<idx_t> starts;
    const Glyphs made = DecodeUtf8(text, starts);
    for (std::size_t i = 0; i < made.size(); ++i) {
      changes.push_back({made[i].c, i < old_count ? 0 : 1});
    }
    if (made.size() < old_count && !changes.empty()) {
      changes.back().change -= static_cast<int>(old_count - made.size());
    }
  };
  for (std::size_t begin = 0; begin < glyphs.size() && changes.size() <= most;) {
    std::size_t end = begin + 1;
    utf8proc_int32_t state = 0;
    while (end < glyphs.size() && !utf8proc_grapheme_break_stateful(
                                      static_cast<utf8proc_int32_t>(glyphs[end - 1].c),
                                      static_cast<utf8proc_int32_t>(glyphs[end].c), &state)) {
      ++end;
    }
    const std::string cluster = ToUtf8(glyphs.data() + begin, glyphs.data() + end);
    const auto whole = cluster.size() < 6 ? Find(cluster) : std::nullopt;
    if (whole) replace(end - begin, *whole);
    for (std::size_t i = begin; i < end && !whole && changes.size() <= most; ++i) {
      const auto one = Find(ToUtf8(&glyphs[i], &glyphs[i] + 1));
      if (one) {
        replace(1, *one);
      } else {
        changes.push_back({glyphs[i].c, 0});
      }
    }
    begin = end;
  }
  glyphs = Changed(changes, glyphs);
}

}  // namespace longspan::text
