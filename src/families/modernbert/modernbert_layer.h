// One layer of a ModernBERT, normalised before each of its two blocks:
//   a = x + dropout(W_o attention(W_qkv y)),  y = LayerNorm(x), in the first layer y = x
//   z = a + W_out dropout(act(u) g),  [u | g] = W_in LayerNorm(a)
#pragma once

#include <optional>
#include <string>

#include "families/modernbert/modernbert_attention.h"
#include "model/feed_forward_parameters.h"
#include "model/linear.h"
#include "model/norm_layer.h"

namespace longspan {

class ModernBertLayer {
 public:
  // The forward saves these for the backward, besides x: 4C numbers and H floats for each token,
  // and C + 2F numbers for each of the output's R rows, which are all N but in a last layer of
  // which few are read (model/last_rows.h). The norms are computed again.
  template <class T>
  struct Tensors {
    ModernBertAttention::Tensors<T> attention;
    View<T, 2> a;       // (R, C); empty in evaluation
    View<T, 2> hidden;  // (R, 2F): [u | g]; empty in evaluation
  };

  // Registers its parameters below `prefix` ("model.layers.0.").
  ModernBertLayer(const ModernBertConfig& config, std::size_t layer, const std::string& prefix,
                  ParameterTable& parameters);

  template <class T>
  std::size_t Bytes(const ModernBertCall& call) const;
  template <class T>
  Tensors<T> Take(Arena::Frame& frame, const ModernBertCall& call) const;

  // `stream` (N, C) is x on entry, and its first R rows are z on return: what is added up stays
  // fp32. `x` (N, C) is the same as products take it, and may be the stream itself.
  template <class T>
  void Forward(Context& context, const ModernBertCall& call, const View<const T, 2>& x,
               const Tensors<T>& t, const View<float, 2>& stream) const;
  // The first R rows of d (N, C) are dz on entry, and d is dx on return.
  template <class T>
  void Backward(Context& context, const ModernBertCall& call, const View<const T, 2>& x,
                const Tensors<T>& t, const View<float, 2>& d) const;

  // Numbers of the matrices whose gradient is left out.
  idx_t FrozenNumbers(const ParameterTable& parameters) const {
    return qkv_.FrozenNumbers(parameters) + FrozenOutputNumbers(parameters);
  }
  // Of those that the output's rows alone pass.
  idx_t FrozenOutputNumbers(const ParameterTable& parameters) const {
    return out_.FrozenNumbers(parameters) + block_.FrozenNumbers(parameters);
  }

 private:
  FeedForwardSpec Spec(const ModernBertCall& call) const;
  Dropout OutputSite(const ModernBertCall& call) const;
  template <class T>
  void AttentionBackward(Context& context, const ModernBertCall& call, const View<const T, 2>& x,
                         const Tensors<T>& t, const View<float, 2>& d) const;

  idx_t channels_, hidden_;
  Activation activation_;
  double attention_dropout_, feed_forward_dropout_;
  ModernBertAttention attention_;
  // In the order in which they are added.
  std::optional<NormLayer> attention_norm_;  // none in the first layer
  Linear qkv_, out_;
  NormLayer feed_forward_norm_;
  FeedForwardParameters block_;
};

}  // namespace longspan
