// Longformer's self-attention with its projections: (N, C) -> (N, C), all heads side by side.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/arena.h"
#include "longspan/attention.h"
#include "longspan/context.h"
#include "model/longformer_config.h"
#include "model/parameters.h"
#include "model/step_dropout.h"

namespace longspan {

// The global tokens of a batch: G, the most that a row has, and for each row of the batch G row
// numbers of the (N, C) stream; a row with fewer repeats its first token, to no effect.
struct GlobalTokenRows {
  idx_t most = 0;
  std::vector<std::int32_t> rows;  // (B * G)
  static GlobalTokenRows Of(const TokenRoles& roles, idx_t batch, idx_t tokens);
};

// What an attention layer computed, to look at; gone when the observer returns.
struct LongformerAttentionTensors {
  idx_t rows = 0, tokens = 0, heads = 0, head_size = 0;  // B, T, H, D
  WindowSpec spec;
  TokenRoles roles;
  Qkv qkv;
  GlobalQkv global;          // empty without global tokens
  View<const float, 3> lse;  // (B, H, T)
  const GlobalTokenRows* globals = nullptr;
};
using LongformerObserver =
    std::function<void(std::size_t layer, const LongformerAttentionTensors& tensors)>;

// What one call of a layer works on.
struct LongformerCall {
  ParameterTable& parameters;
  idx_t rows, tokens;  // B, T
  TokenRoles roles;    // (B, T), empty: all local
  const GlobalTokenRows& globals;
  StepDropout dropout;    // its key is the layer's own
  bool backward = false;  // a backward pass follows: decides which form global rows take
  const LongformerObserver* observer = nullptr;
  std::size_t layer = 0;

  idx_t n() const { return rows * tokens; }
};

class LongformerAttention {
 public:
  // The tensors between the input and the output; the backward needs them all.
  struct Tensors {
    View<float, 2> qkv;  // (N, 3C)
    View<float, 2> out;  // (N, C)
    View<float, 3> lse;  // (B, H, T)
    View<float, 2> qg;   // (B*G, C), empty without global tokens
    View<float, 2> kvg;  // (N, 2C), empty too where global rows are re-associated
  };

  // Registers its parameters below `prefix` ("...layer.0.attention.self.").
  LongformerAttention(const LongformerConfig& config, std::size_t layer, std::string prefix,
                      ParameterTable& parameters);

  std::size_t Bytes(const LongformerCall& call) const;
  Tensors Take(Arena::Frame& frame, const LongformerCall& call) const;

  // t.out from x (N, C). Rows of hidden tokens become 0.
  void Forward(Context& context, const LongformerCall& call, const View<const float, 2>& x,
               const Tensors& t) const;
  // dx (N, C) += gradient for d loss / d out = dout (N, C).
  void Backward(Context& context, const LongformerCall& call, const View<const float, 2>& x,
                const Tensors& t, const View<const float, 2>& dout, const View<float, 2>& dx) const;

 private:
  // A projection's weights, its rows one or more parameters that lie one behind the other.
  struct Projection {
    std::string name;
    idx_t parts;
  };
  View<float, 2> Weight(const LongformerCall& call, const Projection& p) const;
  float* Bias(const LongformerCall& call, const Projection& p) const;
  void Project(Context& context, const LongformerCall& call, const Projection& p,
               const View<const float, 2>& x, const View<float, 2>& y) const;
  void ProjectBackward(Context& context, const LongformerCall& call, const Projection& p,
                       const View<const float, 2>& x, const View<const float, 2>& dy) const;

  bool Reassociates(const LongformerCall& call) const;
  WindowSpec Spec(const LongformerCall& call) const;
  template <class T>
  View<T, 4> Heads(const LongformerCall& call, const View<T, 2>& joined, idx_t part,
                   idx_t tokens) const;
  AttentionSaved Saved(const LongformerCall& call, const Tensors& t) const;
  GlobalProjection Reassociated(const LongformerCall& call, const View<const float, 2>& x,
                                const Tensors& t) const;
  void GlobalForwardRows(Context& context, const LongformerCall& call,
                         const View<const float, 2>& x, const Tensors& t) const;
  void GlobalBackwardRows(Context& context, const LongformerCall& call,
                          const View<const float, 2>& x, const Tensors& t,
                          const View<const float, 2>& dout, const View<float, 2>& dx) const;
  void Show(Context& context, const LongformerCall& call, const View<const float, 2>& x,
            const Tensors& t) const;

  idx_t channels_, heads_, head_size_, window_;
  double dropout_;
  std::string prefix_;
  Projection local_, query_global_, key_value_global_;
};

}  // namespace longspan
