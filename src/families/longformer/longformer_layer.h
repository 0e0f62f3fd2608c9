// One layer of a Longformer, normalised behind each of its two blocks:
//   s1 = x + dropout(W_o attention(x) + b_o),  y = LayerNorm(s1)
//   s2 = y + dropout(W_2 act(W_1 y + b_1) + b_2),  z = LayerNorm(s2)
#pragma once

#include <string>

#include "families/longformer/longformer_attention.h"
#include "model/feed_forward_parameters.h"
#include "model/linear.h"
#include "model/norm_layer.h"
#include "ops/feed_forward/feed_forward.h"
#include "ops/layer_norm/layer_norm.h"

namespace longspan {

class LongformerLayer {
 public:
  // The forward saves these for the backward, besides x: 6C + F numbers and H floats for each
  // token, and 2C more with many global tokens. y is normalized again.
  template <class T>
  struct Tensors {
    LongformerAttention::Tensors<T> attention;
    View<T, 2> s1, s2;  // (N, C); empty in evaluation
    View<T, 2> hidden;  // (N, F): W_1 y + b_1; empty in evaluation
  };

  // Registers its parameters below `prefix` ("...encoder.layer.0.").
  LongformerLayer(const LongformerConfig& config, std::size_t layer, const std::string& prefix,
                  ParameterTable& parameters);

  template <class T>
  std::size_t Bytes(const LongformerCall& call) const;
  template <class T>
  Tensors<T> Take(Arena::Frame& frame, const LongformerCall& call) const;

  // `stream` (N, C) is x on entry and z on return: what is added up stays fp32. `x` (N, C) is the
  // same as products take it, and may be the stream itself.
  template <class T>
  void Forward(Context& context, const LongformerCall& call, const View<const T, 2>& x,
               const Tensors<T>& t, const View<float, 2>& stream) const;
  // d (N, C) is dz on entry and dx on return.
  template <class T>
  void Backward(Context& context, const LongformerCall& call, const View<const T, 2>& x,
                const Tensors<T>& t, const View<float, 2>& d) const;

 private:
  FeedForwardSpec Spec(const LongformerCall& call) const;
  Dropout OutputSite(const LongformerCall& call) const;

  idx_t channels_, hidden_;
  Activation activation_;
  double dropout_;
  LongformerAttention attention_;
  Linear attention_dense_;
  NormLayer attention_norm_;
  FeedForwardParameters block_;
  NormLayer output_norm_;
};

}  // namespace longspan
