#include "text/pre_tokenizer.h"

#include <algorithm>

namespace longspan::text {
namespace {

using Range = Words::Range;
using Step = PreTokenizerStep::Kind;

bool Is(const Glyph& g, std::uint8_t kinds) { return (Kind(g.c) & kinds) != 0; }

// The end of the run of glyphs from `at` that all satisfy holds(glyph).
template <class Holds>
std::size_t RunEnd(const Glyphs& g, std::size_t at, std::size_t end, const Holds& holds) {
  while (at < end && holds(g[at])) ++at;
  return at;
}

// How many glyphs the English contraction at `at` has: 's 't 're 've 'm 'll 'd; 0: none.
std::size_t Contraction(const Glyphs& g, std::size_t at, std::size_t end) {
  if (g[at].c != '\'' || at + 1 == end) return 0;
  const char32_t first = g[at + 1].c;
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  if (at + 2 == end) return 0;
  const char32_t second = g[at + 2].c;
  return ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l') ? 3
                                                                                              : 0;
}

// GPT-2's 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ : the end of
// the match at `at`.
std::size_t Gpt2WordEnd(const Glyphs& g, std::size_t at, std::size_t end) {
  if (const std::size_t length = Contraction(g, at, end)) return at + length;
  const std::size_t core = g[at].c == ' ' && at + 1 < end ? at + 1 : at;
  constexpr std::uint8_t kClasses = kLetter | kNumber | kSpace;
  const auto kind = static_cast<std::uint8_t>(Kind(g[core].c) & kClasses);
  if (kind != kSpace) {
    return RunEnd(g, core, end, [&](const Glyph& x) { return (Kind(x.c) & kClasses) == kind; });
  }
  // White space: what is followed by text leaves its last character to it.
  const std::size_t run = RunEnd(g, at, end, [](const Glyph& x) { return Is(x, kSpace); });
  return run == end || run == at + 1 ? run : run - 1;
}

void Gpt2(const Glyphs& g, Range word, std::vector<Range>& out) {
  for (std::size_t at = word.begin; at < word.end;) {
    const std::size_t end = Gpt2WordEnd(g, at, word.end);
    out.push_back({at, end});
    at = end;
  }
}

// Runs of glyphs of the same class; class 0 goes.
template <class Class>
void Runs(const Glyphs& g, Range word, const Class& class_of, std::vector<Range>& out) {
  for (std::size_t at = word.begin; at < word.end;) {
    const int first = class_of(g[at]);
    const std::size_t end =
        RunEnd(g, at, word.end, [&](const Glyph& x) { return class_of(x) == first; });
    if (first != 0) out.push_back({at, end});
    at = end;
  }
}

void Punctuation(const Glyphs& g, Range word, std::vector<Range>& out) {
  for (std::size_t at = word.begin; at < word.end;) {
    const std::size_t end =
        Is(g[at], kPunctuation)
            ? at + 1
            : RunEnd(g, at, word.end, [](const Glyph& x) { return !Is(x, kPunctuation); });
    out.push_back({at, end});
    at = end;
  }
}

void Literal(const Glyphs& g, Range word, const LiteralSearch& literal, bool keep,
             std::vector<Range>& out) {
  for (std::size_t at = word.begin; at != word.end;) {
    const std::size_t found = literal.Find(g, at, word.end);
    if (found != at) out.push_back({at, found});
    if (found == word.end) return;
    at = found + literal.size();
    if (keep) out.push_back({found, at});
  }
}

void Cut(const Glyphs& g, Range word, const PreTokenizerStep& step, std::vector<Range>& out) {
  switch (step.kind) {
    case Step::kPrefixSpace:
    case Step::kMetaspace:
      break;  // they change the text: see AddPrefixSpaces, Metaspace
    case Step::kGpt2:
      return Gpt2(g, word, out);
    case Step::kSpaces:
      return Runs(
          g, word, [](const Glyph& x) { return Is(x, kSpace) ? 0 : 1; }, out);
    case Step::kWords:
      return Runs(
          g, word, [](const Glyph& x) { return Is(x, kSpace)  ? 0
                                               : Is(x, kWord) ? 1
                                                              : 2; }, out);
    case Step::kEachPunctuation:
      return Punctuation(g, word, out);
    case Step::kLiteral:
    case Step::kDropLiteral:
      return Literal(g, word, step.literal, step.kind == Step::kLiteral, out);
  }
}

// The new space stands for the same place as the character behind it.
void AddPrefixSpaces(Words& words) {
  Words result;
  result.glyphs.reserve(words.glyphs.size() + words.ranges.size());
  for (const Range& word : words.ranges) {
    const std::size_t begin = result.glyphs.size();
    const Glyph& first = words.glyphs[word.begin];
    if (first.c != ' ') result.glyphs.push_back({' ', first.begin, first.end});
    result.glyphs.insert(result.glyphs.end(),
                         words.glyphs.begin() + static_cast<std::ptrdiff_t>(word.begin),
                         words.glyphs.begin() + static_cast<std::ptrdiff_t>(word.end));
    result.ranges.push_back({begin, result.glyphs.size()});
  }
  words = std::move(result);
}

void Metaspace(const PreTokenizerStep& step, bool prepend, Words& words) {
  Words result;
  result.glyphs.reserve(words.glyphs.size() + words.ranges.size());
  for (const Range& word : words.ranges) {
    const std::size_t begin = result.glyphs.size();
    const Glyph& first = words.glyphs[word.begin];
    const bool wanted = step.prepend == PreTokenizerStep::Prepend::kAlways ||
                        (step.prepend == PreTokenizerStep::Prepend::kFirst && first.begin == 0);
    if (prepend && wanted && first.c != ' ' && first.c != step.mark) {
      result.glyphs.push_back({step.mark, first.begin, first.end});
    }
    for (std::size_t i = word.begin; i < word.end; ++i) {
      result.glyphs.push_back(words.glyphs[i]);
      if (result.glyphs.back().c == ' ') result.glyphs.back().c = step.mark;
    }
    // Each mark begins a word.
    std::size_t from = begin;
    for (std::size_t i = begin + 1; step.split && i < result.glyphs.size(); ++i) {
      if (result.glyphs[i].c != step.mark) continue;
      result.ranges.push_back({from, i});
      from = i;
    }
    result.ranges.push_back({from, result.glyphs.size()});
  }
  words = std::move(result);
}

}  // namespace

// A step adds at most a character to each word, so that what it makes is measured behind it. Words
// multiply all the same: marks that are punctuation become words of their own.
Words PreTokenizer::Apply(Glyphs glyphs, const Growth& growth, bool prepend) const {
  Words words{std::move(glyphs), {}};
  if (words.glyphs.empty()) return words;
  words.ranges.push_back({0, words.glyphs.size()});
  std::vector<Range> cut;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    const PreTokenizerStep& step = steps_[i];
    if (step.kind == Step::kPrefixSpace) {
      if (prepend) AddPrefixSpaces(words);
      growth.Hold(words.glyphs.size(), "pre_tokenizer", i, "ByteLevel");
      continue;
    }
    if (step.kind == Step::kMetaspace) {
      Metaspace(step, prepend, words);
      growth.Hold(words.glyphs.size(), "pre_tokenizer", i, "Metaspace");
      continue;
    }
    cut.clear();
    for (const Range& word : words.ranges) Cut(words.glyphs, word, step, cut);
    words.ranges.swap(cut);
  }
  return words;
}

}  // namespace longspan::text
