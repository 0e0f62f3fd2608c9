// Tokenizers: a text becomes ids that know their place in it, and the reverse.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/types.h"

#pragma GCC visibility push(default)
namespace longspan::text {

// [begin, end) of the text that was given.
struct Span {
  idx_t begin = 0, end = 0;  // from `begin` to before `end`
  // Whether both ends are the same.
  bool operator==(const Span&) const = default;
};

// What a row of tokens above max_length becomes. Nothing is ever cut without being asked for.
enum class Overflow {
  kError,          // kLimit, with both lengths
  kTruncate,       // cuts the longer of the two texts first; the result says how much
  kTruncateFirst,  // cuts the first text only
  kWindow,         // several rows: windows over the text (of a pair: over the second one)
};
inline constexpr Overflow kAllOverflows[] = {Overflow::kError, Overflow::kTruncate,
                                             Overflow::kTruncateFirst, Overflow::kWindow};
// Those of tasks over rows, and of tasks that need a text in one row.
inline constexpr Overflow kRowOverflows[] = {Overflow::kWindow, Overflow::kTruncate,
                                             Overflow::kError};
inline constexpr Overflow kOneRowOverflows[] = {Overflow::kError, Overflow::kTruncate};
std::string_view OverflowName(Overflow overflow);  // "truncate-first" is kTruncateFirst
// The one of `allowed` that has this name; kUsage lists the names of all allowed.
Overflow ParseOverflow(std::string_view name, std::span<const Overflow> allowed = kAllOverflows);

// How texts become tokens.
struct EncodeOptions {
  bool special_tokens = true;            // those of the model's template: <s> ... </s>
  idx_t max_length = 0;                  // tokens of a row with its special tokens; 0: any
  Overflow overflow = Overflow::kError;  // of a text that is longer
  idx_t stride = 0;                      // tokens that neighbouring windows share
  // The text goes on from another one: no space is put before it by tokenizers that do so.
  bool continues = false;
};

// One row of tokens. Characters are Unicode scalar values; each invalid piece of UTF-8 is one.
struct Encoding {
  std::vector<std::int32_t> ids, type_ids;  // of each token
  std::vector<Span> chars, bytes;           // of special tokens [0, 0)
  std::vector<std::uint8_t> special;        // 1: the template put it there
  std::vector<std::int8_t> sequence;        // 0 first text, 1 second, -1 special
  idx_t dropped[2] = {0, 0};                // tokens of each text that were cut
  idx_t first_token[2] = {0, 0};            // where the row's part of each text begins: windows
  // Its tokens, special ones included.
  idx_t size() const { return static_cast<idx_t>(ids.size()); }
};

// Tokens of one text, before special tokens are put around them.
struct TokenRow {
  std::vector<std::int32_t> ids;  // of each token
  std::vector<Span> chars;        // its place in the text
  std::vector<idx_t> starts;      // byte of each character, and the text's length
};

// Ids that have a meaning of their own; none: the tokenizer has none.
struct SpecialIds {
  // They begin, end, stand for what is unknown, separate, fill, classify and mask.
  std::optional<std::int32_t> bos, eos, unk, sep, pad, cls, mask;
};

// Texts as tokens, and back. Nothing changes it: any number of threads may use it.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::string_view kind() const = 0;  // "bytes", "byte-level BPE", ...
  virtual idx_t vocabulary() const = 0;       // the largest id + 1
  // The token as the file spells it. kFormat when the id has none.
  virtual std::string TokenOf(std::int32_t id) const = 0;
  virtual std::optional<std::int32_t> IdOf(std::string_view token) const = 0;
  // Whether a token is a later piece of a word; none: the tokenizer's vocabulary does not say.
  virtual std::optional<bool> ContinuesWord(std::int32_t) const { return std::nullopt; }
  // kFormat for an id without a token, with its position.
  virtual std::string Decode(std::span<const std::int32_t> ids, bool skip_special) const = 0;

  // The ids of its special tokens.
  const SpecialIds& special() const { return special_; }
  // Tokens of the longest row that the model beside the files takes (model_max_length), if they
  // say so. Encode does not look at it.
  std::optional<idx_t> longest() const { return longest_; }
  // Special tokens that are put around a text, or around two.
  idx_t AddedTokens(bool pair) const;

  // One row, or several with kWindow. Invalid UTF-8 counts as U+FFFD, a character for each longest
  // invalid piece, as Python's errors="replace". kUsage when max_length leaves no room or
  // the stride is not below it; see Overflow. kLimit beyond kMostTextBytes, kMostGrowth
  // (base/limits.h). Thread-safe. Up to 70 bytes of memory for each byte of text: cut large corpora
  // into texts.
  std::vector<Encoding> Encode(std::string_view text, const EncodeOptions& options = {}) const;
  std::vector<Encoding> EncodePair(std::string_view first, std::string_view second,
                                   const EncodeOptions& options = {}) const;

 protected:
  // A place of the template: a special token, or the first or second text.
  struct Piece {
    int sequence = -1;      // 0 or 1: the tokens of that text; -1: the token `id`
    std::int32_t id = 0;    // of a special token
    std::int32_t type = 0;  // type of the tokens
  };
  // What stands around a text or a pair, in order.
  using Template = std::vector<Piece>;

  // `continues`: see EncodeOptions.
  virtual TokenRow EncodeText(std::string_view text, bool continues) const = 0;

  SpecialIds special_;                   // special()
  std::optional<idx_t> longest_;         // longest(), if the files say it
  Template single_{{0, 0, 0}};           // around one text
  Template pair_{{0, 0, 0}, {1, 0, 0}};  // around two

 private:
  struct Part {  // tokens [begin, end) of a text
    idx_t begin = 0, end = 0;
  };
  std::vector<Encoding> Rows(std::span<const TokenRow> rows, const EncodeOptions& options) const;
  Encoding Row(std::span<const TokenRow> rows, std::span<const Part> parts, bool special) const;
};

// The text with U+FFFD for each longest invalid piece of UTF-8, as Python's errors="replace".
std::string ReplaceInvalid(std::string_view text);

// The built-in one: id = byte + 2. Offsets are those of whole characters. `longest`: what longest()
// returns.
std::unique_ptr<Tokenizer> MakeBytesTokenizer(std::optional<idx_t> longest = std::nullopt);

}  // namespace longspan::text
#pragma GCC visibility pop
