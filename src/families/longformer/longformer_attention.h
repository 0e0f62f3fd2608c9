// Longformer's self-attention with its projections: (N, C) -> (N, C), all heads side by side.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/arena.h"
#include "families/longformer/longformer_config.h"
#include "families/longformer/longformer_texts.h"
#include "longspan/attention.h"
#include "longspan/context.h"
#include "model/batch.h"
#include "model/linear.h"
#include "model/parameters.h"
#include "model/post_norm_call.h"
#include "model/split_projection.h"
#include "model/window_halo.h"

namespace longspan {

// The tensors of an attention layer for an observer. Valid until the observer returns.
struct LongformerAttentionTensors {
  idx_t rows = 0, tokens = 0, heads = 0, head_size = 0;  // B, T, H, D
  WindowSpec spec;
  TokenRoles roles;
  Qkv qkv;
  GlobalQkv global;          // empty without global tokens
  View<const float, 3> lse;  // (B, H, T)
  const GlobalTokens* globals = nullptr;
};
using LongformerObserver =
    std::function<void(std::size_t layer, const LongformerAttentionTensors& tensors)>;

using LongformerCall = PostNormCall<LongformerTexts, LongformerObserver>;

// The attention of a layer (model/post_norm_layer.h).
class LongformerAttention {
 public:
  using Config = LongformerConfig;
  using Texts = LongformerTexts;
  using Observer = LongformerObserver;
  using Call = LongformerCall;

  // The tensors between the input and the output; the backward needs them all. Where ranks share
  // rows, H heads of size D are those of this rank, N all tokens, n its own; or, where windows have
  // a halo, all heads, B is 1, N the rows with the halo in qkv, and n elsewhere. Without ranks H D
  // is C and n is N.
  template <class T>
  struct Tensors {
    View<T, 2> qkv;       // (N, 3 H D)
    View<T, 2> attended;  // (N, H D)
    View<T, 2> out;       // (n, C); `attended` itself where it is the same
    View<float, 3> lse;   // (B, H, T); of documents (1, H, N)
    View<T, 2> qg;        // (B*G, H D), of documents one row a global token; empty without any
    View<T, 2> kvg;       // (N, 2 H D), empty too where all global rows are re-associated
    // With a halo qg is (G, C) and kvg (n, 2C), and these are of the rows of all global tokens.
    View<T, 2> global_out;      // (G, C)
    View<float, 3> global_lse;  // (1, H, G)
  };

  // Registers its parameters below `prefix` ("...layer.0.attention.self.").
  LongformerAttention(const LongformerConfig& config, std::size_t layer, const std::string& prefix,
                      ParameterTable& parameters);

  template <class T>
  std::size_t Bytes(const LongformerCall& call) const;
  template <class T>
  Tensors<T> Take(Arena::Frame& frame, const LongformerCall& call) const;

  // t.out from x (n, C). Rows of hidden tokens become 0.
  template <class T>
  void Forward(Context& context, const LongformerCall& call, const View<const T, 2>& x,
               const Tensors<T>& t) const;
  // dx (n, C) += gradient for d loss / d out = dout (n, C).
  template <class T>
  void Backward(Context& context, const LongformerCall& call, const View<const T, 2>& x,
                const Tensors<T>& t, const View<const T, 2>& dout, const View<float, 2>& dx) const;

  // Numbers of the matrices that all tokens pass in any case and whose gradient is left out.
  idx_t FrozenNumbers(const ParameterTable& parameters) const {
    return local_.FrozenNumbers(parameters);
  }

 private:
  HeadColumns Columns(idx_t parts) const { return {parts, heads_, head_size_}; }
  // Nothing where all tokens of some heads are here.
  std::optional<WindowHalo> HaloOf(const LongformerCall& call) const;
  // `globals`: those that the call is about.
  WindowSpec Spec(const LongformerCall& call, const GlobalTokens& globals) const;
  template <class T>
  View<T, 4> Heads(const LongformerCall& call, const View<T, 2>& joined, idx_t part) const;
  // Rows of global tokens, as Heads: (B, H, G, D), or (1, H, all, D).
  template <class T>
  View<T, 4> GlobalHeads(const LongformerCall& call, const View<T, 2>& rows) const;
  template <class T>
  QkvOf<T> Local(const LongformerCall& call, const Tensors<T>& t) const;
  template <class T>
  GlobalQkvOf<T> Projected(const LongformerCall& call, const Tensors<T>& t) const;
  template <class T>
  AttentionSavedOf<T> Saved(const LongformerCall& call, const Tensors<T>& t) const;
  template <class T>
  GlobalProjectionOf<T> Reassociated(const LongformerCall& call, const View<const T, 2>& x,
                                     const Tensors<T>& t) const;
  // t.qg, of the own heads, from the rows of those ranks that have the global tokens.
  template <class T>
  void GatherQueries(Context& context, const LongformerCall& call, const View<const T, 2>& own,
                     const Tensors<T>& t) const;
  // The gradient of `own`, downed, from that of t.qg.
  void ReturnQueries(Context& context, const LongformerCall& call, const View<const float, 2>& dqg,
                     const View<float, 2>& downed) const;
  // t.qg and, where it is there, t.kvg.
  template <class T>
  void ProjectGlobals(Context& context, const LongformerCall& call, const View<const T, 2>& x,
                      const Tensors<T>& t) const;
  // The same, and the backward, where windows have a halo.
  template <class T>
  void ForwardInHalo(Context& context, const LongformerCall& call, const WindowHalo& halo,
                     const View<const T, 2>& x, const Tensors<T>& t) const;
  template <class T>
  void BackwardInHalo(Context& context, const LongformerCall& call, const WindowHalo& halo,
                      const View<const T, 2>& x, const Tensors<T>& t, const View<const T, 2>& dout,
                      const View<float, 2>& dx) const;
  // From the gradient of the queries of global tokens `rows` of x, dq (rows, C): dx (n, C) += ...
  // `most`: rows that any rank has, for which memory is booked.
  template <class T>
  void QueriesBackward(Context& context, const LongformerCall& call,
                       std::span<const std::int32_t> rows, idx_t most, const View<const T, 2>& x,
                       const View<const float, 2>& dq, const View<float, 2>& dx) const;
  // Gradients of the rows of projected and of re-associated texts.
  template <class T>
  void ProjectedBackward(Context& context, const LongformerCall& call, const View<const T, 2>& x,
                         const Tensors<T>& t, const View<const T, 2>& dout,
                         const View<float, 2>& dqg, const View<float, 2>& dx) const;
  template <class T>
  void ReassociatedBackward(Context& context, const LongformerCall& call, const View<const T, 2>& x,
                            const Tensors<T>& t, const View<const T, 2>& dout,
                            const View<float, 2>& dqg, const View<float, 2>& dx) const;
  template <class T>
  void GlobalBackwardRows(Context& context, const LongformerCall& call, const View<const T, 2>& x,
                          const Tensors<T>& t, const View<const T, 2>& dout,
                          const View<float, 2>& dx) const;
  template <class T>
  void Show(Context& context, const LongformerCall& call, const View<const T, 2>& x,
            const Tensors<T>& t) const;

  idx_t channels_, heads_, head_size_, window_;
  double dropout_;
  Linear local_, query_global_, key_value_global_;  // query, key and value; with full reach
  ParameterId value_global_bias_;
};

}  // namespace longspan
