// The common part of all attention layers, and the interface of their mechanisms.
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
                                       const std::string& prefix, const ParameterTable& parameters);

// The tensors between the projections of one call, for heads [first_head, first_head + H):
// projected (N, P H D), out (N, H D), first and second (B, H, T). `first` is lse or, for shared
// queries and keys, the maximum; then `second` is the sum. In the backward `out` holds dout, and
// delta (B, H, T) holds dout . out.
template <class T>
struct AttentionTensorsOf {
  idx_t rows = 0, tokens = 0, heads = 0, head_size = 0;
  idx_t first_head = 0, layer_heads = 0;
  View<T, 2> projected, out;
  View<float, 3> first, second, delta;

  idx_t n() const { return rows * tokens; }
  idx_t width() const { return heads * head_size; }

  // Part `part` of a (N, P H D) matrix as heads: (B, H, T, D).
  template <class E>
  View<E, 4> Part(const View<E, 2>& joined, idx_t part) const {
    const idx_t stride = joined.extent[1];
    return {joined.data + part * heads * head_size,
            {rows, heads, tokens, head_size},
            {tokens * stride, head_size, stride, 1}};
  }
  View<const T, 4> Input(idx_t part) const { return Part(View<const T, 2>(projected), part); }
  // Probability dropout of a site, numbered as if all heads of the layer were there.
  ProbabilityDropout DropoutOf(const Dropout& site) const {
    return {site.p, site.key, first_head, layer_heads};
  }
};
using Bf16AttentionTensors = AttentionTensorsOf<bfloat16>;

// An attention mechanism: computes out from projected, and the gradients, for some heads.
class AttentionMechanism {
 public:
  virtual ~AttentionMechanism() = default;

  // `again`: recompute in the backward pass, with the buckets saved in call.buckets.
  virtual void Forward(Context& context, const BranchCall& call, const Dropout& dropout, bool again,
                       const AttentionTensors& tensors) const = 0;
  virtual void Forward(Context& context, const BranchCall& call, const Dropout& dropout, bool again,
                       const Bf16AttentionTensors& tensors) const = 0;
  // dprojected (N, P H D) += gradients for d loss / d out = tensors.out (N, H D).
  virtual void Backward(Context& context, const BranchCall& call, const Dropout& dropout,
                        const AttentionTensors& tensors,
                        const View<float, 2>& dprojected) const = 0;
  virtual void Backward(Context& context, const BranchCall& call, const Dropout& dropout,
                        const Bf16AttentionTensors& tensors,
                        const View<float, 2>& dprojected) const = 0;
  // Number of (query, key) pairs that count as useful work, for one head in a row of T tokens:
  // whole windows of chunks, the causal half of full attention.
  virtual double Pairs(idx_t tokens) const = 0;
};

// A mechanism whose functions for both types are one template: M::Run(context, call, dropout,
// again, tensors) and M::RunBack(context, call, dropout, tensors, dprojected).
template <class M>
class MechanismOf : public AttentionMechanism {
 public:
  void Forward(Context& context, const BranchCall& call, const Dropout& dropout, bool again,
               const AttentionTensors& tensors) const final {
    self().Run(context, call, dropout, again, tensors);
  }
  void Forward(Context& context, const BranchCall& call, const Dropout& dropout, bool again,
               const Bf16AttentionTensors& tensors) const final {
    self().Run(context, call, dropout, again, tensors);
  }
  void Backward(Context& context, const BranchCall& call, const Dropout& dropout,
                const AttentionTensors& tensors, const View<float, 2>& dprojected) const final {
    self().RunBack(context, call, dropout, tensors, dprojected);
  }
  void Backward(Context& context, const BranchCall& call, const Dropout& dropout,
                const Bf16AttentionTensors& tensors, const View<float, 2>& dprojected) const final {
    self().RunBack(context, call, dropout, tensors, dprojected);
  }

 private:
  const M& self() const { return static_cast<const M&>(*this); }
};

// Full attention, with separate or shared queries and keys: its pairs.
double FullPairs(idx_t tokens, bool causal);

// Separate queries and keys: chunks of text, or full attention.
std::unique_ptr<AttentionMechanism> MakeSeparateMechanism(const ReformerConfig& config);
// Shared queries and keys: hashed, chunks of text, or full attention.
std::unique_ptr<AttentionMechanism> MakeSharedMechanism(const ReformerConfig& config);

// The specs of the config's local layers, and of its LSH layers on texts of `tokens`
// tokens. `num_hashes`, unless 0, replaces the config's rounds. With config.attention
// local, LSH layers have one round and one bucket, so the stable sort keeps the text's
// order.
ChunkedSpec LocalSpec(const ReformerConfig& config);
LshSpec SharedSpec(const ReformerConfig& config, idx_t tokens, idx_t num_hashes = 0);

// Rotations (H, D, R, columns) of an LSH layer: those of config.hash_seed as `transformers` draws
// them, or drawn from the key.
void DrawRotations(const ReformerConfig& config, std::uint64_t key,
                   const View<float, 4>& rotations);

}  // namespace longspan
