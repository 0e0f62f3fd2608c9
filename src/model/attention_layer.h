// What all attention layers have in common, and the mechanisms that differ.
#pragma once

#include <memory>
#include <string>

#include "longspan/attention.h"
#include "model/parameters.h"
#include "model/reformer_config.h"
#include "model/residual_branch.h"
#include "ops/layer_norm/layer_norm.h"

namespace longspan {

// A layer's weights as views, shared by training and decoding.
struct AttentionWeights {
  LayerNormWeights norm;
  View<const float, 2> projections;  // (P A, C): query, key, value; or query-key, value
  View<const float, 2> output;       // (C, A)
};
AttentionWeights AttentionLayerWeights(const ReformerConfig& config, LayerKind kind,
                                       const std::string& prefix, ParameterTable& parameters);

// What lies between the projections of one call: projected (N, P A), out (N, A), and two numbers
// for each row of the softmax (B, H, T), of which separate queries and keys use the first.
struct AttentionTensors {
  idx_t rows = 0, tokens = 0, heads = 0, head_size = 0;
  View<float, 2> projected, out;
  View<float, 3> first, second;

  // Part `part` of a (N, P A) matrix as heads: (B, H, T, D).
  template <class T>
  View<T, 4> Part(const View<T, 2>& joined, idx_t part) const {
    const idx_t stride = joined.extent[1];
    return {joined.data + part * heads * head_size,
            {rows, heads, tokens, head_size},
            {tokens * stride, head_size, stride, 1}};
  }
  View<const float, 4> Input(idx_t part) const {
    return Part(View<const float, 2>(projected), part);
  }
};

// Who sees whom: from projected to out, and back.
class AttentionMechanism {
 public:
  virtual ~AttentionMechanism() = default;

  // `again`: the recomputation on the way back, with what the first pass kept in call.buckets.
  virtual void Forward(Context& context, const BranchCall& call, const Dropout& dropout, bool again,
                       const AttentionTensors& tensors) const = 0;
  // dprojected (N, P A) += gradients for d loss / d out = dout (N, A).
  virtual void Backward(Context& context, const BranchCall& call, const Dropout& dropout,
                        const AttentionTensors& tensors, const View<const float, 2>& dout,
                        const View<float, 2>& dprojected) const = 0;
  // (query, key) pairs of one head in one row of T tokens that count as useful work: windows of
  // chunks whole, the causal half of full attention.
  virtual double Pairs(idx_t tokens) const = 0;
};

// Full attention, with separate or shared queries and keys: its spec and its pairs.
FullSpec FullAttentionSpec(bool causal, const Dropout& dropout);
double FullPairs(idx_t tokens, bool causal);

// Separate queries and keys: chunks of text, or full attention.
std::unique_ptr<AttentionMechanism> MakeSeparateMechanism(const ReformerConfig& config);
// Shared queries and keys: hashed, chunks of text, or full attention.
std::unique_ptr<AttentionMechanism> MakeSharedMechanism(const ReformerConfig& config);

// What the config says of its local layers, and of its LSH layers on texts of `tokens` tokens, with
// `num_hashes` rounds instead of its own unless that is 0.
// With config.attention local, LSH layers have one round and one bucket: the stable sort keeps the
// text's order.
ChunkedSpec LocalSpec(const ReformerConfig& config);
LshSpec SharedSpec(const ReformerConfig& config, idx_t tokens, idx_t num_hashes = 0);

// Rotations (H, D, R, columns) of an LSH layer: those of config.hash_seed as `transformers` draws
// them, or drawn from the key.
void DrawRotations(const ReformerConfig& config, std::uint64_t key,
                   const View<float, 4>& rotations);

}  // namespace longspan
