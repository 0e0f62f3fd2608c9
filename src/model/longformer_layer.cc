#include "model/longformer_layer.h"

#include <utility>

#include "gemm/gemm.h"
#include "model/rows.h"
#include "ops/dropout/dropout.h"

namespace longspan {
namespace {

// Dropout sites of the layer; 0 is the attention's.
enum Site : std::uint64_t { kAttentionOutput = 1, kFeedForwardOutput = 2 };

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

std::size_t LongformerLayer::Bytes(const LongformerCall& call) const {
  const idx_t n = call.n();
  return attention_.Bytes(call) + 2 * Arena::Bytes<float>(n * channels_) +
         (call.backward ? Arena::Bytes<float>(n * hidden_) : 0);
}

LongformerLayer::Tensors LongformerLayer::Take(Arena::Frame& frame,
                                               const LongformerCall& call) const {
  const idx_t n = call.n();
  Tensors t;
  t.attention = attention_.Take(frame, call);
  t.s1 = {frame.Take<float>(n * channels_), {n, channels_}};
  t.s2 = {frame.Take<float>(n * channels_), {n, channels_}};
  if (call.backward) t.hidden = {frame.Take<float>(n * hidden_), {n, hidden_}};
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

FeedForwardWeights LongformerLayer::Weights(const LongformerCall& call) const {
  ParameterTable& p = call.parameters;
  return {p.matrix(prefix_ + "intermediate.dense.weight"),
          p.vector(prefix_ + "intermediate.dense.bias"), p.matrix(prefix_ + "output.dense.weight"),
          p.vector(prefix_ + "output.dense.bias")};
}

FeedForwardGradients LongformerLayer::Gradients(const LongformerCall& call) const {
  ParameterTable& p = call.parameters;
  return {p.matrix_gradient(prefix_ + "intermediate.dense.weight"),
          p.vector_gradient(prefix_ + "intermediate.dense.bias"),
          p.matrix_gradient(prefix_ + "output.dense.weight"),
          p.vector_gradient(prefix_ + "output.dense.bias")};
}

Dropout LongformerLayer::OutputSite(const LongformerCall& call) const {
  return SiteOf(call.dropout, dropout_, kAttentionOutput);
}

void LongformerLayer::Forward(Context& context, const LongformerCall& call,
                              const View<const float, 2>& x, const Tensors& t,
                              const View<float, 2>& z) const {
  attention_.Forward(context, call, x, t.attention);
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(x.size()));
  const View<float, 2> y(frame.Take<float>(x.size()), x.extent);
  gemm::Forward(context, t.attention.out,
                call.parameters.matrix(prefix_ + kAttentionDense + "weight"),
                call.parameters.vector(prefix_ + kAttentionDense + "bias").data, y);
  CopyRows(context, x, t.s1);
  AddDropout(context, OutputSite(call), y, t.s1);
  LayerNormForward(context, Norm(call, kAttentionNorm), t.s1, y);
  CopyRows(context, y, t.s2);
  FeedForwardForward(context, Spec(call), Weights(call), y, t.s2, t.hidden);
  if (!z.empty()) LayerNormForward(context, Norm(call, kOutputNorm), t.s2, z);
}

void LongformerLayer::Backward(Context& context, const LongformerCall& call,
                               const View<const float, 2>& x, const Tensors& t,
                               const View<float, 2>& d) const {
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(x.size()));
  const View<float, 2> y(frame.Take<float>(x.size()), x.extent);
  const View<float, 2> ds(frame.Take<float>(x.size()), x.extent);

  // d: dz, then dy, which is ds2 and what comes through the feed-forward block.
  ZeroRows(context, ds);
  LayerNormBackward(context, Norm(call, kOutputNorm), t.s2, d, ds,
                    NormGradients(call, kOutputNorm));
  CopyRows(context, ds, d);
  LayerNormForward(context, Norm(call, kAttentionNorm), t.s1, y);
  FeedForwardBackwardKept(context, Spec(call), Weights(call), y, t.hidden, ds, d, Gradients(call));

  // d: dx, which is ds1 and what comes through the attention.
  ZeroRows(context, ds);
  LayerNormBackward(context, Norm(call, kAttentionNorm), t.s1, d, ds,
                    NormGradients(call, kAttentionNorm));
  CopyRows(context, ds, d);
  ApplyDropout(context, OutputSite(call), ds);
  gemm::BackwardWeights(context, ds, t.attention.out,
                        call.parameters.matrix_gradient(prefix_ + kAttentionDense + "weight"));
  gemm::BackwardBias(context, ds,
                     call.parameters.vector_gradient(prefix_ + kAttentionDense + "bias").data);
  gemm::BackwardData(context, ds, call.parameters.matrix(prefix_ + kAttentionDense + "weight"), y);
  attention_.Backward(context, call, x, t.attention, y, d);
}

}  // namespace longspan
