// What turns a word into tokens: BPE over bytes or characters, WordPiece, Unigram.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "longspan/tokenizer.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace longspan::text {

// The character that stands for a byte in the files of a byte-level vocabulary (33-126, 161-172 and
// 174-255 for themselves, the others as 256, 257, ...), and the byte of a character, -1 for none.
char32_t ByteCharacter(std::uint8_t byte);
int ByteOfCharacter(char32_t c);

// Tokens "<0x00>" to "<0xFF>" of a vocabulary for characters that have no token.
using ByteTokens = std::array<std::int32_t, 256>;
// kFormat, naming `source`, when one of them is missing.
ByteTokens ByteTokensOf(const Vocabulary& vocabulary, std::string_view source);

// Byte pair encoding over bytes or characters. Cost of a word of n bytes: O(n log n).
class BpeModel {
 public:
  struct Options {
    std::optional<std::int32_t> unk;  // for what has no token; none: bytes give nothing, unless
    std::string unk_name = {};        // it has this name: then a text that needs it is refused
    bool fuse_unk = false;            // one for neighbouring ones
    bool ignore_merges = false;       // a word that is a token is taken whole
    bool characters = false;          // begins with characters, not with bytes
    bool byte_fallback = false;       // a character without a token is its bytes' tokens
  };
  // Tokens of words seen in one text: what a caller of EncodeWord keeps, at most
  // limits::kMostBpeWords of limits::kLongestBpeWord bytes.
  struct Cache {
    std::unordered_map<std::string, std::vector<std::pair<std::int32_t, std::uint32_t>>> words;
  };

  // Refuses (kFormat) a merge of which a part or the result is no token, and characters that would
  // give nothing: neither unk nor byte_fallback.
  BpeModel(const Vocabulary& vocabulary,
           const std::vector<std::pair<std::string, std::string>>& merges, const Options& options,
           std::string_view source);

  // Appends the tokens of a word. The bytes of a character stand for all of it. kFormat for what
  // has no token where unk has a name alone.
  void EncodeWord(const Vocabulary& vocabulary, const Glyph* first, const Glyph* last, Cache& cache,
                  TokenRow& row) const;

 private:
  using Tokens = std::vector<std::pair<std::int32_t, std::uint32_t>>;  // id, bytes
  Tokens Merge(std::string_view bytes) const;
  Tokens Units(std::string_view bytes) const;
  struct Result {
    std::uint32_t rank;
    std::int32_t id;
  };
  std::unordered_map<std::uint64_t, Result> merges_;  // left id << 32 | right id
  std::array<std::int32_t, 256> byte_ids_{};
  std::unordered_map<char32_t, std::int32_t> character_ids_;
  ByteTokens fallback_{};
  Options options_;
};

// Greedy longest match first, over characters. Cost of a word of n: O(n * longest match that is
// begun).
class WordPieceModel {
 public:
  struct Options {
    std::optional<std::int32_t> unk = 0;  // none: a text that needs it is refused by its name
    std::string unk_name = {};
    std::string prefix = "##";  // of a piece that does not begin its word
    idx_t longest_word = 100;   // characters; a longer one is unk
  };
  WordPieceModel(const Vocabulary& vocabulary, Options options);
  void EncodeWord(const Glyph* first, const Glyph* last, TokenRow& row) const;
  const Options& options() const { return options_; }

 private:
  std::optional<std::uint32_t> Next(std::uint32_t node, char32_t c) const;

  Options options_;
  std::unordered_map<std::uint64_t, std::uint32_t> edges_;  // node << 21 | character -> node
  std::vector<std::int32_t> ends_{-1};                      // the token that ends at a node
  std::optional<std::uint32_t> inside_;  // the node of the prefix; none: no token begins with it
};

// SentencePiece's Unigram: of all ways to cut a word into tokens the one with the largest sum of
// scores; equal ones: the one whose last token begins first, then that of the token before it. A
// character without a token counts the lowest score less 10; neighbouring ones are one unk, or all
// their bytes' tokens. Cost of a word of n bytes: O(n * longest token).
class UnigramModel {
 public:
  struct Options {
    std::int32_t unk = 0;
    bool byte_fallback = false;
  };
  // `scores` by id, finite, one for each token. kFormat naming `source`.
  UnigramModel(const Vocabulary& vocabulary, std::vector<double> scores, const Options& options,
               std::string_view source);
  void EncodeWord(const Glyph* first, const Glyph* last, TokenRow& row) const;

 private:
  struct Node {
    double score = 0.0;
    idx_t from = -1;       // where the token that ends here begins; negative: none ends here
    std::int32_t id = -1;  // negative: a character without a token
  };
  std::vector<Node> BestPath(const Glyph* first, const Glyph* last) const;

  std::unordered_map<std::uint64_t, std::uint32_t> edges_;  // node << 21 | character -> node
  std::vector<std::int32_t> ends_{-1};                      // the token that ends at a node
  std::vector<double> scores_;
  double unk_score_ = 0.0;
  ByteTokens fallback_{};
  Options options_;
};

}  // namespace longspan::text
