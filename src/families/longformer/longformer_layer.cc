#include "families/longformer/longformer_layer.h"

#include "model/rows.h"
#include "ops/dropout/dropout.h"

namespace longspan {
namespace {

// Dropout sites of the layer; 0 is the attention's.
enum LongformerLayerSite : std::uint64_t { kAttentionOutput = 1, kFeedForwardOutput = 2 };

}  // namespace

// The members' constructors add the parameters in this order.
LongformerLayer::LongformerLayer(const LongformerConfig& config, std::size_t layer,
                                 const std::string& prefix, ParameterTable& parameters)
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
std::size_t LongformerLayer::Bytes(const LongformerCall& call) const {
  const idx_t n = call.n();
  return attention_.Bytes<T>(call) +
         (call.backward ? 2 * Arena::Bytes<T>(n * channels_) + Arena::Bytes<T>(n * hidden_) : 0);
}

template <class T>
LongformerLayer::Tensors<T> LongformerLayer::Take(Arena::Frame& frame,
                                                  const LongformerCall& call) const {
  const idx_t n = call.n();
  Tensors<T> t;
  t.attention = attention_.Take<T>(frame, call);
  if (!call.backward) return t;
  t.s1 = {frame.Take<T>(n * channels_), {n, channels_}};
  t.s2 = {frame.Take<T>(n * channels_), {n, channels_}};
  t.hidden = {frame.Take<T>(n * hidden_), {n, hidden_}};
  return t;
}

FeedForwardSpec LongformerLayer::Spec(const LongformerCall& call) const {
  return {activation_, {}, SiteOf(call.dropout, dropout_, kFeedForwardOutput)};
}

Dropout LongformerLayer::OutputSite(const LongformerCall& call) const {
  return SiteOf(call.dropout, dropout_, kAttentionOutput);
}

template <class T>
void LongformerLayer::Forward(Context& context, const LongformerCall& call,
                              const View<const T, 2>& x, const Tensors<T>& t,
                              const View<float, 2>& stream) const {
  attention_.Forward(context, call, x, t.attention);
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(x.size()));
  void* room = frame.TakeBytes(Arena::Bytes<float>(x.size()));
  const View<float, 2> attended(static_cast<float*>(room), x.extent);
  attention_dense_.ForwardIn<T>(context, call, t.attention.out, attended);
  AddDropout(context, OutputSite(call), attended, stream);
  if (call.backward) StoreRows(context, stream, t.s1);
  const View<T, 2> y(static_cast<T*>(room), x.extent);  // where `attended` was
  LayerNormForward(context, attention_norm_.Weights(call.parameters), stream, stream, y);
  FeedForwardForward(context, Spec(call), block_.Weights<T>(call), y, stream, t.hidden);
  if (call.backward) StoreRows(context, stream, t.s2);
  LayerNormForward(context, output_norm_.Weights(call.parameters), stream, stream);
}

template <class T>
void LongformerLayer::Backward(Context& context, const LongformerCall& call,
                               const View<const T, 2>& x, const Tensors<T>& t,
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
  ApplyDropout(context, OutputSite(call), ds);
  const View<T, 2> dout = y;  // y is done with
  attention_dense_.BackwardIn<T>(context, call, t.attention.out, ds, dout);
  attention_.Backward<T>(context, call, x, t.attention, dout, d);
}

// ---- for both types -----------------------------------------------------------------------------

#define LONGSPAN_LONGFORMER_LAYER(T)                                                          \
  template std::size_t LongformerLayer::Bytes<T>(const LongformerCall&) const;                \
  template LongformerLayer::Tensors<T> LongformerLayer::Take<T>(Arena::Frame&,                \
                                                                const LongformerCall&) const; \
  template void LongformerLayer::Forward<T>(Context&, const LongformerCall&,                  \
                                            const View<const T, 2>&, const Tensors<T>&,       \
                                            const View<float, 2>&) const;                     \
  template void LongformerLayer::Backward<T>(Context&, const LongformerCall&,                 \
                                             const View<const T, 2>&, const Tensors<T>&,      \
                                             const View<float, 2>&) const;
LONGSPAN_LONGFORMER_LAYER(float)
LONGSPAN_LONGFORMER_LAYER(bfloat16)
#undef LONGSPAN_LONGFORMER_LAYER

}  // namespace longspan
