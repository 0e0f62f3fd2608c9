// SentencePiece's map of characters to what they are normalized to: its "precompiled_charsmap".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/unicode.h"

namespace longspan::text {

// A double-array trie over UTF-8 whose leaves are places in a table of texts. Built only from bytes
// in which every step of a search stays inside of the arrays.
class CharactersMap {
 public:
  // Four bytes of the trie's size (little-endian), the trie, the texts, each closed by a zero.
  // At most limits::kMostMapBytes. kFormat with `source` when that is not what `bytes` are; cost
  // O(bytes * 64).
  CharactersMap(std::string_view bytes, std::string_view source);

  // What the shortest piece at the front of `text` that the map knows becomes; none: it knows none.
  std::optional<std::string_view> Find(std::string_view text) const;

  // The text with each grapheme cluster below 6 bytes, or else each character, replaced by what
  // Find says of it, as the `tokenizers` package does it (its Precompiled). What becomes more than
  // `most` characters is left off behind them.
  void Apply(Glyphs& glyphs, std::size_t most = SIZE_MAX) const;
  // How many bytes it makes of one byte at most, rounded up.
  std::size_t growth() const { return growth_; }

 private:
  void CheckTrie(std::string_view source);
  std::vector<std::uint32_t> units_;
  std::string texts_;
  std::size_t growth_ = 1;
};

}  // namespace longspan::text
