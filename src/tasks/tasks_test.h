// What the tests of the tasks share: a tokenizer of few words, and texts of them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "longspan/types.h"
#include "tests/support/word_tokenizer.h"

namespace longspan {

using WordFamily = test::WordTokenizer::Family;

// w0 to w54, with the special tokens of a family.
inline std::unique_ptr<text::Tokenizer> MakeWords(WordFamily family) {
  std::vector<std::string> words;
  for (int i = 0; i < 55; ++i) words.push_back("w" + std::to_string(i));
  return std::make_unique<test::WordTokenizer>(words, family);
}

// n words, different for every seed.
inline std::string Text(idx_t n, idx_t seed) {
  std::string text;
  for (idx_t i = 0; i < n; ++i) {
    text += (i == 0 ? "w" : " w") + std::to_string((seed * 17 + i * i * 5 + i) % 50);
  }
  return text;
}

}  // namespace longspan
