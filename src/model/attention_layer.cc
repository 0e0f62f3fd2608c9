#include "model/attention_layer.h"

#include <vector>

#include "base/arena.h"
#include "gemm/gemm.h"
#include "model/documents.h"
#include "model/rows.h"
#include "ops/dropout/dropout.h"

namespace longspan {
namespace {

// Dropout sites of the layer.
enum Site : std::uint64_t { kProbabilities = 0, kOutput = 1 };

// The projections of a kind of layer, in the order of their rows.
std::vector<std::string> ProjectionNames(LayerKind kind) {
  if (kind == LayerKind::kLocal) return {"query", "key", "value"};
  return {"query_key", "value"};
}

// Everything that lives between the streams: normed (N, C) and the attention's tensors.
struct Activations {
  Activations(Arena::Frame& frame, const ReformerConfig& config, idx_t projections, idx_t rows,
              idx_t tokens) {
    const idx_t n = rows * tokens, width = config.width();
    const std::array<idx_t, 3> row = {rows, config.heads, tokens};
    normed = {frame.Take<float>(n * config.hidden_size), {n, config.hidden_size}};
    attention.rows = rows;
    attention.tokens = tokens;
    attention.heads = config.heads;
    attention.head_size = config.head_size;
    attention.projected = {frame.Take<float>(n * projections * width), {n, projections * width}};
    attention.out = {frame.Take<float>(n * width), {n, width}};
    attention.first = {frame.Take<float>(n * config.heads), row};
    attention.second = {frame.Take<float>(n * config.heads), row};
  }
  static std::size_t Bytes(const ReformerConfig& config, idx_t projections, idx_t n) {
    return Arena::Bytes<float>(n * config.hidden_size) +
           Arena::Bytes<float>(n * projections * config.width()) +
           Arena::Bytes<float>(n * config.width()) + 2 * Arena::Bytes<float>(n * config.heads);
  }

  View<float, 2> normed;
  AttentionTensors attention;
};

class AttentionLayer final : public ResidualBranch {
 public:
  AttentionLayer(const ReformerConfig& config, LayerKind kind, const std::string& prefix,
                 std::unique_ptr<AttentionMechanism> mechanism, ParameterTable& parameters)
      : config_(config),
        kind_(kind),
        prefix_(prefix),
        mechanism_(std::move(mechanism)),
        projections_(static_cast<idx_t>(ProjectionNames(kind).size())) {
    const idx_t channels = config.hidden_size, width = config.width();
    parameters.Add(prefix + "layer_norm.weight", {channels}, ParameterKind::kNormWeight);
    parameters.Add(prefix + "layer_norm.bias", {channels}, ParameterKind::kNormBias);
    for (const std::string& name : ProjectionNames(kind)) {
      parameters.Add(prefix + "self_attention." + name + ".weight", {width, channels},
                     ParameterKind::kMatrix, name == ProjectionNames(kind).front());
    }
    parameters.Add(prefix + "output.dense.weight", {channels, width}, ParameterKind::kMatrix);
  }

  void Add(Context& context, const BranchCall& call, const View<const float, 2>& x,
           const View<float, 2>& y) const override {
    const idx_t n = call.rows * call.tokens;
    Arena::Frame frame(context.arena(), Activations::Bytes(config_, projections_, n) +
                                            Arena::Bytes<float>(y.size()));
    const Activations a(frame, config_, projections_, call.rows, call.tokens);
    const View<float, 2> mixed(frame.Take<float>(y.size()), y.extent);
    Attend(context, call, x, false, a);
    if (call.observer != nullptr) (*call.observer)(call.layer, a.attention);
    gemm::Forward(context, a.attention.out, Weights(call).output, nullptr, mixed);
    AddDropout(context, OutputSite(call), mixed, y);
  }

  void Reverse(Context& context, const BranchCall& call, const View<const float, 2>& x,
               const View<float, 2>& y, const View<const float, 2>& dy,
               const View<float, 2>& dx) const override {
    const idx_t n = call.rows * call.tokens, width = config_.width();
    Arena::Frame frame(context.arena(), Activations::Bytes(config_, projections_, n) +
                                            Arena::Bytes<float>(dy.size()) +
                                            Arena::Bytes<float>(n * width) +
                                            Arena::Bytes<float>(n * projections_ * width));
    const Activations a(frame, config_, projections_, call.rows, call.tokens);
    const View<float, 2> mixed(frame.Take<float>(dy.size()), dy.extent);
    const View<float, 2> dout(frame.Take<float>(n * width), {n, width});
    const View<float, 2> dprojected(frame.Take<float>(n * projections_ * width),
                                    {n, projections_ * width});
    Attend(context, call, x, true, a);
    gemm::Forward(context, a.attention.out, Weights(call).output, nullptr, mixed);
    SubtractDropout(context, OutputSite(call), mixed, y);
    OutputBackward(context, call, a, dy, mixed, dout);
    ZeroRows(context, dprojected);
    mechanism_->Backward(context, call, ProbabilitySite(call), a.attention, dout, dprojected);
    // mixed is free again: it takes the gradient of the normalised input.
    InputBackward(context, call, x, a, dprojected, mixed, dx);
  }

  double ForwardFlop(idx_t rows, idx_t tokens) const override {
    return ProjectionFlop(rows, tokens) + 4.0 * PairsTimesSize(rows, tokens);
  }
  double BackwardFlop(idx_t rows, idx_t tokens) const override {
    return 2.0 * ProjectionFlop(rows, tokens) + 10.0 * PairsTimesSize(rows, tokens);
  }

 private:
  AttentionWeights Weights(const BranchCall& call) const {
    return AttentionLayerWeights(config_, kind_, prefix_, call.parameters);
  }
  Dropout ProbabilitySite(const BranchCall& call) const {
    if (!call.training) return {};
    const double p = kind_ == LayerKind::kLocal ? config_.local_dropout : config_.lsh_dropout;
    return {static_cast<float>(p), DeriveKey(call.dropout_key, kProbabilities)};
  }
  Dropout OutputSite(const BranchCall& call) const {
    if (!call.training) return {};
    return {static_cast<float>(config_.hidden_dropout), DeriveKey(call.dropout_key, kOutput)};
  }

  // a.attention.out = attention(LayerNorm(x)).
  void Attend(Context& context, const BranchCall& call, const View<const float, 2>& x, bool again,
              const Activations& a) const {
    const AttentionWeights w = Weights(call);
    LayerNormForward(context, w.norm, x, a.normed);
    gemm::Forward(context, a.normed, w.projections, nullptr, a.attention.projected);
    mechanism_->Forward(context, call, ProbabilitySite(call), again, a.attention);
  }

  // mixed = out Wo^T backward: dout from dy; `dropped` is scratch for dy behind dropout.
  void OutputBackward(Context& context, const BranchCall& call, const Activations& a,
                      const View<const float, 2>& dy, const View<float, 2>& dropped,
                      const View<float, 2>& dout) const {
    View<const float, 2> dmixed = dy;
    if (const Dropout site = OutputSite(call); site.active()) {
      ZeroRows(context, dropped);
      AddDropout(context, site, dy, dropped);
      dmixed = dropped;
    }
    gemm::BackwardWeights(context, dmixed, a.attention.out,
                          call.parameters.matrix_gradient(prefix_ + "output.dense.weight"));
    gemm::BackwardData(context, dmixed, Weights(call).output, dout);
  }

  void InputBackward(Context& context, const BranchCall& call, const View<const float, 2>& x,
                     const Activations& a, const View<const float, 2>& dprojected,
                     const View<float, 2>& dnormed, const View<float, 2>& dx) const {
    const AttentionWeights w = Weights(call);
    const std::string first =
        prefix_ + "self_attention." + ProjectionNames(kind_).front() + ".weight";
    gemm::BackwardWeights(context, dprojected, a.normed,
                          call.parameters.matrix_gradient(first, projections_ * config_.width()));
    gemm::BackwardData(context, dprojected, w.projections, dnormed);
    LayerNormBackward(context, w.norm, x, dnormed, dx,
                      {call.parameters.vector_gradient(prefix_ + "layer_norm.weight"),
                       call.parameters.vector_gradient(prefix_ + "layer_norm.bias")});
  }

  double ProjectionFlop(idx_t rows, idx_t tokens) const {
    return 2.0 * static_cast<double>(projections_ + 1) * static_cast<double>(rows * tokens) *
           static_cast<double>(config_.hidden_size * config_.width());
  }
  // Pairs times D, over all heads and rows.
  double PairsTimesSize(idx_t rows, idx_t tokens) const {
    return static_cast<double>(rows * config_.width()) * mechanism_->Pairs(tokens);
  }

  ReformerConfig config_;
  LayerKind kind_;
  std::string prefix_;
  std::unique_ptr<AttentionMechanism> mechanism_;
  idx_t projections_;
};

}  // namespace

AttentionWeights AttentionLayerWeights(const ReformerConfig& config, LayerKind kind,
                                       const std::string& prefix, ParameterTable& parameters) {
  const auto names = ProjectionNames(kind);
  return {
      {parameters.vector(prefix + "layer_norm.weight"),
       parameters.vector(prefix + "layer_norm.bias"), static_cast<float>(config.layer_norm_eps)},
      parameters.matrix(prefix + "self_attention." + names.front() + ".weight",
                        static_cast<idx_t>(names.size()) * config.width()),
      parameters.matrix(prefix + "output.dense.weight")};
}

std::unique_ptr<ResidualBranch> MakeAttention(const ReformerConfig& config, LayerKind kind,
                                              const std::string& prefix,
                                              ParameterTable& parameters) {
  return std::make_unique<AttentionLayer>(
      config, kind, prefix,
      ByDocument(kind == LayerKind::kLocal ? MakeSeparateMechanism(config)
                                           : MakeSharedMechanism(config)),
      parameters);
}

}  // namespace longspan
