#include "text/word_expressions.h"

#include <algorithm>

#include "text/glyph_runs.h"

namespace longspan::text {
namespace {

using Form = WordExpression::Form;

// An expression as files write it.
struct WrittenExpression {
  std::string_view pattern;
  WordExpression expression;
};

constexpr WrittenExpression kWritten[] = {
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
     {.form = Form::kGpt2}},
    // GPT-4 and Llama 3, as tokenizer.json files write it and as tiktoken does. The latter's
    // possessive quantifiers match the same, and so does its single [\r\n] behind \s*.
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
     R"(\s*[\r\n]+|\s+(?!\S)|\s+)",
     {.form = Form::kLetters}},
    {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|)"
     R"(\s*[\r\n]|\s+(?!\S)|\s+)",
     {.form = Form::kLetters}},
    // Qwen 2 to 3, and 3.5.
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
     R"(\s*[\r\n]+|\s+(?!\S)|\s+)",
     {.form = Form::kLetters, .most_digits = 1}},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|)"
     R"( ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     {.form = Form::kLetters, .most_digits = 1, .marks = true}},
    // GPT-4o.
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
     R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     {.form = Form::kCases}},
    // Tekken.
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
     R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     {.form = Form::kCases, .most_digits = 1, .contractions = false}},
};

bool EndsLine(const Glyph& g) { return g.c == '\r' || g.c == '\n'; }
// [^\r\n\p{L}\p{N}]
bool MayLead(const Glyph& g) { return !EndsLine(g) && !Is(g, kLetter | kNumber); }

// A small letter that an expression takes for the same without regard to case: U+017F is a long s.
char32_t SmallLetter(char32_t c) {
  if (c >= 'A' && c <= 'Z') return c + 32;
  return c == 0x17F ? U's' : c;
}

// How many glyphs the English contraction at `at` has: 's 't 're 've 'm 'll 'd; 0: none.
std::size_t Contraction(const Glyphs& g, std::size_t at, std::size_t end, bool any_case) {
  if (at >= end || g[at].c != '\'' || at + 1 == end) return 0;
  const auto letter = [&](std::size_t i) { return any_case ? SmallLetter(g[i].c) : g[i].c; };
  const char32_t first = letter(at + 1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if (at + 2 == end) return 0;
  const char32_t second = letter(at + 2);
  return ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l') ? 3
                                                                                              : 0;
}

// \s*[\r\n]+|\s+(?!\S)|\s+ at white space; the first of the three only if `lines`.
std::size_t SpaceEnd(const Glyphs& g, std::size_t at, std::size_t end, bool lines) {
  const std::size_t run = RunEnd(g, at, end, [](const Glyph& x) { return Is(x, kSpace); });
  for (std::size_t i = run; lines && i > at; --i) {
    if (EndsLine(g[i - 1])) return i;
  }
  // What is followed by text leaves its last character to it.
  return run == end || run == at + 1 ? run : run - 1;
}

std::size_t Gpt2WordEnd(const Glyphs& g, std::size_t at, std::size_t end) {
  if (const std::size_t length = Contraction(g, at, end, false)) return at + length;
  const std::size_t core = g[at].c == ' ' && at + 1 < end ? at + 1 : at;
  constexpr KindBits kClasses = kLetter | kNumber | kSpace;
  const KindBits kind = Kind(g[core].c) & kClasses;
  if (kind == kSpace) return SpaceEnd(g, at, end, false);
  return RunEnd(g, core, end, [&](const Glyph& x) { return (Kind(x.c) & kClasses) == kind; });
}

// What kLetters and kCases do alike where no letters begin: numbers, others with the ends of lines
// (kCases: and slashes) behind them, white space.
std::size_t NoLettersEnd(const WordExpression& e, const Glyphs& g, std::size_t at,
                         std::size_t end) {
  if (Is(g[at], kNumber)) {
    return RunEnd(g, at, std::min(end, at + e.most_digits),
                  [](const Glyph& x) { return Is(x, kNumber); });
  }
  const auto is_other = [&](const Glyph& x) {
    return !Is(x, kLetter | kNumber | kSpace) && !(e.marks && Is(x, kMarkClass));
  };
  const std::size_t core = g[at].c == ' ' && at + 1 < end && is_other(g[at + 1]) ? at + 1 : at;
  if (!is_other(g[core])) return SpaceEnd(g, at, end, true);
  return RunEnd(g, RunEnd(g, core, end, is_other), end, [&](const Glyph& x) {
    return EndsLine(x) || (e.form == Form::kCases && x.c == '/');
  });
}

std::size_t LettersWordEnd(const WordExpression& e, const Glyphs& g, std::size_t at,
                           std::size_t end) {
  if (const std::size_t length = Contraction(g, at, end, true)) return at + length;
  const auto is_letter = [&](const Glyph& x) {
    return Is(x, kLetter) || (e.marks && Is(x, kMarkClass));
  };
  const bool lead = MayLead(g[at]) && at + 1 < end && is_letter(g[at + 1]);
  const std::size_t first = lead ? at + 1 : at;
  return is_letter(g[first]) ? RunEnd(g, first, end, is_letter) : NoLettersEnd(e, g, at, end);
}

bool IsCapital(const Glyph& g) {  // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
  const KindBits kind = Kind(g.c);
  return (kind & kMarkClass) != 0 || ((kind & kLetter) != 0 && (kind & kLower) == 0);
}
bool IsSmall(const Glyph& g) {  // [\p{Ll}\p{Lm}\p{Lo}\p{M}]
  const KindBits kind = Kind(g.c);
  return (kind & kMarkClass) != 0 || ((kind & kLetter) != 0 && (kind & kUpper) == 0);
}

// Capital* small+, behind any character that may lead; failing that capital+ small*, likewise; `at`
// where neither fits. What is capital and small (marks, letters without case) goes back to small
// letters where no others follow.
std::size_t CasedEnd(const Glyphs& g, std::size_t at, std::size_t end) {
  const std::size_t lead = MayLead(g[at]) ? at + 1 : at;
  for (std::size_t begin = lead;; begin = at) {
    const std::size_t capitals = RunEnd(g, begin, end, IsCapital);
    const std::size_t smalls = RunEnd(g, capitals, end, IsSmall);
    if (smalls > capitals) return smalls;
    for (std::size_t i = capitals; i > begin; --i) {
      if (IsSmall(g[i - 1])) return i;
    }
    if (begin == at) break;
  }
  for (std::size_t begin = lead;; begin = at) {
    const std::size_t capitals = RunEnd(g, begin, end, IsCapital);
    if (capitals > begin) return RunEnd(g, capitals, end, IsSmall);
    if (begin == at) return at;
  }
}

std::size_t CasesWordEnd(const WordExpression& e, const Glyphs& g, std::size_t at,
                         std::size_t end) {
  const std::size_t stop = CasedEnd(g, at, end);
  if (stop == at) return NoLettersEnd(e, g, at, end);
  return e.contractions ? stop + Contraction(g, stop, end, true) : stop;
}

}  // namespace

std::optional<WordExpression> WordExpressionOf(std::string_view pattern) {
  for (const WrittenExpression& written : kWritten) {
    if (written.pattern == pattern) return written.expression;
  }
  return std::nullopt;
}

std::size_t WordEnd(const WordExpression& expression, const Glyphs& g, std::size_t at,
                    std::size_t end) {
  switch (expression.form) {
    case Form::kGpt2:
      return Gpt2WordEnd(g, at, end);
    case Form::kLetters:
      return LettersWordEnd(expression, g, at, end);
    case Form::kCases:
      return CasesWordEnd(expression, g, at, end);
  }
  return end;
}

}  // namespace longspan::text
