// What is done to a text before it is cut into words: accents, case, what BERT cleans away.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/characters_map.h"
#include "text/growth.h"
#include "text/literal_search.h"
#include "text/unicode.h"

namespace longspan::text {

enum class NormalizerStep {
  kDecompose,            // NFD
  kDecomposeCompatible,  // NFKD
  kCompose,              // NFC
  kComposeCompatible,    // NFKC
  kLowerCase,            // character by character
  kStripAccents,         // every mark
  kStripBertAccents,     // BERT's marks; expects decomposed text
  kClean,                // BERT: drops control characters and U+FFFD, makes white space spaces
  kSpaceCjk,             // BERT: spaces around Chinese characters
  kReplace,              // each occurrence of a text by another
  kReplaceRuns,          // each run of two or more of a character by a text
  kPrepend,              // a text before what is not empty
  kStrip,                // no white space at the ends
  kMap,                  // SentencePiece's map of characters
};

// One step with what it needs.
struct NormalizerAction {
  NormalizerStep step = NormalizerStep::kClean;
  LiteralSearch from = {};                             // of kReplace
  std::u32string to = {};                              // of kReplace, kReplaceRuns, kPrepend
  char32_t run = 0;                                    // of kReplaceRuns
  bool left = false, right = false;                    // of kStrip
  std::shared_ptr<const CharactersMap> map = nullptr;  // of kMap
};

// Steps in the order in which they are done. Each character keeps the place in the original text
// of what it was made from.
class Normalizer {
 public:
  void Add(NormalizerStep step) { steps_.push_back({.step = step}); }
  void Add(NormalizerAction action) { steps_.push_back(std::move(action)); }
  void Add(const Normalizer& other) {
    steps_.insert(steps_.end(), other.steps_.begin(), other.steps_.end());
  }
  // `prepend`: whether kPrepend is done; not for a text that goes on from another one. kLimit when
  // a step makes more of the glyphs than `growth` has room for.
  void Apply(Glyphs& glyphs, const Growth& growth, bool prepend = true) const;
  std::size_t size() const { return steps_.size(); }
  bool empty() const { return steps_.empty(); }

 private:
  static void Do(const NormalizerAction& action, std::size_t most, bool prepend, Glyphs& glyphs);
  std::vector<NormalizerAction> steps_;
};

// BertNormalizer's switches; `strip_accents` null means the same as lower_case.
Normalizer BertNormalizer(bool clean_text, bool space_cjk, bool strip_accents, bool lower_case);

}  // namespace longspan::text
