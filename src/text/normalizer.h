// What is done to a text before it is cut into words: accents, case, what BERT cleans away.
#pragma once

#include <vector>

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
};

// Steps in the order in which they are done. Each character keeps the place in the original text
// of what it was made from.
class Normalizer {
 public:
  void Add(NormalizerStep step) { steps_.push_back(step); }
  void Add(const Normalizer& other) {
    steps_.insert(steps_.end(), other.steps_.begin(), other.steps_.end());
  }
  void Apply(Glyphs& glyphs) const;
  std::size_t size() const { return steps_.size(); }
  bool empty() const { return steps_.empty(); }

 private:
  std::vector<NormalizerStep> steps_;
};

// BertNormalizer's switches; `strip_accents` null means the same as lower_case.
Normalizer BertNormalizer(bool clean_text, bool space_cjk, bool strip_accents, bool lower_case);

}  // namespace longspan::text
