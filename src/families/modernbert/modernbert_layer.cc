#include "families/modernbert/modernbert_layer.h"

#include "model/last_rows.h"
#include "model/rows.h"
#include "ops/dropout/dropout.h"

namespace longspan {
namespace {

// Dropout sites of the layer; 0 is the attention's.
enum ModernBertLayerSite : std::uint64_t { kOutput = 1, kGate = 2 };

std::optional<NormLayer> FirstNorm(const ModernBertConfig& config, std::size_t layer,
                                   const std::string& name, ParameterTable& parameters) {
  if (layer == 0) return std::nullopt;
  return NormLayer(name, config.hidden_size, config.norm_eps, parameters, config.norm_bias);
}

}  // namespace

// The members' constructors add the parameters in this order.
ModernBertLayer::ModernBertLayer(const ModernBertConfig& config, std::size_t layer,
                                 const std::string& prefix, ParameterTable& parameters)
    : channels_(config.hidden_size),
      hidden_(config.feed_forward_size),
      activation_(ParseActivation(config.activation)),
      attention_dropout_(config.attention_dropout),
      feed_forward_dropout_(config.feed_forward_dropout),
      attention_(config, layer),
      attention_norm_(FirstNorm(config, layer, prefix + "attn_norm.", parameters)),
      qkv_(prefix + "attn.Wqkv.", 3 * channels_, channels_, parameters, config.attention_bias),
      out_(prefix + "attn.Wo.", channels_, channels_, parameters, config.attention_bias),
      feed_forward_norm_(prefix + "mlp_norm.", channels_, config.norm_eps, parameters,
                         config.norm_bias),
      block_(FeedForwardParameters::Gated(prefix + "mlp.Wi.", prefix + "mlp.Wo.", channels_,
                                          hidden_, config.feed_forward_bias, parameters)) {}

template <class T>
std::size_t ModernBertLayer::Bytes(const ModernBertCall& call) const {
  const idx_t n = OutputRows(call);
  return attention_.Bytes<T>(call) +
         (call.backward ? Arena::Bytes<T>(n * channels_) + Arena::Bytes<T>(n * 2 * hidden_) : 0);
}

template <class T>
ModernBertLayer::Tensors<T> ModernBertLayer::Take(Arena::Frame& frame,
                                                  const ModernBertCall& call) const {
  const idx_t n = OutputRows(call);
  Tensors<T> t;
  t.attention = attention_.Take<T>(frame, call);
  if (!call.backward) return t;
  t.a = {frame.Take<T>(n * channels_), {n, channels_}};
  t.hidden = {frame.Take<T>(n * 2 * hidden_), {n, 2 * hidden_}};
  return t;
}

FeedForwardSpec ModernBertLayer::Spec(const ModernBertCall& call) const {
  const RowNumbers numbers = OutputNumbers(call);
  return {activation_, SiteOf(call.dropout, feed_forward_dropout_, kGate),
          {},          numbers.first,
          true,        numbers.listed};
}

Dropout ModernBertLayer::OutputSite(const ModernBertCall& call) const {
  return SiteOf(call.dropout, attention_dropout_, kOutput);
}

template <class T>
void ModernBertLayer::Forward(Context& context, const ModernBertCall& call,
                              const View<const T, 2>& x, const Tensors<T>& t,
                              const View<float, 2>& stream) const {
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(x.size()));
  void* room = frame.TakeBytes(Arena::Bytes<float>(x.size()));
  const View<T, 2> y(static_cast<T*>(room), x.extent);
  if (attention_norm_) {
    LayerNormForward(context, attention_norm_->Weights(call.parameters), stream, y);
  }
  attention_.Forward<T>(context, call, qkv_, attention_norm_ ? y : x, t.attention);
  const RowsTaken<T> out(context, call.last, t.attention.out);
  const View<float, 2> z = KeepOutputRows(context, call.last, stream);
  const View<float, 2> attended(static_cast<float*>(room), z.extent);  // where y was
  out_.ForwardIn<T>(context, call, out.view(), attended);
  AddDropout(context, OutputSite(call), attended, z, OutputNumbers(call));
  if (call.backward) StoreRows(context, z, t.a);
  const View<T, 2> normed(static_cast<T*>(room), z.extent);  // where `attended` was
  LayerNormForward(context, feed_forward_norm_.Weights(call.parameters), z, normed);
  FeedForwardForward(context, Spec(call), block_.Weights<T>(call), normed, z, t.hidden);
}

template <class T>
void ModernBertLayer::Backward(Context& context, const ModernBertCall& call,
                               const View<const T, 2>& x, const Tensors<T>& t,
                               const View<float, 2>& d) const {
  {
    // dz: dz, then da, which is dz and what comes through the feed-forward block.
    const View<float, 2> dz = d.Rows(0, OutputRows(call));
    const idx_t size = dz.size();
    Arena::Frame frame(context.arena(), Arena::Bytes<T>(size) + Arena::Bytes<float>(size));
    const View<T, 2> y(frame.Take<T>(size), dz.extent);
    const View<float, 2> dy(frame.Take<float>(size), dz.extent);
    LayerNormForward(context, feed_forward_norm_.Weights(call.parameters), t.a, y);
    ZeroRows(context, dy);
    FeedForwardBackwardKept(context, Spec(call), block_.Weights<T>(call), y, t.hidden, dz, dy,
                            block_.Gradients(call.parameters));
    LayerNormBackward(context, feed_forward_norm_.Weights(call.parameters), t.a, dy, dz,
                      feed_forward_norm_.Gradients(call.parameters));
  }
  AttentionBackward(context, call, x, t, d);
}

// d (N, C): da in its first R rows, then dx, which is da and what comes through the attention.
template <class T>
void ModernBertLayer::AttentionBackward(Context& context, const ModernBertCall& call,
                                        const View<const T, 2>& x, const Tensors<T>& t,
                                        const View<float, 2>& d) const {
  const idx_t size = x.size();
  Arena::Frame frame(context.arena(), Arena::Bytes<T>(size) + Arena::Bytes<float>(size));
  const View<T, 2> dout(frame.Take<T>(size), x.extent);
  const View<float, 2> dy(frame.Take<float>(size), x.extent);
  {
    const idx_t rows = OutputRows(call);
    const View<float, 2> da = dy.Rows(0, rows);
    CopyRows(context, d.Rows(0, rows), da);
    ApplyDropout(context, OutputSite(call), da, OutputNumbers(call));
    const RowsTaken<T> out(context, call.last, t.attention.out);
    out_.BackwardIn<T>(context, call, out.view(), da, dout.Rows(0, rows));
    SpreadOutputRows(context, call.last, d);
    SpreadOutputRows(context, call.last, dout);
  }
  attention_.Backward<T>(
      context, call, t.attention, dout, [&](const View<const float, 2>& dprojected) {
        if (!attention_norm_) {
          return qkv_.BackwardIn<T>(context, call, x, dprojected, d, gemm::Store::kAccumulate);
        }
        const View<T, 2>& y = dout;  // dout is done with
        LayerNormForward(context, attention_norm_->Weights(call.parameters), x, y);
        qkv_.BackwardIn<T>(context, call, y, dprojected, dy, gemm::Store::kOverwrite);
        LayerNormBackward(context, attention_norm_->Weights(call.parameters), x, dy, d,
                          attention_norm_->Gradients(call.parameters));
      });
}

// ---- for both types -----------------------------------------------------------------------------

#define LONGSPAN_MODERNBERT_LAYER(T)                                                          \
  template std::size_t ModernBertLayer::Bytes<T>(const ModernBertCall&) const;                \
  template ModernBertLayer::Tensors<T> ModernBertLayer::Take<T>(Arena::Frame&,                \
                                                                const ModernBertCall&) const; \
  template void ModernBertLayer::Forward<T>(Context&, const ModernBertCall&,                  \
                                            const View<const T, 2>&, const Tensors<T>&,       \
                                            const View<float, 2>&) const;                     \
  template void ModernBertLayer::Backward<T>(Context&, const ModernBertCall&,                 \
                                             const View<const T, 2>&, const Tensors<T>&,      \
                                             const View<float, 2>&) const;
LONGSPAN_MODERNBERT_LAYER(float)
LONGSPAN_MODERNBERT_LAYER(bfloat16)
#undef LONGSPAN_MODERNBERT_LAYER

}  // namespace longspan
