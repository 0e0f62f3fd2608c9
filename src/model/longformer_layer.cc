#include "model/longformer_layer.h"

#include <utility>

#include "gemm/gemm.h"
#include "model/rows.h"
#include "ops/dropout/dropout.h"

namespace longspan {
namespace {

// Dropout sites of the layer; 0 is the attention's.
enum LongformerLayerSite : std::uint64_t { kAttentionOutput = 1, kFeedForwardOutput = 2 };

constexpr const char* kAttentionNorm = "attention.output.LayerNorm.";
constexpr const char* kOutputNorm = "output.LayerNorm.";
constexpr const char* kAttentionDense = "attention.output.dense.";

}  // namespace

LongformerLayer::LongformerLayer(const LongformerConfig& config, std::size_t layer,
                                 std::string prefix, ParameterTable& parameters)
    : channels_(config.hidden_size),
      hidden_(config.feed_forward_size),
      activation_(ParseActivation(config.activation)),
      dropout_(config.hidden_dropout),
      eps_(static_cast<float>(config.layer_norm_eps)),
      prefix_(std::move(prefix)),
      attention_(config, layer, prefix_ + "attention.self.", parameters) {
  const auto dense = [&](const std::string& name, idx_t out, idx_t in) {
    parameters.Add(prefix_ + name + "weight", {out, in}, ParameterKind::kMatrix);
    parameters.Add(prefix_ + name + "bias", {out}, ParameterKind::kBias);
  };
  const auto norm = [&](const std::string& name) {
    parameters.Add(prefix_ + name + "weight", {channels_}, ParameterKind::kNormWeight);
    parameters.Add(prefix_ + name + "bias", {channels_}, ParameterKind::kNormBias);
  };
  dense(kAttentionDense, channels_, channels_);
  norm(kAttentionNorm);
  dense("intermediate.dense.", hidden_, channels_);
  dense("output.dense.", channels_, hidden_);
  norm(kOutputNorm);
}

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

LayerNormWeights LongformerLayer::Norm(const LongformerCall& call, const std::string& name) const {
  return {call.parameters.vector(prefix_ + name + "weight"),
          call.parameters.vector(prefix_ + name + "bias"), eps_};
}

LayerNormGradients LongformerLayer::NormGradients(const LongformerCall& call,
                                                  const std::string& name) const {
  return {call.parameters.vector_gradient(prefix_ + name + "weight"),
          call.parameters.vector_gradient(prefix_ + name + "bias")};
}

FeedForwardSpec LongformerLayer::Spec(const LongformerCall& call) const {
  return {activation_, {}, SiteOf(call.dropout, dropout_, kFeedForwardOutput)};
}

template <class T>
FeedForwardWeightsOf<T> LongformerLayer::Weights(const LongformerCall& call) const {
  const ParameterTable& p = call.parameters;
  return {call.Weight<T>(prefix_ + "intermediate.dense.weight"),
          p.vector(prefix_ + "intermediate.dense.bias"),
          call.Weight<T>(prefix_ + "output.dense.weight"), p.vector(prefix_ + "output.dense.bias")};
}

FeedForwardGradients LongformerLayer::Gradients(const LongformerCall& call) const {
  const ParameterTable& p = call.parameters;
  return {p.matrix_gradient(prefix_ + "intermediate.dense.weight"),
          p.vector_gradient(prefix_ + "intermediate.dense.bias"),
          p.matrix_gradient(prefix_ + "output.dense.weight"),
          p.vector_gradient(prefix_ + "output.dense.bias")};
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
  gemm::Forward(context, t.attention.out, call.Weight<T>(prefix_ + kAttentionDense + "weight"),
                call.parameters.vector(prefix_ + kAttentionDense + "bias").data, attended);
  AddDropout(context, OutputSite(call), attended, stream);
  if (call.backward) StoreRows(context, stream, t.s1);
  const View<T, 2> y(static_cast<T*>(room), x.extent);  // where `attended` was
  LayerNormForward(context, Norm(call, kAttentionNorm), stream, stream, y);
  FeedForwardForward(context, Spec(call), Weights<T>(call), y, stream, t.hidden);
  if (call.backward) StoreRows(context, stream, t.s2);
  LayerNormForward(context, Norm(call, kOutputNorm), stream, stream);
}

template <class T>
void LongformerLayer::Backward(Context& context, const LongformerCall& call,
                               const View<const T, 2>& x, const Tensors<T>& t,
                               const View<float, 2>& d) const {
  const idx_t rounded = sizeof(T) == 2 ? x.size() : 0;
  Arena::Frame frame(context.arena(), Arena::Bytes<T>(x.size()) + Arena::Bytes<float>(x.size()) +
                                          Arena::Bytes<T>(rounded));
  const View<T, 2> y(frame.Take<T>(x.size()), x.extent);
  const View<float, 2> ds(frame.Take<float>(x.size()), x.extent);

  // d: dz, then dy, which is ds2 and what comes through the feed-forward block.
  ZeroRows(context, ds);
  LayerNormBackward(context, Norm(call, kOutputNorm), t.s2, d, ds,
                    NormGradients(call, kOutputNorm));
  CopyRows(context, ds, d);
  LayerNormForward(context, Norm(call, kAttentionNorm), t.s1, y);
  FeedForwardBackwardKept(context, Spec(call), Weights<T>(call), y, t.hidden, ds, d,
                          Gradients(call));

  // d: dx, which is ds1 and what comes through the attention.
  ZeroRows(context, ds);
  LayerNormBackward(context, Norm(call, kAttentionNorm), t.s1, d, ds,
                    NormGradients(call, kAttentionNorm));
  CopyRows(context, ds, d);
  ApplyDropout(context, OutputSite(call), ds);
  gemm::ConstMatrix terms = ds;
  if constexpr (sizeof(T) == 2) {
    const View<bfloat16, 2> half(frame.Take<bfloat16>(rounded), ds.extent);
    gemm::Round(context, ds, half);
    terms = half;
  }
  gemm::BackwardWeights(context, terms, t.attention.out,
                        call.parameters.matrix_gradient(prefix_ + kAttentionDense + "weight"));
  gemm::BackwardBias(context, ds,
                     call.parameters.vector_gradient(prefix_ + kAttentionDense + "bias").data);
  const View<T, 2> dout = y;  // y is done with
  gemm::BackwardData(context, terms, call.Weight<T>(prefix_ + kAttentionDense + "weight"), dout);
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
