#include "model/feed_forward_layer.h"

#include "base/arena.h"
#include "model/residual_branch.h"
#include "model/rows.h"

namespace longspan {
namespace {

enum Site : std::uint64_t { kHidden = 0, kOutput = 1 };

class FeedForward final : public ResidualBranch {
 public:
  FeedForward(const ReformerConfig& config, const std::string& prefix, ParameterTable& parameters)
      : config_(config), prefix_(prefix), activation_(ParseActivation(config.activation)) {
    const idx_t channels = config.hidden_size, hidden = config.feed_forward_size;
    parameters.Add(prefix + "layer_norm.weight", {channels}, ParameterKind::kNormWeight);
    parameters.Add(prefix + "layer_norm.bias", {channels}, ParameterKind::kNormBias);
    parameters.Add(prefix + "dense.dense.weight", {hidden, channels}, ParameterKind::kMatrix);
    parameters.Add(prefix + "dense.dense.bias", {hidden}, ParameterKind::kBias);
    parameters.Add(prefix + "output.dense.weight", {channels, hidden}, ParameterKind::kMatrix);
    parameters.Add(prefix + "output.dense.bias", {channels}, ParameterKind::kBias);
  }

  void Add(Context& context, const BranchCall& call, const View<const float, 2>& x,
           const View<float, 2>& y) const override {
    const FeedForwardLayerWeights w = FeedForwardLayer(config_, prefix_, call.parameters);
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(x.size()));
    const View<float, 2> normed(frame.Take<float>(x.size()), x.extent);
    LayerNormForward(context, w.norm, x, normed);
    FeedForwardForward(context, Spec(call), w.block, normed, y);
  }

  void Reverse(Context& context, const BranchCall& call, const View<const float, 2>& x,
               const View<float, 2>& y, const View<const float, 2>& dy,
               const View<float, 2>& dx) const override {
    const FeedForwardLayerWeights w = FeedForwardLayer(config_, prefix_, call.parameters);
    ParameterTable& table = call.parameters;
    Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(x.size()));
    const View<float, 2> normed(frame.Take<float>(x.size()), x.extent);
    const View<float, 2> dnormed(frame.Take<float>(x.size()), x.extent);
    ZeroRows(context, dnormed);
    LayerNormForward(context, w.norm, x, normed);
    FeedForwardBackward(context, Spec(call), w.block, normed, dy, dnormed,
                        {table.matrix_gradient(prefix_ + "dense.dense.weight"),
                         table.vector_gradient(prefix_ + "dense.dense.bias"),
                         table.matrix_gradient(prefix_ + "output.dense.weight"),
                         table.vector_gradient(prefix_ + "output.dense.bias")},
                        y);
    LayerNormBackward(context, w.norm, x, dnormed, dx,
                      {table.vector_gradient(prefix_ + "layer_norm.weight"),
                       table.vector_gradient(prefix_ + "layer_norm.bias")});
  }

  double ForwardFlop(idx_t rows, idx_t tokens) const override {
    return 4.0 * static_cast<double>(rows * tokens) *
           static_cast<double>(config_.hidden_size * config_.feed_forward_size);
  }
  double BackwardFlop(idx_t rows, idx_t tokens) const override {
    return 2.0 * ForwardFlop(rows, tokens);
  }

 private:
  FeedForwardSpec Spec(const BranchCall& call) const {
    FeedForwardSpec spec;
    spec.activation = activation_;
    if (call.training) {
      const auto p = static_cast<float>(config_.hidden_dropout);
      spec.hidden = {p, DeriveKey(call.dropout_key, kHidden)};
      spec.output = {p, DeriveKey(call.dropout_key, kOutput)};
    }
    return spec;
  }

  ReformerConfig config_;
  std::string prefix_;
  Activation activation_;
};

}  // namespace

FeedForwardLayerWeights FeedForwardLayer(const ReformerConfig& config, const std::string& prefix,
                                         ParameterTable& parameters) {
  return {
      {parameters.vector(prefix + "layer_norm.weight"),
       parameters.vector(prefix + "layer_norm.bias"), static_cast<float>(config.layer_norm_eps)},
      {parameters.matrix(prefix + "dense.dense.weight"),
       parameters.vector(prefix + "dense.dense.bias"),
       parameters.matrix(prefix + "output.dense.weight"),
       parameters.vector(prefix + "output.dense.bias")}};
}

std::unique_ptr<ResidualBranch> MakeFeedForward(const ReformerConfig& config,
                                                const std::string& prefix,
                                                ParameterTable& parameters) {
  return std::make_unique<FeedForward>(config, prefix, parameters);
}

}  // namespace longspan
