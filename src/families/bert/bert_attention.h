// The self-attention of a BERT's layer with its projections: (N, C) -> (N, C), all heads side by
// side. Every token sees its whole text.
#pragma once

#include <functional>
#include <string>

#include "base/arena.h"
#include "families/bert/bert_config.h"
#include "longspan/attention.h"
#include "longspan/context.h"
#include "model/batch.h"
#include "model/joined_texts.h"
#include "model/linear.h"
#include "model/parameters.h"
#include "model/post_norm_call.h"
#include "model/split_projection.h"

namespace longspan {

struct BertTexts : JoinedTexts {
  BertTexts(const BertConfig& /*config*/, const BatchView& batch, bool /*backward*/,
            const RowGroup* /*group*/)
      : JoinedTexts(batch) {}
};

// The tensors of an attention layer for an observer. Valid until the observer returns.
struct BertAttentionTensors {
  TokenRoles roles;          // (B, T)
  Qkv qkv;                   // (B, H, T, D)
  View<const float, 3> lse;  // (B, H, T)
};
// Called only where products are of fp32.
using BertObserver = std::function<void(std::size_t layer, const BertAttentionTensors& tensors)>;

// The attention of a layer (model/post_norm_layer.h).
class BertAttention {
 public:
  using Config = BertConfig;
  using Texts = BertTexts;
  using Observer = BertObserver;
  using Call = PostNormCall<BertTexts, BertObserver>;

  // The tensors between the input and the output; the backward needs them all. Where ranks share
  // rows, H heads of size D are those of this rank, N all tokens, n its own, and groups of heads
  // lie one after another (HeadsInGroups); else H D is C and n is N.
  template <class T>
  struct Tensors {
    View<T, 2> qkv;       // (N, 3 H D)
    View<T, 2> attended;  // (N, H D)
    View<T, 2> out;       // (n, C); `attended` itself where it is the same
    View<float, 1> lse;   // (H N)
  };

  // Registers its parameters below `prefix` ("...layer.0.attention.self.").
  BertAttention(const BertConfig& config, std::size_t layer, const std::string& prefix,
                ParameterTable& parameters);

  template <class T>
  std::size_t Bytes(const Call& call) const;
  template <class T>
  Tensors<T> Take(Arena::Frame& frame, const Call& call) const;

  // t.out from x (N, C). A hidden token is no key, but its own row is computed.
  template <class T>
  void Forward(Context& context, const Call& call, const View<const T, 2>& x,
               const Tensors<T>& t) const;
  // dx (N, C) += gradient for d loss / d out = dout (N, C).
  template <class T>
  void Backward(Context& context, const Call& call, const View<const T, 2>& x, const Tensors<T>& t,
                const View<const T, 2>& dout, const View<float, 2>& dx) const;

  // Numbers of the matrices that all tokens pass and whose gradient is left out.
  idx_t FrozenNumbers(const ParameterTable& parameters) const {
    return qkv_.FrozenNumbers(parameters);
  }

 private:
  HeadsInGroups Groups(const Call& call) const {
    return {call.group, call.texts.n(), {1, heads_, head_size_}, call.texts.Pairs()};
  }
  // What one group of heads asks.
  FullSpec Spec(const Call& call, idx_t group) const;
  template <class T>
  View<T, 4> Heads(const Call& call, const View<T, 2>& joined, idx_t part, idx_t parts) const;
  template <class T>
  QkvOf<T> Inputs(const Call& call, const Tensors<T>& t, idx_t group) const;
  template <class T>
  AttentionSavedOf<T> Saved(const Call& call, const Tensors<T>& t, idx_t group) const;

  idx_t channels_, heads_, head_size_;
  double dropout_;
  Linear qkv_;
};

}  // namespace longspan
