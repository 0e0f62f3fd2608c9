// Continuing a text: a decoder that keeps keys and values, and the choice of the next token.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/rng.h"
#include "model/reformer.h"

namespace longspan {

// Runs a language model token by token. Per layer the keys and values of the text so far are kept,
// so a token costs one pass through the weights, however long the text is.
// Equal to the full forward pass over the final text (local layers are causal) up to rounding, as
// long as that text has more chunks than the layers look back on: in a shorter one the original
// counts chunks twice.
class ReformerDecoder {
 public:
  // Room for `capacity` tokens, at most model.config().longest(). The model must outlive it.
  ReformerDecoder(Reformer& model, idx_t capacity);

  // Appends tokens; the first call may bring many at once, which then run as one batch.
  // Throws kUsage when the capacity is exceeded.
  void Feed(Context& context, std::span<const std::int32_t> ids);

  // Of the last token fed: (V).
  std::span<const float> logits() const { return {logits_.data<float>(), vocabulary_}; }
  idx_t position() const { return position_; }  // tokens fed
  idx_t capacity() const { return capacity_; }
  void Reset() { position_ = 0; }

 private:
  void FeedBlock(Context& context, std::span<const std::int32_t> ids);
  void AttentionLayer(Context& context, std::size_t layer, const View<const float, 2>& x2,
                      const View<float, 2>& y1);

  Reformer& model_;
  idx_t capacity_, position_ = 0;
  std::size_t vocabulary_;
  std::vector<Tensor> caches_;  // per layer (capacity, 2A): key ++ value
  Tensor logits_;
};

struct SamplingOptions {
  double temperature = 0.8;  // 0: always the most likely token
  idx_t top_k = 0;           // only the k most likely; 0: all
  double top_p = 1.0;        // only the most likely that together reach p
  std::uint64_t seed = 1;
};

// Throws kUsage naming the option that is out of range.
void CheckSampling(const SamplingOptions& options);

// Draws a token from logits (V). Tokens with an equal logit rank by id, the lower first.
// Throws kUsage on options out of range, kNumeric when a logit is not finite.
std::int32_t SampleToken(std::span<const float> logits, const SamplingOptions& options, Rng& rng);

struct GenerateOptions {
  SamplingOptions sampling;
  idx_t tokens = 200;                // to write
  idx_t context = 0;                 // most tokens the model looks back on; 0: all positions it has
  std::vector<std::int32_t> banned;  // never drawn
};

// Writes on_token(id) for each new token; stops early when it returns false or at `eos`.
// A text that outgrows the context goes on from its last half. Returns the tokens written.
idx_t Generate(Context& context, Reformer& model, std::span<const std::int32_t> prompt,
               const GenerateOptions& options, const std::function<bool(std::int32_t)>& on_token);

}  // namespace longspan
