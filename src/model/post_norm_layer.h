// A layer of an encoder that is normalized after each of its two blocks, whatever its attention is:
//   s1 = x + dropout(W_o attention(x) + b_o),  y = LayerNorm(s1)
//   s2 = y + dropout(W_2 act(W_1 y + b_1) + b_2),  z = LayerNorm(s2)
// A last layer whose call has `last` computes all but the attention for the rows that are read.
// An Attention has the types Config (PostNormFields and more) and Call (the arguments of one call:
// parameters, bf16, dropout, backward, last, slab(), n()), for an operand type T (float or
// bfloat16) a struct Tensors<T> with `out` (N, C), and
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
#include "model/last_rows.h"
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
  // numbers for each of the output's R rows, which are all N but in a last layer of which few are
  // read (model/last_rows.h). y is normalized again.
  template <class T>
  struct Tensors {
    typename Attention::template Tensors<T> attention;
    View<T, 2> s1, s2;  // (R, C); empty in evaluation
    View<T, 2> hidden;  // (R, F): W_1 y + b_1; empty in evaluation
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
    const idx_t n = OutputRows(call);
    return attention_.template Bytes<T>(call) +
           (call.backward ? 2 * Arena::Bytes<T>(n * channels_) + Arena::Bytes<T>(n * hidden_) : 0);
  }
  template <class T>
  Tensors<T> Take(Arena::Frame& frame, const Call& call) const {
    const idx_t n = OutputRows(call);
    Tensors<T> t;
    t.attention = attention_.template Take<T>(frame, call);
    if (!call.backward) return t;
    t.s1 = {frame.Take<T>(n * channels_), {n, channels_}};
    t.s2 = {frame.Take<T>(n * channels_), {n, channels_}};
    t.hidden = {frame.Take<T>(n * hidden_), {n, hidden_}};
    return t;
  }

  // `stream` (N, C) is x on entry, and its first R rows are z on return: what is added up stays
  // fp32. `x` (N, C) is the same as products take it, and may be the stream itself.
  template <class T>
  void Forward(Context& context, const Call& call, const View<const T, 2>& x, const Tensors<T>& t,
               const View<float, 2>& stream) const {
    attention_.template Forward<T>(context, call, x, t.attention);
    const RowsTaken<T> out(context, call.last, t.attention.out);
    const View<float, 2> z = KeepOutputRows(context, call.last, stream);
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(z.size()));
    void* room = frame.TakeBytes(Arena::Bytes<float>(z.size()));
    const View<float, 2> attended(static_cast<float*>(room), z.extent);
    attention_dense_.ForwardIn<T>(context, call, out.view(), attended);
    AddDropout(context, OutputSite(call), attended, z, OutputNumbers(call));
    if (call.backward) StoreRows(context, z, t.s1);
    const View<T, 2> y(static_cast<T*>(room), z.extent);  // where `attended` was
    LayerNormForward(context, attention_norm_.Weights(call.parameters), z, z, y);
    FeedForwardForward(context, Spec(call), block_.Weights<T>(call), y, z, t.hidden);
    if (call.backward) StoreRows(context, z, t.s2);
    LayerNormForward(context, output_norm_.Weights(call.parameters), z, z);
  }

  // The first R rows of d (N, C) are dz on entry, and d is dx on return.
  template <class T>
  void Backward(Context& context, const Call& call, const View<const T, 2>& x, const Tensors<T>& t,
                const View<float, 2>& d) const {
    Arena::Frame frame(context.arena(), Arena::Bytes<T>(x.size()));
    const View<T, 2> dout(frame.Take<T>(x.size()), x.extent);
    BlocksBackward<T>(context, call, t, d, dout);
    attention_.template Backward<T>(context, call, x, t.attention, dout, d);
  }

  // Numbers of the matrices that all tokens pass and whose gradient is left out.
  idx_t FrozenNumbers(const ParameterTable& parameters) const {
    return attention_.FrozenNumbers(parameters) + FrozenOutputNumbers(parameters);
  }
  // Of those that the output's rows alone pass.
  idx_t FrozenOutputNumbers(const ParameterTable& parameters) const {
    return attention_dense_.FrozenNumbers(parameters) + block_.FrozenNumbers(parameters);
  }

 private:
  // Dropout sites of the layer; 0 is the attention's.
  static constexpr std::uint64_t kAttentionOutput = 1, kFeedForwardOutput = 2;

  // Back through all that follows attention: d is ds1 on return, what comes to x beside the
  // attention, and dout (N, C) the gradient of the attention's output.
  template <class T>
  void BlocksBackward(Context& context, const Call& call, const Tensors<T>& t,
                      const View<float, 2>& d, const View<T, 2>& dout) const {
    // dz: dz, then dy, which is ds2 and what comes through the feed-forward block.
    const View<float, 2> dz = d.Rows(0, OutputRows(call));
    const View<T, 2> y = dout.Rows(0, OutputRows(call));
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(dz.size()));
    const View<float, 2> ds(frame.Take<float>(dz.size()), dz.extent);
    ZeroRows(context, ds);
    LayerNormBackward(context, output_norm_.Weights(call.parameters), t.s2, dz, ds,
                      output_norm_.Gradients(call.parameters));
    CopyRows(context, ds, dz);
    LayerNormForward(context, attention_norm_.Weights(call.parameters), t.s1, y);
    FeedForwardBackwardKept(context, Spec(call), block_.Weights<T>(call), y, t.hidden, ds, dz,
                            block_.Gradients(call.parameters));

    ZeroRows(context, ds);
    LayerNormBackward(context, attention_norm_.Weights(call.parameters), t.s1, dz, ds,
                      attention_norm_.Gradients(call.parameters));
    CopyRows(context, ds, dz);
    SpreadOutputRows(context, call.last, d);
    ApplyDropout(context, OutputSite(call), ds, OutputNumbers(call));
    const RowsTaken<T> out(context, call.last, t.attention.out);
    attention_dense_.BackwardIn<T>(context, call, out.view(), ds, y);  // y is done with
    SpreadOutputRows(context, call.last, dout);
  }

  FeedForwardSpec Spec(const Call& call) const {
    const RowNumbers numbers = OutputNumbers(call);
    return {activation_,   {},    SiteOf(call.dropout, dropout_, kFeedForwardOutput),
            numbers.first, false, numbers.listed};
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
