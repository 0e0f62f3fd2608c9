// Where words begin and end.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "text/growth.h"
#include "text/literal_search.h"
#include "text/unicode.h"
#include "text/word_expressions.h"

namespace longspan::text {

// What becomes of the matches of a pattern, and of the text between them: Hugging Face's names.
enum class SplitBehavior {
  kIsolated,            // each is a word
  kRemoved,             // matches go
  kContiguous,          // neighbouring matches are one word
  kMergedWithPrevious,  // a match ends the word before it, unless that is a match
  kMergedWithNext,      // a match begins the word behind it, unless that is a match
};

struct PreTokenizerStep {
  enum class Kind {
    kPrefixSpace,  // puts a space before a text that begins with none
    kSpaces,       // cuts at white space, which goes
    kWords,        // \w+|[^\w\s]+, nothing else stays
    kMetaspace,    // spaces become `mark`, one is put before the text, each begins a word
    // Patterns, with `behavior` and `invert`:
    kExpression,       // `expression`
    kEachPunctuation,  // a punctuation character
    kLiteral,          // an occurrence of `literal`
  };
  enum class Prepend { kNever, kFirst, kAlways };
  Kind kind;
  LiteralSearch literal = {};
  WordExpression expression = {};
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // what is between the matches counts as them
  // Of kMetaspace. kFirst: only before what begins the text, not behind an added token.
  char32_t mark = 0;
  Prepend prepend = Prepend::kAlways;
  bool split = true;
};

// A text and the words [begin, end) in it, none empty.
struct Words {
  struct Range {
    std::size_t begin, end;
  };
  Glyphs glyphs;
  std::vector<Range> ranges;
};

class PreTokenizer {
 public:
  void Add(PreTokenizerStep::Kind kind) { steps_.push_back({.kind = kind}); }
  void Add(PreTokenizerStep step) { steps_.push_back(std::move(step)); }
  std::size_t size() const { return steps_.size(); }
  // The words of a piece of text: all of it when there are no steps. `prepend`: whether spaces are
  // put before it; not for a text that goes on from another one. kLimit when a step makes more of
  // it than `growth` has room for.
  Words Apply(Glyphs glyphs, const Growth& growth, bool prepend = true) const;

 private:
  std::vector<PreTokenizerStep> steps_;
};

}  // namespace longspan::text
