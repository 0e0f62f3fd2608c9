// The vector of one text from those of its tokens, and the way back.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "longspan/tensor.h"
#include "tasks/pooling.h"

namespace longspan {

// How many places at the beginning of a row a prompt takes: those of the row that it is by itself,
// without a special token at that row's end.
struct PromptTokens {
  idx_t places = 0;
  idx_t special = 0;  // of them before the prompt's own tokens
  bool none() const { return places == 0; }
};
PromptTokens TokensOfPrompt(const text::Tokenizer& tokenizer, const std::string& prompt);

// How each token of a row takes part.
struct RowTokens {
  std::vector<std::uint8_t> own;     // 1: not a neighbouring window's
  std::vector<std::uint8_t> prompt;  // 1: left out
};
// Of the windows of one text. As in sentence-transformers, a prompt that is left out takes its
// places whatever tokens stand there: one that holds its end and the text's beginning, and the end
// of a row that is no longer. In several windows it takes that many tokens of the text and the
// special tokens at the beginning of each.
std::vector<RowTokens> TokensOfWindows(std::span<const text::Encoding> windows,
                                       const PromptTokens& prompt);

// Writes the vector of a text (channels) into `out`, from the hidden states (tokens, channels) of
// its windows. A text of which nothing is left to pool is the zero vector. Sums are in double.
// `largest`, if not null, receives for kMax which token, counted over all windows, each channel
// comes from (channels); empty if there is none.
void PoolText(PoolingMode mode, std::span<const RowTokens> windows,
              std::span<const View<const float, 2>> hidden, float* out,
              std::vector<std::int32_t>* largest = nullptr);

// The gradient for the hidden states of window `window`: dhidden (tokens, channels) += what
// dvector (channels), that of the vector, makes of it. `largest`: as PoolText gave it.
void PoolTextBackward(PoolingMode mode, std::span<const RowTokens> windows, std::size_t window,
                      std::span<const std::int32_t> largest, const float* dvector,
                      const View<float, 2>& dhidden);

}  // namespace longspan
