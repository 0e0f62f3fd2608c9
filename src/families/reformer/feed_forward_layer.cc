#include "families/reformer/feed_forward_layer.h"

#include <algorithm>

#include "base/arena.h"
#include "base/math.h"
#include "families/reformer/branch_weights.h"
#include "model/feed_forward_parameters.h"
#include "model/norm_layer.h"
#include "model/rows.h"

namespace longspan {
namespace {

// Random sites of the layer, derived from the call's dropout_key.
enum FeedForwardSite : std::uint64_t {
  kHiddenSite = 0,
  kFeedForwardOutputSite = 1,
  kFeedForwardRounding = 2
};

// f (N, C) = dropout(activation(dropout(LayerNorm(x) W1^T + b1)) W2^T + b2), with W1 (F, C) and W2
// (C, F). The text passes slab by slab, so without saved activations nothing is as long as it. A
// frame of each function owns the slabs.
class FeedForward final : public ResidualBranch {
 public:
  FeedForward(const ReformerConfig& config, const std::string& prefix, ParameterTable& parameters)
      : config_(config),
        activation_(ParseActivation(config.activation)),
        norm_(prefix + "layer_norm.", config.hidden_size, config.layer_norm_eps, parameters),
        block_(prefix + "dense.dense.", prefix + "output.dense.", config.hidden_size,
               config.feed_forward_size, parameters) {}

  void Add(Context& context, const BranchCall& call, const ResidualStream& x,
           const ResidualStream& y) const override {
    if (call.bf16 == nullptr) return AddIn<float>(context, call, x, y);
    AddIn<bfloat16>(context, call, x, y);
  }
  void Reverse(Context& context, const BranchCall& call, const ResidualStream& x,
               const ResidualStream& y, const ResidualStream& dy,
               const ResidualStream& dx) const override {
    if (call.bf16 == nullptr) return ReverseIn<float>(context, call, x, y, dy, dx);
    ReverseIn<bfloat16>(context, call, x, y, dy, dx);
  }
  std::size_t SavedBytes(const BranchCall& call) const override {
    return call.bf16 == nullptr ? Saved<float>::Bytes(*this, call)
                                : Saved<bfloat16>::Bytes(*this, call);
  }

  double ForwardFlop(idx_t rows, idx_t tokens) const override {
    return 4.0 * static_cast<double>(rows * tokens) *
           static_cast<double>(config_.hidden_size * config_.feed_forward_size);
  }
  double BackwardFlop(idx_t rows, idx_t tokens) const override {
    return 2.0 * ForwardFlop(rows, tokens);
  }
  idx_t FrozenNumbers(const ParameterTable& parameters) const override {
    return block_.FrozenNumbers(parameters);
  }

 private:
  // The tensors in the call's saved activations.
  template <class T>
  struct Saved {
    View<T, 2> hidden;  // (N, F), before the activation
    View<float, 2> f;   // (N, C), which the forward added to y

    static std::size_t Bytes(const FeedForward& layer, const BranchCall& call) {
      const ReformerConfig& config = layer.config_;
      return Arena::Bytes<T>(call.most() * config.feed_forward_size) +
             Arena::Bytes<float>(call.most() * config.hidden_size);
    }
    Saved(const FeedForward& layer, const BranchCall& call) {
      SavedMemory memory(call.saved);
      const idx_t n = call.own(), F = layer.config_.feed_forward_size;
      const idx_t C = layer.config_.hidden_size;
      hidden = {memory.Take<T>(n * F), {n, F}};
      f = {memory.Take<float>(n * C), {n, C}};
    }
  };

  // work(first token, tokens) for each slab of the text.
  template <class Work>
  void EachSlab(const BranchCall& call, const Work& work) const {
    longspan::EachSlab(call.own(), SlabRows(call), work);
  }
  idx_t SlabRows(const BranchCall& call) const {
    return longspan::SlabRows(call.own(), config_.hidden_size);
  }

  template <class T>
  void AddIn(Context& context, const BranchCall& call, const ResidualStream& x,
             const ResidualStream& y) const {
    const idx_t values = SlabRows(call) * config_.hidden_size;
    const idx_t x_values = x.cells == StreamCells::kF32 ? 0 : values;  // fp32 is read in place
    Arena::Frame frame(context.arena(), Arena::Bytes<T>(values) + Arena::Bytes<float>(x_values));
    T* normed_slab = frame.Take<T>(values);
    float* x_slab = frame.Take<float>(x_values);
    const FeedForwardWeightsOf<T> weights = block_.Weights<T>(call);
    EachSlab(call, [&](idx_t begin, idx_t rows) {
      const View<T, 2> normed(normed_slab, {rows, config_.hidden_size});
      LayerNormForward(context, norm_.Weights(call.parameters),
                       FloatRows(context, x.Rows(begin, rows), x_slab), normed);
      if (call.saved == nullptr) {
        FeedForwardForward(context, Spec(call, begin), weights, normed, y.Rows(begin, rows));
        return;
      }
      const Saved<T> saved(*this, call);
      const View<float, 2> f = saved.f.Rows(begin, rows);
      ZeroRows(context, f);
      FeedForwardForward(context, Spec(call, begin), weights, normed, f,
                         saved.hidden.Rows(begin, rows));
      AddRows(context, f, y.Rows(begin, rows));
    });
  }

  template <class T>
  void ReverseIn(Context& context, const BranchCall& call, const ResidualStream& x,
                 const ResidualStream& y, const ResidualStream& dy,
                 const ResidualStream& dx) const {
    const ParameterTable& table = call.parameters;
    const idx_t values = SlabRows(call) * config_.hidden_size;
    const idx_t x_values = x.cells == StreamCells::kF32 ? 0 : values;  // fp32 is used in place
    const idx_t d_values = dx.cells == StreamCells::kF32 ? 0 : values;
    Arena::Frame frame(context.arena(), Arena::Bytes<T>(values) + Arena::Bytes<float>(values) +
                                            Arena::Bytes<float>(x_values) +
                                            2 * Arena::Bytes<float>(d_values));
    T* normed_slab = frame.Take<T>(values);
    float* dnormed_slab = frame.Take<float>(values);
    float* x_slab = frame.Take<float>(x_values);
    float* dy_slab = frame.Take<float>(d_values);
    float* dx_slab = frame.Take<float>(d_values);
    const FeedForwardWeightsOf<T> weights = block_.Weights<T>(call);
    const FeedForwardGradients gradients = block_.Gradients(table);
    const LayerNormWeights norm = norm_.Weights(table);
    const LayerNormGradients dnorm = norm_.Gradients(table);
    EachSlab(call, [&](idx_t begin, idx_t rows) {
      const View<const float, 2> x_rows = FloatRows(context, x.Rows(begin, rows), x_slab);
      const View<const float, 2> dy_rows = FloatRows(context, dy.Rows(begin, rows), dy_slab);
      const View<T, 2> normed(normed_slab, x_rows.extent);
      const View<float, 2> dnormed(dnormed_slab, x_rows.extent);
      const ResidualStream y_rows = y.Rows(begin, rows);
      ZeroRows(context, dnormed);
      LayerNormForward(context, norm, x_rows, normed);
      if (call.saved == nullptr) {
        FeedForwardBackward(context, Spec(call, begin), weights, normed, dy_rows, dnormed,
                            gradients, y_rows);
      } else {
        const Saved<T> saved(*this, call);
        SubtractRows(context, saved.f.Rows(begin, rows), y_rows);
        FeedForwardBackwardKept(context, Spec(call, begin), weights, normed,
                                saved.hidden.Rows(begin, rows), dy_rows, dnormed, gradients);
      }
      AddToGradient(context, dx.Rows(begin, rows), dx_slab, RoundingSiteOf(call, begin),
                    [&](const View<float, 2>& to) {
                      LayerNormBackward(context, norm, x_rows, dnormed, to, dnorm);
                    });
    });
  }

  // The random bits that round the gradient of the rows from token `begin` on.
  RoundingSite RoundingSiteOf(const BranchCall& call, idx_t begin) const {
    return {DeriveKey(call.dropout_key, kFeedForwardRounding),
            (call.first() + begin) * config_.hidden_size};
  }
  // Of the rows from token `begin` of the streams on.
  FeedForwardSpec Spec(const BranchCall& call, idx_t begin) const {
    FeedForwardSpec spec;
    spec.first = call.first() + begin;
    spec.activation = activation_;
    if (call.training) {
      const auto p = static_cast<float>(config_.hidden_dropout);
      spec.hidden = {p, DeriveKey(call.dropout_key, kHiddenSite)};
      spec.output = {p, DeriveKey(call.dropout_key, kFeedForwardOutputSite)};
    }
    return spec;
  }

  ReformerConfig config_;
  Activation activation_;
  NormLayer norm_;
  FeedForwardParameters block_;
};

}  // namespace

FeedForwardLayerWeights FeedForwardLayer(const ReformerConfig& config, const std::string& prefix,
                                         const ParameterTable& parameters) {
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
