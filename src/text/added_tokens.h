// Tokens that are found in a text as they stand, before anything splits it: <mask>, [SEP].
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/unicode.h"

namespace longspan::text {

struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  bool single_word = false;  // not inside a word
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and behind it
  bool normalized = false;   // looked for in the normalized text
  bool special = false;      // left out of decoded text
};

// A part [begin, end) of some glyphs: a token, or (id < 0) text between tokens.
struct AddedSplit {
  std::size_t begin = 0, end = 0;
  std::int32_t id = -1;
};

// Finds a set of tokens, the leftmost first and of these the longest.
class AddedTokenFinder {
 public:
  // `content` is what to look for: the token's, normalized or not.
  void Add(const Glyphs& content, const AddedToken& token);
  bool empty() const { return tokens_.empty(); }
  // The whole of `glyphs` in parts; parts of text are never empty.
  std::vector<AddedSplit> Split(const Glyphs& glyphs) const;

 private:
  std::unordered_map<std::uint64_t, std::uint32_t> edges_;  // node << 21 | character -> node
  std::vector<std::int32_t> ends_{-1};                      // token that ends at a node
  std::vector<AddedToken> tokens_;
};

}  // namespace longspan::text
