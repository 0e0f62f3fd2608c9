// Tokens that are found in a text as they stand, before anything splits it: <mask>, [SEP].
#pragma once

#include <array>
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

// Finds a set of tokens, the leftmost first and of these the longest, in time linear in the text
// whatever the tokens are. A text is read backwards by an automaton of Aho and Corasick, so that at
// each place it knows the longest token that begins there.
class AddedTokenFinder {
 public:
  // `content` is what to look for: the token's, normalized or not.
  void Add(const Glyphs& content, const AddedToken& token);
  // Behind the last Add, before the first Split.
  void Finish();
  bool empty() const { return tokens_.empty(); }
  // The whole of `glyphs` in parts; parts of text are never empty.
  std::vector<AddedSplit> Split(const Glyphs& glyphs) const;

 private:
  struct Node {
    std::uint32_t parent = 0;
    char32_t c = 0;             // on the way from the parent
    std::uint32_t depth = 0;    // characters
    std::uint32_t shorter = 0;  // the longest shorter end of this one's characters that is a node
    std::int32_t token = -1;    // the longest one that ends here
  };
  // A place where a token begins, and the longest that does.
  struct Match {
    std::size_t begin, token;
  };
  std::uint32_t Next(std::uint32_t node, char32_t c) const;
  std::vector<Match> Matches(const Glyphs& glyphs) const;

  std::unordered_map<std::uint64_t, std::uint32_t> edges_;  // node << 21 | character -> node
  std::array<std::uint32_t, 128> first_{};                  // of the root by ASCII; 0: none
  std::vector<Node> nodes_{Node{}};
  std::vector<AddedToken> tokens_;
  std::vector<std::size_t> sizes_;  // of the tokens' contents, characters
};

}  // namespace longspan::text
