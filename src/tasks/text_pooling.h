// The vector of one text from those of its tokens, and the way back.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "longspan/tensor.h"
#include "tasks/pooling.h"

namespace longspan {

// The tokens that a prompt is by itself: special ones before it, then its own.
struct PromptTokens {
  idx_t before = 0;
  std::vector<std::int32_t> ids;
  bool none() const { return before == 0 && ids.empty(); }
};
PromptTokens TokensOfPrompt(const text::Tokenizer& tokenizer, const std::string& prompt);

// How each token of a row takes part.
struct RowTokens {
  std::vector<std::uint8_t> own;     // 1: not a neighbouring window's
  std::vector<std::uint8_t> prompt;  // 1: left out
};
// Of the windows of one text. A prompt that is left out is what the text and `prompt` begin with
// alike.
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
