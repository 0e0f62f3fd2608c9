// Small texts that the tests of trainings learn from, and a tokenizer of their words.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/rng.h"
#include "families/longformer/longformer.h"
#include "families/longformer/longformer_files.h"
#include "tests/support/files.h"
#include "tests/support/word_tokenizer.h"
#include "train/labelled_text.h"

namespace longspan {

inline test::WordTokenizer Words() {
  return test::WordTokenizer({"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"});
}

// A small Longformer of words that are letters, from 'a' on, without a task's head.
inline LongformerConfig LetterLongformer(idx_t letters) {
  LongformerConfig c;
  c.head = HeadKind::kMaskedLm;
  c.attention_window = {4, 8};
  c.vocab_size = 5 + letters;
  c.hidden_size = 16;
  c.heads = 2;
  c.feed_forward_size = 32;
  c.max_positions = 33;
  c.token_types = 2;
  c.pad_token = 0;
  c.layer_norm_eps = 1e-5;
  c.initializer_range = 0.2;
  return c;
}

// The vocabulary of such a model: BERT's special tokens, then the letters.
inline std::string LetterVocabulary(idx_t letters) {
  std::string words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  for (idx_t i = 0; i < letters; ++i) {
    words += static_cast<char>('a' + i);
    words += '\n';
  }
  return words;
}

// Its folder, with random weights and the vocabulary.
inline void SaveLetterLongformer(const LongformerConfig& config,
                                 const std::filesystem::path& folder) {
  Longformer model(config);
  model.Initialise(1);
  SaveLongformer(model, folder);
  test::PutFile(folder / "vocab.txt", LetterVocabulary(config.vocab_size - 5));
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
