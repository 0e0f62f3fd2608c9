// Compares cached generation with the forward pass over the whole text. Local layers give the same
// values. LSH layers see other neighbours.
#pragma once

#include <cstdint>
#include <span>

#include "families/reformer/reformer.h"

namespace longspan {

struct DecodeAgreement {
  idx_t tokens = 0;          // compared: those that were decoded one by one
  double full_loss = 0.0;    // sum of nats of the next tokens, by the full forward pass
  double cached_loss = 0.0;  // and by cached decoding
  idx_t full_correct = 0, cached_correct = 0;  // next tokens that are the likeliest
  idx_t same_first = 0;                        // tokens whose likeliest successor is the same
  double sum_difference = 0.0;                 // of |logit - logit|, over tokens and vocabulary
  double most_difference = 0.0;
  idx_t vocabulary = 0;

  void Add(const DecodeAgreement& other);
  double mean_difference() const {
    return sum_difference / static_cast<double>(tokens * vocabulary);
  }
};

// Decodes ids (T) from `prompt` tokens on, the text's own tokens one by one, and compares the
// logits at positions prompt .. T-2 with those of one forward pass over all T. kUsage unless 1 <=
// prompt <= T - 2 and the model has T positions.
DecodeAgreement CompareDecoding(Context& context, Reformer& model,
                                std::span<const std::int32_t> ids, idx_t prompt);

}  // namespace longspan
