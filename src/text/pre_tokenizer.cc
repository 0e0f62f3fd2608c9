#include "text/pre_tokenizer.h"

#include <utility>

#include "text/glyph_runs.h"

namespace longspan::text {
namespace {

using Range = Words::Range;
using Step = PreTokenizerStep::Kind;

// Collects the matches of a pattern in one word, and the text between them, in their order.
class Pieces {
 public:
  Pieces(const PreTokenizerStep& step, std::vector<Range>& out)
      : behavior_(step.behavior), invert_(step.invert), out_(out), first_(out.size()) {}

  // A piece that is not empty; it begins where the one before it ended.
  void Put(std::size_t begin, std::size_t end, bool match) {
    match = match != invert_;
    const bool previous = std::exchange(previous_, match);
    const bool any = out_.size() > first_;
    switch (behavior_) {
      case SplitBehavior::kIsolated:
        break;
      case SplitBehavior::kRemoved:
        if (match) return;
        break;
      case SplitBehavior::kContiguous:
        if (any && match == previous) return Extend(end);
        break;
      case SplitBehavior::kMergedWithPrevious:
        if (any && match && !previous) return Extend(end);
        break;
      case SplitBehavior::kMergedWithNext:
        if (any && !match && previous) return Extend(end);
        break;
    }
    out_.push_back({begin, end});
  }

 private:
  void Extend(std::size_t end) { out_.back().end = end; }

  SplitBehavior behavior_;
  bool invert_;
  std::vector<Range>& out_;
  std::size_t first_;      // pieces of other words
  bool previous_ = false;  // the piece before was a match
};

void Expression(const Glyphs& g, Range word, const PreTokenizerStep& step, Pieces pieces) {
  for (std::size_t at = word.begin; at < word.end;) {
    const std::size_t end = WordEnd(step.expression, g, at, word.end);
    pieces.Put(at, end, true);
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

void Punctuation(const Glyphs& g, Range word, Pieces pieces) {
  for (std::size_t at = word.begin; at < word.end;) {
    const bool match = Is(g[at], kPunctuation);
    const std::size_t end =
        match ? at + 1
              : RunEnd(g, at, word.end, [](const Glyph& x) { return !Is(x, kPunctuation); });
    pieces.Put(at, end, match);
    at = end;
  }
}

void Literal(const Glyphs& g, Range word, const LiteralSearch& literal, Pieces pieces) {
  for (std::size_t at = word.begin; at != word.end;) {
    const std::size_t found = literal.Find(g, at, word.end);
    if (found != at) pieces.Put(at, found, false);
    if (found == word.end) return;
    at = found + literal.size();
    pieces.Put(found, at, true);
  }
}

void Cut(const Glyphs& g, Range word, const PreTokenizerStep& step, std::vector<Range>& out) {
  switch (step.kind) {
    case Step::kPrefixSpace:
    case Step::kMetaspace:
      break;  // they change the text: see AddPrefixSpaces, Metaspace
    case Step::kSpaces:
      return Runs(
          g, word, [](const Glyph& x) { return Is(x, kSpace) ? 0 : 1; }, out);
    case Step::kWords:
      return Runs(
          g, word, [](const Glyph& x) { return Is(x, kSpace)  ? 0
                                               : Is(x, kWord) ? 1
                                                              : 2; }, out);
    case Step::kExpression:
      return Expression(g, word, step, Pieces(step, out));
    case Step::kEachPunctuation:
      return Punctuation(g, word, Pieces(step, out));
    case Step::kLiteral:
      return Literal(g, word, step.literal, Pieces(step, out));
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
