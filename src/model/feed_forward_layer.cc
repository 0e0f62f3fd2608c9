#include "model/feed_forward_layer.h"

#include <algorithm>

#include "base/arena.h"
#include "base/math.h"
#include "model/branch_weights.h"
#include "model/linear.h"
#include "model/norm_layer.h"
#include "model/residual_branch.h"
#include "model/rows.h"

namespace longspan {
namespace {

enum FeedForwardSite : std::uint64_t {
  kHiddenSite = 0,
  kFeedForwardOutputSite = 1,
  kFeedForwardRounding = 2
};

class FeedForward final : public ResidualBranch {
 public:
  FeedForward(const ReformerConfig& config, const std::string& prefix, ParameterTable& parameters)
      : config_(config),
        activation_(ParseActivation(config.activation)),
        norm_(prefix + "layer_norm.", config.hidden_size, config.layer_norm_eps, parameters),
        dense_(prefix + "dense.dense.", config.feed_forward_size, config.hidden_size, parameters),
        output_(prefix + "output.dense.", config.hidden_size, config.feed_forward_size,
                parameters) {}

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
  std::size_t KeptBytes(const BranchCall& call) const override {
    return call.bf16 == nullptr ? Kept<float>::Bytes(*this, call)
                                : Kept<bfloat16>::Bytes(*this, call);
  }

  double ForwardFlop(idx_t rows, idx_t tokens) const override {
    return 4.0 * static_cast<double>(rows * tokens) *
           static_cast<double>(config_.hidden_size * config_.feed_forward_size);
  }
  double BackwardFlop(idx_t rows, idx_t tokens) const override {
    return 2.0 * ForwardFlop(rows, tokens);
  }

 private:
  // Tensors that the forward saves for the backward.
  template <class T>
  struct Kept {
    View<T, 2> hidden;  // (N, F), before the activation
    View<float, 2> f;   // (N, C): what was added

    static std::size_t Bytes(const FeedForward& layer, const BranchCall& call) {
      const ReformerConfig& config = layer.config_;
      return Arena::Bytes<T>(call.n() * config.feed_forward_size) +
             Arena::Bytes<float>(call.n() * config.hidden_size);
    }
    Kept(const FeedForward& layer, const BranchCall& call) {
      KeptMemory memory(call.kept);
      const idx_t n = call.n(), F = layer.config_.feed_forward_size;
      const idx_t C = layer.config_.hidden_size;
      hidden = {memory.Take<T>(n * F), {n, F}};
      f = {memory.Take<float>(n * C), {n, C}};
    }
  };

  template <class T>
  FeedForwardWeightsOf<T> Weights(const BranchCall& call) const {
    return {WeightOf<T>(call, dense_.weight()), call.parameters.vector(dense_.bias()),
            WeightOf<T>(call, output_.weight()), call.parameters.vector(output_.bias())};
  }

  // work(first token, tokens) for slabs of the text: nothing as long as the streams is needed.
  template <class Work>
  void EachSlab(const BranchCall& call, const Work& work) const {
    longspan::EachSlab(call.n(), SlabRows(call), work);
  }
  idx_t SlabRows(const BranchCall& call) const {
    return longspan::SlabRows(call.n(), config_.hidden_size);
  }

  template <class T>
  void AddIn(Context& context, const BranchCall& call, const ResidualStream& x,
             const ResidualStream& y) const {
    const idx_t slab = SlabRows(call) * config_.hidden_size;
    const idx_t x_slab = x.cells == StreamCells::kF32 ? 0 : slab;  // fp32 is read where it lies
    Arena::Frame frame(context.arena(), Arena::Bytes<T>(slab) + Arena::Bytes<float>(x_slab));
    T* room = frame.Take<T>(slab);
    float* x_room = frame.Take<float>(x_slab);
    const FeedForwardWeightsOf<T> weights = Weights<T>(call);
    EachSlab(call, [&](idx_t begin, idx_t rows) {
      const View<T, 2> normed(room, {rows, config_.hidden_size});
      LayerNormForward(context, norm_.Weights(call.parameters),
                       FloatRows(context, x.Rows(begin, rows), x_room), normed);
      if (call.kept == nullptr) {
        FeedForwardForward(context, Spec(call, begin), weights, normed, y.Rows(begin, rows));
        return;
      }
      const Kept<T> kept(*this, call);
      const View<float, 2> f = kept.f.Rows(begin, rows);
      ZeroRows(context, f);
      FeedForwardForward(context, Spec(call, begin), weights, normed, f,
                         kept.hidden.Rows(begin, rows));
      AddRows(context, f, y.Rows(begin, rows));
    });
  }

  template <class T>
  void ReverseIn(Context& context, const BranchCall& call, const ResidualStream& x,
                 const ResidualStream& y, const ResidualStream& dy,
                 const ResidualStream& dx) const {
    const ParameterTable& table = call.parameters;
    const idx_t slab = SlabRows(call) * config_.hidden_size;
    const idx_t x_slab = x.cells == StreamCells::kF32 ? 0 : slab;  // fp32 is used where it lies
    const idx_t dslab = dx.cells == StreamCells::kF32 ? 0 : slab;
    Arena::Frame frame(context.arena(), Arena::Bytes<T>(slab) + Arena::Bytes<float>(slab) +
                                            Arena::Bytes<float>(x_slab) +
                                            2 * Arena::Bytes<float>(dslab));
    T* normed_room = frame.Take<T>(slab);
    float* dnormed_room = frame.Take<float>(slab);
    float* x_room = frame.Take<float>(x_slab);
    float* dy_room = frame.Take<float>(dslab);
    float* dx_room = frame.Take<float>(dslab);
    const FeedForwardWeightsOf<T> weights = Weights<T>(call);
    const FeedForwardGradients gradients = {
        table.matrix_gradient(dense_.weight()), table.vector_gradient(dense_.bias()),
        table.matrix_gradient(output_.weight()), table.vector_gradient(output_.bias())};
    const LayerNormGradients dnorm = norm_.Gradients(table);
    EachSlab(call, [&](idx_t begin, idx_t rows) {
      const View<const float, 2> part = FloatRows(context, x.Rows(begin, rows), x_room);
      const View<const float, 2> dpart = FloatRows(context, dy.Rows(begin, rows), dy_room);
      const View<T, 2> normed(normed_room, part.extent);
      const View<float, 2> dnormed(dnormed_room, part.extent);
      const ResidualStream undone = y.Rows(begin, rows);
      ZeroRows(context, dnormed);
      LayerNormForward(context, norm_.Weights(call.parameters), part, normed);
      if (call.kept == nullptr) {
        FeedForwardBackward(context, Spec(call, begin), weights, normed, dpart, dnormed, gradients,
                            undone);
      } else {
        const Kept<T> kept(*this, call);
        SubtractRows(context, kept.f.Rows(begin, rows), undone);
        FeedForwardBackwardKept(context, Spec(call, begin), weights, normed,
                                kept.hidden.Rows(begin, rows), dpart, dnormed, gradients);
      }
      AddToGradient(context, dx.Rows(begin, rows), dx_room, RoundingSiteOf(call, begin),
                    [&](const View<float, 2>& to) {
                      LayerNormBackward(context, norm_.Weights(call.parameters), part, dnormed, to,
                                        dnorm);
                    });
    });
  }

  // The random bits for rounding the gradient of the rows from token `begin` on.
  RoundingSite RoundingSiteOf(const BranchCall& call, idx_t begin) const {
    return {DeriveKey(call.dropout_key, kFeedForwardRounding), begin * config_.hidden_size};
  }
  FeedForwardSpec Spec(const BranchCall& call, idx_t first) const {
    FeedForwardSpec spec;
    spec.first = first;
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
  Linear dense_, output_;
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
