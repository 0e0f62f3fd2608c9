// Chunked attention of a slab of a longer row: the queries of some of its chunks. The keys that
// these see beyond the slab, its halo, come from whoever has them. Halves of a row on two machines
// give what the whole row gives on one, up to the order of sums.
#pragma once

#include "longspan/attention.h"

namespace longspan {

// Chunks [first, last) of a row of `tokens` tokens, which has more than one chunk and at least as
// many as a window (else kUsage: such a row's windows hold all of it).
//
// q, out, dq, dout (B, H, M, D), lse and delta (B, H, M) have the slab's M tokens. k, v, dk, dv (B,
// H, M', D) and the mask (B, M') have the chunks first - before, ..., last + after - 1 in this
// order, each in a room of `chunk` tokens: M' = (before + last - first + after) chunk. Around the
// circle, the row's first chunk follows its last one. If that is short, its room's other tokens may
// hold anything, and its copy in a halo is short too.
//
// Positions, dropout and causality are those of the row. Nothing of a halo chunk is read that no
// query sees; its gradients, which accumulate as all, belong to its owner.
struct ChunkedSlab {
  idx_t tokens = 0;
  idx_t first = 0, last = 0;

  // M, and M'.
  idx_t Queries(const ChunkedSpec& spec) const;
  idx_t Keys(const ChunkedSpec& spec) const {
    return (spec.before + last - first + spec.after) * spec.chunk;
  }
};

void ChunkedForward(Context& context, const ChunkedSpec& spec, const ChunkedSlab& slab,
                    const Qkv& qkv, const KeyMask& mask, const AttentionSaved& saved);
void ChunkedForward(Context& context, const ChunkedSpec& spec, const ChunkedSlab& slab,
                    const Bf16Qkv& qkv, const KeyMask& mask, const Bf16AttentionSaved& saved);

void ChunkedBackward(Context& context, const ChunkedSpec& spec, const ChunkedSlab& slab,
                     const Qkv& qkv, const KeyMask& mask, const AttentionSaved& saved,
                     const View<const float, 4>& dout, const DQkv& gradients);
void ChunkedBackward(Context& context, const ChunkedSpec& spec, const ChunkedSlab& slab,
                     const Bf16Qkv& qkv, const KeyMask& mask, const Bf16AttentionSaved& saved,
                     const View<const bfloat16, 4>& dout, const DQkv& gradients);

}  // namespace longspan
