// Small texts that the tests of trainings learn from, and a tokenizer of their words.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/rng.h"
#include "tests/support/word_tokenizer.h"
#include "train/labelled_text.h"

namespace longspan {

inline test::WordTokenizer Words() {
  return test::WordTokenizer({"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"});
}

// A text whose words follow each other by a rule: after a letter comes the next one. Every 50 words
// a document ends.
inline void WriteLetters(const std::filesystem::path& file) {
  std::ofstream text(file);
  for (int i = 0; i < 2000; ++i) {
    text << static_cast<char>('a' + i % 10) << (i % 50 == 49 ? "\n\n" : " ");
  }
}

// Texts of different lengths whose class is whether they hold an 'a', a 'b', or neither.
inline LabelledTexts Letters(std::uint64_t seed, int rows = 60) {
  LabelledTexts texts{"letters", {}, false, 0, "letters " + std::to_string(seed)};
  Rng rng(seed);
  for (int r = 0; r < rows; ++r) {
    const auto kind = static_cast<std::size_t>(rng.Below(3));
    LabelledText row;
    const idx_t words = 3 + rng.Below(18), at = rng.Below(words);
    for (idx_t w = 0; w < words; ++w) {
      const char other = static_cast<char>('c' + rng.Below(8));
      row.text += w == at && kind < 2 ? "ab"[kind] : other;
      row.text += ' ';
    }
    row.labels = {std::vector<std::string>{"has a", "has b", "neither"}[kind]};
    row.value = static_cast<double>(kind);
    row.line = r + 1;
    texts.rows.push_back(row);
  }
  return texts;
}

}  // namespace longspan
