// A layer of an encoder that is normalized after each of its two blocks, whatever its attention is:
//   s1 = x + dropout(W_o attention(x) + b_o),  y = LayerNorm(s1)
//   s2 = y + dropout(W_2 act(W_1 y + b_1) + b_2),  z = LayerNorm(s2)
// An Attention has the types Config (PostNormFields and more) and Call (the arguments of one call:
// parameters, bf16, dropout, backward, slab(), n()), for an operand type T (float or bfloat16) a
// struct Tensors<T> with `out` (N, C), and
//   Attention(config, layer, prefix, parameters)        registers its projections
//   Bytes<T>(call), Take<T>(frame, call)                the memory of its tensors
//   Forward<T>(context, call, x, tensors)               tensors.out from x (N, C)
//   Backward<T>(context, call, x, tensors, dout, dx)    dx (N, C) += the gradient
// Its dropout has site 0 of the layer.
#pragma once

#include <cstdint>
#include <string>

#include "base/arena.h"
#include "longspan/context.h"
#include "model/feed_forward_parameters.h"
#include "model/linear.h"
#include "model/norm_layer.h"
#include "model/rows.h"
#include "model/step_dropout.h"
#include "ops/dropout/dropout.h"
#include "ops/feed_forward/feed_forward.h"
#include "ops/layer_norm/layer_norm.h"

namespace longspan {

template <class Attention>
class PostNormLayer {
 public:
  using Config = typename Attention::Config;
  using Call = typename Attention::Call;

  // The forward saves these for the backward, besides x: what the attention saves, and 2C + F
  // numbers for each token. y is normalized again.
  template <class T>
  struct Tensors {
    typename Attention::template Tensors<T> attention;
    View<T, 2> s1, s2;  // (N, C); empty in evaluation
    View<T, 2> hidden;  // (N, F): W_1 y + b_1; empty in evaluation
  };

  // Registers its parameters below `prefix` ("...encoder.layer.0."), in the members' order.
  PostNormLayer(const Config& config, std::size_t layer, const std::string& prefix,
                ParameterTable& parameters)
      : channels_(config.hidden_size),
        hidden_(config.feed_forward_size),
        activation_(ParseActivation(config.activation)),
        dropout_(config.hidden_dropout),
        attention_(config, layer, prefix + "attention.self.", parameters),
        attention_dense_(prefix + "attention.output.dense.", channels_, channels_, parameters),
        attention_norm_(prefix + "attention.output.LayerNorm.", channels_, config.layer_norm_eps,
                        parameters),
        block_(prefix + "intermediate.dense.", prefix + "output.dense.", channels_, hidden_,
               parameters),
        output_norm_(prefix + "output.LayerNorm.", channels_, config.layer_norm_eps, parameters) {}

  template <class T>
  std::size_t Bytes(const Call& call) const {
    const idx_t n = call.n();
    return attention_.template Bytes<T>(call) +
           (call.backward ? 2 * Arena::Bytes<T>(n * channels_) + Arena::Bytes<T>(n * hidden_) : 0);
  }
  template <class T>
  Tensors<T> Take(Arena::Frame& frame, const Call& call) const {
    const idx_t n = call.n();
    Tensors<T> t;
    t.attention = attention_.template Take<T>(frame, call);
    if (!call.backward) return t;
    t.s1 = {frame.Take<T>(n * channels_), {n, channels_}};
    t.s2 = {frame.Take<T>(n * channels_), {n, channels_}};
    t.hidden = {frame.Take<T>(n * hidden_), {n, hidden_}};
    return t;
  }

  // `stream` (N, C) is x on entry and z on return: what is added up stays fp32. `x` (N, C) is the
  // same as products take it, and may be the stream itself.
  template <class T>
  void Forward(Context& context, const Call& call, const View<const T, 2>& x, const Tensors<T>& t,
               const View<float, 2>& stream) const {
    attention_.template Forward<T>(context, call, x, t.attention);
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(x.size()));
    void* room = frame.TakeBytes(Arena::Bytes<float>(x.size()));
    const View<float, 2> attended(static_cast<float*>(room), x.extent);
    attention_dense_.ForwardIn<T>(context, call, t.attention.out, attended);
    AddDropout(context, OutputSite(call), attended, stream, call.slab().begin * channels_);
    if (call.backward) StoreRows(context, stream, t.s1);
    const View<T, 2> y(static_cast<T*>(room), x.extent);  // where `attended` was
    LayerNormForward(context, attention_norm_.Weights(call.parameters), stream, stream, y);
    FeedForwardForward(context, Spec(call), block_.Weights<T>(call), y, stream, t.hidden);
    if (call.backward) StoreRows(context, stream, t.s2);
    LayerNormForward(context, output_norm_.Weights(call.parameters), stream, stream);
  }

  // d (N, C) is dz on entry and dx on return.
  template <class T>
  void Backward(Context& context, const Call& call, const View<const T, 2>& x, const Tensors<T>& t,
                const View<float, 2>& d) const {
    Arena::Frame frame(context.arena(), Arena::Bytes<T>(x.size()) + Arena::Bytes<float>(x.size()));
    const View<T, 2> y(frame.Take<T>(x.size()), x.extent);
    const View<float, 2> ds(frame.Take<float>(x.size()), x.extent);

    // d: dz, then dy, which is ds2 and what comes through the feed-forward block.
    ZeroRows(context, ds);
    LayerNormBackward(context, output_norm_.Weights(call.parameters), t.s2, d, ds,
                      output_norm_.Gradients(call.parameters));
    CopyRows(context, ds, d);
    LayerNormForward(context, attention_norm_.Weights(call.parameters), t.s1, y);
    FeedForwardBackwardKept(context, Spec(call), block_.Weights<T>(call), y, t.hidden, ds, d,
                            block_.Gradients(call.parameters));

    // d: dx, which is ds1 and what comes through the attention.
    ZeroRows(context, ds);
    LayerNormBackward(context, attention_norm_.Weights(call.parameters), t.s1, d, ds,
                      attention_norm_.Gradients(call.parameters));
    CopyRows(context, ds, d);
    ApplyDropout(context, OutputSite(call), ds, call.slab().begin * channels_);
    const View<T, 2> dout = y;  // y is done with
    attention_dense_.BackwardIn<T>(context, call, t.attention.out, ds, dout);
    attention_.template Backward<T>(context, call, x, t.attention, dout, d);
  }

  // Numbers of the matrices that all tokens pass and whose gradient is left out.
  idx_t FrozenNumbers(const ParameterTable& parameters) const {
    return attention_.FrozenNumbers(parameters) + attention_dense_.FrozenNumbers(parameters) +
           block_.FrozenNumbers(parameters);
  }

 private:
  // Dropout sites of the layer; 0 is the attention's.
  static constexpr std::uint64_t kAttentionOutput = 1, kFeedForwardOutput = 2;

  FeedForwardSpec Spec(const Call& call) const {
    return {activation_, {}, SiteOf(call.dropout, dropout_, kFeedForwardOutput), call.slab().begin};
  }
  Dropout OutputSite(const Call& call) const {
    return SiteOf(call.dropout, dropout_, kAttentionOutput);
  }

  idx_t channels_, hidden_;
  Activation activation_;
  double dropout_;
  Attention attention_;
  Linear attention_dense_;
  NormLayer attention_norm_;
  FeedForwardParameters block_;
  NormLayer output_norm_;
};

}  // namespace longspan
