// The regular expressions of tokenizer.json that cut a text into words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "text/unicode.h"

namespace longspan::text {

// One of the known expressions, matched by hand: time is linear in the text, which an engine that
// backtracks does not promise. All of them match every character of every text, so that their
// matches lie side by side.
struct WordExpression {
  enum class Form : std::uint8_t {
    kGpt2,     // letters, numbers or others, with one space before them
    kLetters,  // letters with any one character before them, but no end of a line
    kCases,    // kLetters, and capitals behind a small letter begin a word
  };
  Form form = Form::kGpt2;
  std::uint8_t most_digits = 3;  // in one word, unless kGpt2
  bool marks = false;            // of kLetters: marks are letters
  bool contractions = true;      // of kCases: 's and its like belong to the word before them
};

// The expression that a file writes as `pattern`; none: it is not known.
std::optional<WordExpression> WordExpressionOf(std::string_view pattern);
// Whose they are, for messages.
inline constexpr std::string_view kWordExpressions =
    "GPT-2's, GPT-4's (Llama 3's), GPT-4o's, Qwen's and Tekken's (Mistral's)";

// The end of the match that begins at `at` < `end`; nothing behind `end` is looked at.
std::size_t WordEnd(const WordExpression& expression, const Glyphs& g, std::size_t at,
                    std::size_t end);

}  // namespace longspan::text
