// Attention mechanisms on (B, H, T, D) views: batch, heads, tokens, head size.
// Any strides with the last one 1: heads may lie side by side in a row of (T, H*D).
#pragma once

#include "longspan/context.h"
#include "longspan/tensor.h"

namespace longspan {

struct Qkv {
  View<const float, 4> q, k, v;  // (B, H, T, D)
};

// Gradients accumulate (+=): the caller zeroes them.
struct DQkv {
  View<float, 4> dq, dk, dv;  // (B, H, T, D)
};

// What the forward leaves for the backward.
struct AttentionSaved {
  View<float, 4> out;  // (B, H, T, D)
  View<float, 3> lse;  // (B, H, T): logsumexp of the scaled scores of the visible keys
};

// Which keys exist: (B, T), 0 = hidden (padding). An empty view shows every key.
using KeyMask = View<const std::uint8_t, 2>;

// Random zeroing of attention probabilities, replayed in the backward pass from the same key.
struct ProbabilityDropout {
  float p = 0.0f;
  std::uint64_t key = 0;
};

// Chunked local attention: Reformer's "local" layers (Kitaev et al. 2020, section 2; Hugging
// Face's LocalSelfAttention). Tokens are cut into chunks of `chunk`; a query sees the keys of its
// own chunk, of `before` chunks before it and of `after` chunks after it. Chunks wrap around: the
// first one's predecessor is the last. T <= chunk is plain attention over all keys.
struct ChunkedSpec {
  idx_t chunk = 64;
  idx_t before = 1;
  idx_t after = 0;
  bool causal = false;  // a query sees no key behind its own position
  float scale = 0.0f;   // of the scores; 0 means 1 / sqrt(D)
  ProbabilityDropout dropout;
};

// saved.out = softmax(scale * q k^T, over the visible keys of the window) v.
// A key that enters a window twice (few chunks, wide look-back) counts twice. A query without any
// visible key weighs all keys of its window equally, hidden ones too, as the original does; such
// weights carry no gradient to q and k.
// T is any length. Throws kUsage on shapes that differ and on fields out of range.
void ChunkedForward(Context& context, const ChunkedSpec& spec, const Qkv& qkv, const KeyMask& mask,
                    const AttentionSaved& saved);

// Gradients of ChunkedForward for d loss / d out = dout (B, H, T, D); recomputes the weights.
void ChunkedBackward(Context& context, const ChunkedSpec& spec, const Qkv& qkv, const KeyMask& mask,
                     const AttentionSaved& saved, const View<const float, 4>& dout,
                     const DQkv& gradients);

}  // namespace longspan
