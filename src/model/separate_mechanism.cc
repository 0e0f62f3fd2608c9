// Layers with a query, a key and a value of their own: Reformer's local layers, and the same
// weights over the whole text.

#include "model/attention_layer.h"

namespace longspan {
namespace {

// The attention's arguments for q, k, v side by side in projected (N, 3A).
Qkv Inputs(const AttentionTensors& t) { return {t.Input(0), t.Input(1), t.Input(2)}; }
AttentionSaved Saved(const AttentionTensors& t) { return {t.Part(t.out, 0), t.first}; }
DQkv Gradients(const AttentionTensors& t, const View<float, 2>& dprojected) {
  return {t.Part(dprojected, 0), t.Part(dprojected, 1), t.Part(dprojected, 2)};
}

class ChunkedMechanism final : public AttentionMechanism {
 public:
  explicit ChunkedMechanism(const ReformerConfig& config) : spec_(LocalSpec(config)) {}

  void Forward(Context& context, const BranchCall& call, const Dropout& dropout, bool,
               const AttentionTensors& t) const override {
    ChunkedForward(context, Spec(dropout), Inputs(t), call.mask, Saved(t));
  }
  void Backward(Context& context, const BranchCall& call, const Dropout& dropout,
                const AttentionTensors& t, const View<const float, 2>& dout,
                const View<float, 2>& dprojected) const override {
    ChunkedBackward(context, Spec(dropout), Inputs(t), call.mask, Saved(t), t.Part(dout, 0),
                    Gradients(t, dprojected));
  }
  double Pairs(idx_t tokens) const override {
    const idx_t window = (1 + spec_.before + spec_.after) * spec_.chunk;
    return static_cast<double>(tokens) *
           static_cast<double>(tokens <= spec_.chunk ? tokens : window);
  }

 private:
  ChunkedSpec Spec(const Dropout& dropout) const {
    ChunkedSpec spec = spec_;
    spec.dropout = {dropout.p, dropout.key};
    return spec;
  }
  ChunkedSpec spec_;
};

class FullMechanism final : public AttentionMechanism {
 public:
  explicit FullMechanism(const ReformerConfig& config) : causal_(config.is_decoder) {}

  void Forward(Context& context, const BranchCall& call, const Dropout& dropout, bool,
               const AttentionTensors& t) const override {
    FullForward(context, Spec(dropout), Inputs(t), call.mask, Saved(t));
  }
  void Backward(Context& context, const BranchCall& call, const Dropout& dropout,
                const AttentionTensors& t, const View<const float, 2>& dout,
                const View<float, 2>& dprojected) const override {
    FullBackward(context, Spec(dropout), Inputs(t), call.mask, Saved(t), t.Part(dout, 0),
                 Gradients(t, dprojected));
  }
  double Pairs(idx_t tokens) const override { return FullPairs(tokens, causal_); }

 private:
  FullSpec Spec(const Dropout& dropout) const { return FullAttentionSpec(causal_, dropout); }
  bool causal_;
};

}  // namespace

FullSpec FullAttentionSpec(bool causal, const Dropout& dropout) {
  FullSpec spec;
  spec.causal = causal;
  spec.dropout = {dropout.p, dropout.key};
  return spec;
}

double FullPairs(idx_t tokens, bool causal) {
  const auto n = static_cast<double>(tokens);
  return causal ? n * (n + 1.0) / 2.0 : n * n;
}

ChunkedSpec LocalSpec(const ReformerConfig& config) {
  ChunkedSpec spec;
  spec.chunk = config.local_chunk;
  spec.before = config.local_before;
  spec.after = config.local_after;
  spec.causal = config.is_decoder;
  return spec;
}

std::unique_ptr<AttentionMechanism> MakeSeparateMechanism(const ReformerConfig& config) {
  if (config.attention == AttentionChoice::kFull) return std::make_unique<FullMechanism>(config);
  return std::make_unique<ChunkedMechanism>(config);
}

}  // namespace longspan
