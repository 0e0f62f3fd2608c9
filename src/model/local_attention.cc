#include "model/local_attention.h"

#include <algorithm>

#include "base/arena.h"
#include "gemm/gemm.h"
#include "model/residual_branch.h"
#include "ops/dropout/dropout.h"

namespace longspan {
namespace {

// Dropout sites of the layer.
enum Site : std::uint64_t { kProbabilities = 0, kOutput = 1 };

constexpr float kZero = 0.0f;

// Everything that lives between the projections: n (N, C), qkv (N, 3A), out (N, A), lse (B, H, T).
class Activations {
 public:
  Activations(Arena::Frame& frame, const ReformerConfig& config, idx_t rows, idx_t tokens)
      : rows_(rows), tokens_(tokens), heads_(config.heads), head_size_(config.head_size) {
    const idx_t n = rows * tokens, width = config.width();
    normed = {frame.Take<float>(n * config.hidden_size), {n, config.hidden_size}};
    qkv = {frame.Take<float>(n * 3 * width), {n, 3 * width}};
    out = {frame.Take<float>(n * width), {n, width}};
    lse = {frame.Take<float>(n * config.heads), {rows, config.heads, tokens}};
  }
  static std::size_t Bytes(const ReformerConfig& config, idx_t n) {
    return Arena::Bytes<float>(n * config.hidden_size) +
           Arena::Bytes<float>(n * 3 * config.width()) + Arena::Bytes<float>(n * config.width()) +
           Arena::Bytes<float>(n * config.heads);
  }

  // Columns [column, column + A) of a (N, stride) matrix as heads: (B, H, T, D).
  template <class T>
  View<T, 4> Heads(T* base, idx_t stride) const {
    return {base, {rows_, heads_, tokens_, head_size_}, {tokens_ * stride, head_size_, stride, 1}};
  }
  template <class T>
  void Split(const View<T, 2>& joined, View<T, 4>* q, View<T, 4>* k, View<T, 4>* v) const {
    const idx_t width = heads_ * head_size_;
    *q = Heads(joined.data, 3 * width);
    *k = Heads(joined.data + width, 3 * width);
    *v = Heads(joined.data + 2 * width, 3 * width);
  }
  Qkv Inputs() const {
    Qkv inputs;
    Split(View<const float, 2>(qkv), &inputs.q, &inputs.k, &inputs.v);
    return inputs;
  }
  AttentionSaved Saved() const { return {Heads(out.data, heads_ * head_size_), lse}; }

  View<float, 2> normed, qkv, out;
  View<float, 3> lse;

 private:
  idx_t rows_, tokens_, heads_, head_size_;
};

class LocalAttention final : public ResidualBranch {
 public:
  LocalAttention(const ReformerConfig& config, const std::string& prefix,
                 ParameterTable& parameters)
      : config_(config), prefix_(prefix) {
    const idx_t channels = config.hidden_size, width = config.width();
    const std::string attention = prefix + "self_attention.";
    parameters.Add(prefix + "layer_norm.weight", {channels}, ParameterKind::kNormWeight);
    parameters.Add(prefix + "layer_norm.bias", {channels}, ParameterKind::kNormBias);
    parameters.Add(attention + "query.weight", {width, channels}, ParameterKind::kMatrix);
    parameters.Add(attention + "key.weight", {width, channels}, ParameterKind::kMatrix, false);
    parameters.Add(attention + "value.weight", {width, channels}, ParameterKind::kMatrix, false);
    parameters.Add(prefix + "output.dense.weight", {channels, width}, ParameterKind::kMatrix);
  }

  void Add(Context& context, const BranchCall& call, const View<const float, 2>& x,
           const View<float, 2>& y) const override {
    const idx_t n = call.rows * call.tokens;
    Arena::Frame frame(context.arena(),
                       Activations::Bytes(config_, n) + Arena::Bytes<float>(y.size()));
    const Activations a(frame, config_, call.rows, call.tokens);
    const View<float, 2> projected(frame.Take<float>(y.size()), y.extent);
    Attend(context, call, x, a);
    Project(context, call, a, projected);
    AddDropout(context, OutputSite(call), projected, y);
  }

  void Reverse(Context& context, const BranchCall& call, const View<const float, 2>& x,
               const View<float, 2>& y, const View<const float, 2>& dy,
               const View<float, 2>& dx) const override {
    const idx_t n = call.rows * call.tokens, width = config_.width();
    Arena::Frame frame(context.arena(),
                       Activations::Bytes(config_, n) + Arena::Bytes<float>(dy.size()) +
                           Arena::Bytes<float>(n * width) + Arena::Bytes<float>(n * 3 * width));
    const Activations a(frame, config_, call.rows, call.tokens);
    const View<float, 2> projected(frame.Take<float>(dy.size()), dy.extent);
    const View<float, 2> dout(frame.Take<float>(n * width), {n, width});
    const View<float, 2> dqkv(frame.Take<float>(n * 3 * width), {n, 3 * width});
    Attend(context, call, x, a);
    Project(context, call, a, projected);
    SubtractDropout(context, OutputSite(call), projected, y);
    ProjectBackward(context, call, a, dy, projected, dout);
    AttendBackward(context, call, a, dout, dqkv);
    // projected is free again: it takes the gradient of the normalised input.
    InputBackward(context, call, x, a, dqkv, projected, dx);
  }

  double ForwardFlop(idx_t rows, idx_t tokens) const override {
    return ProjectionFlop(rows, tokens) + 4.0 * PairsTimesSize(rows, tokens);
  }
  double BackwardFlop(idx_t rows, idx_t tokens) const override {
    return 2.0 * ProjectionFlop(rows, tokens) + 10.0 * PairsTimesSize(rows, tokens);
  }

 private:
  ChunkedSpec Spec(const BranchCall& call) const {
    ChunkedSpec spec = LocalSpec(config_);
    if (call.training) {
      spec.dropout = {static_cast<float>(config_.local_dropout),
                      DeriveKey(call.dropout_key, kProbabilities)};
    }
    return spec;
  }
  Dropout OutputSite(const BranchCall& call) const {
    if (!call.training) return {};
    return {static_cast<float>(config_.hidden_dropout), DeriveKey(call.dropout_key, kOutput)};
  }

  // a.out = attention(LayerNorm(x)).
  void Attend(Context& context, const BranchCall& call, const View<const float, 2>& x,
              const Activations& a) const {
    const LocalAttentionWeights w = LocalWeights(config_, prefix_, call.parameters);
    LayerNormForward(context, w.norm, x, a.normed);
    gemm::Forward(context, a.normed, w.qkv, nullptr, a.qkv);
    ChunkedForward(context, Spec(call), a.Inputs(), call.mask, a.Saved());
  }

  // projected = a.out Wo^T.
  void Project(Context& context, const BranchCall& call, const Activations& a,
               const View<float, 2>& projected) const {
    gemm::Forward(context, a.out, LocalWeights(config_, prefix_, call.parameters).output, nullptr,
                  projected);
  }

  // projected = a.out Wo^T backward: dout from dy; `dropped` is scratch for dy behind dropout.
  void ProjectBackward(Context& context, const BranchCall& call, const Activations& a,
                       const View<const float, 2>& dy, const View<float, 2>& dropped,
                       const View<float, 2>& dout) const {
    View<const float, 2> dprojected = dy;
    if (const Dropout site = OutputSite(call); site.active()) {
      std::fill_n(dropped.data, dropped.size(), kZero);
      AddDropout(context, site, dy, dropped);
      dprojected = dropped;
    }
    gemm::BackwardWeights(context, dprojected, a.out,
                          call.parameters.matrix_gradient(prefix_ + "output.dense.weight"));
    gemm::BackwardData(context, dprojected, LocalWeights(config_, prefix_, call.parameters).output,
                       dout);
  }

  void AttendBackward(Context& context, const BranchCall& call, const Activations& a,
                      const View<const float, 2>& dout, const View<float, 2>& dqkv) const {
    std::fill_n(dqkv.data, dqkv.size(), kZero);
    DQkv gradients;
    a.Split(dqkv, &gradients.dq, &gradients.dk, &gradients.dv);
    ChunkedBackward(context, Spec(call), a.Inputs(), call.mask, a.Saved(),
                    a.Heads(dout.data, config_.width()), gradients);
  }

  void InputBackward(Context& context, const BranchCall& call, const View<const float, 2>& x,
                     const Activations& a, const View<const float, 2>& dqkv,
                     const View<float, 2>& dnormed, const View<float, 2>& dx) const {
    const LocalAttentionWeights w = LocalWeights(config_, prefix_, call.parameters);
    gemm::BackwardWeights(context, dqkv, a.normed,
                          call.parameters.matrix_gradient(prefix_ + "self_attention.query.weight",
                                                          3 * config_.width()));
    gemm::BackwardData(context, dqkv, w.qkv, dnormed);
    LayerNormBackward(context, w.norm, x, dnormed, dx,
                      {call.parameters.vector_gradient(prefix_ + "layer_norm.weight"),
                       call.parameters.vector_gradient(prefix_ + "layer_norm.bias")});
  }

  double ProjectionFlop(idx_t rows, idx_t tokens) const {
    return 8.0 * static_cast<double>(rows * tokens) *
           static_cast<double>(config_.hidden_size * config_.width());
  }
  // Keys of the window, counted whole, times D, over all queries and heads.
  double PairsTimesSize(idx_t rows, idx_t tokens) const {
    const idx_t chunks = 1 + config_.local_before + config_.local_after;
    const idx_t window = tokens <= config_.local_chunk ? tokens : chunks * config_.local_chunk;
    return static_cast<double>(rows * tokens) * static_cast<double>(window * config_.width());
  }

  ReformerConfig config_;
  std::string prefix_;
};

}  // namespace

LocalAttentionWeights LocalWeights(const ReformerConfig& config, const std::string& prefix,
                                   ParameterTable& parameters) {
  return {
      {parameters.vector(prefix + "layer_norm.weight"),
       parameters.vector(prefix + "layer_norm.bias"), static_cast<float>(config.layer_norm_eps)},
      parameters.matrix(prefix + "self_attention.query.weight", 3 * config.width()),
      parameters.matrix(prefix + "output.dense.weight")};
}

ChunkedSpec LocalSpec(const ReformerConfig& config) {
  ChunkedSpec spec;
  spec.chunk = config.local_chunk;
  spec.before = config.local_before;
  spec.after = config.local_after;
  spec.causal = config.is_decoder;
  return spec;
}

std::unique_ptr<ResidualBranch> MakeLocalAttention(const ReformerConfig& config,
                                                   const std::string& prefix,
                                                   ParameterTable& parameters) {
  return std::make_unique<LocalAttention>(config, prefix, parameters);
}

}  // namespace longspan
