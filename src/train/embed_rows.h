// From pairs of texts to rows of tokens.
#pragma once

#include <string>
#include <vector>

#include "model/text_model_info.h"
#include "train/pair_rows.h"
#include "train/vector_losses.h"
#include "train/vector_pass.h"

namespace longspan {

// How texts become rows of tokens.
struct VectorTextRules {
  idx_t tokens = 512;                                 // the longest row
  text::Overflow overflow = text::Overflow::kWindow;  // of longer texts
  std::string anchor_prompt, text_prompt;             // before anchors; before all other texts
  bool lower_case = false;                            // texts and prompts
  bool pools_prompt = true;                           // false: a prompt's tokens take no part
};

// A row of data: numbers of texts.
struct EmbedRow {
  idx_t anchor = 0, positive = 0;
  std::vector<idx_t> negatives;
};

struct EmbedRows {
  explicit EmbedRows(const data::ScratchPlace& place = {}) : texts(place) {}

  VectorTexts texts;            // each once, whatever number of rows has it
  std::vector<idx_t> contents;  // of each text: equal numbers are equal texts, without prompts
  std::vector<EmbedRow> rows;
  std::vector<double> scores;  // of scored pairs; else empty
  std::vector<std::string> where;
  bool scored = false;
  idx_t cut = 0, in_windows = 0;  // texts
  std::string fingerprint;

  idx_t size() const { return static_cast<idx_t>(rows.size()); }
  idx_t tokens() const { return texts.rows.tokens(); }  // of all texts
  idx_t negatives() const;                              // of all rows
};

// kLimit for a text that is too long and may not be (kError), with the number of such texts;
// kFormat for a text without a token.
EmbedRows TokenizePairs(Context& context, const text::Tokenizer& tokenizer, const PairTexts& pairs,
                        const TextModelInfo& info, const VectorTextRules& rules);

// Rows `chosen` as a loss takes them, and the numbers of their texts, one for each vector.
VectorRows VectorRowsOf(const EmbedRows& data, std::span<const idx_t> chosen,
                        std::vector<idx_t>* numbers);

}  // namespace longspan
