// Layers with a query, a key and a value of their own: Reformer's local layers, and the same
// weights over the whole text.

#include "model/attention_layer.h"

namespace longspan {
namespace {

// The attention's arguments for q, k, v side by side in projected (N, 3 H D).
template <class T>
QkvOf<T> Inputs(const AttentionTensorsOf<T>& t) {
  return {t.Input(0), t.Input(1), t.Input(2)};
}
template <class T>
AttentionSavedOf<T> Saved(const AttentionTensorsOf<T>& t) {
  return {t.Part(t.out, 0), t.first, t.delta};
}
template <class T>
DQkv Gradients(const AttentionTensorsOf<T>& t, const View<float, 2>& dprojected) {
  return {t.Part(dprojected, 0), t.Part(dprojected, 1), t.Part(dprojected, 2)};
}

class ChunkedMechanism final : public MechanismOf<ChunkedMechanism> {
 public:
  explicit ChunkedMechanism(const ReformerConfig& config) : spec_(LocalSpec(config)) {}

  template <class T>
  void Run(Context& context, const BranchCall& call, const Dropout& dropout, bool /*again*/,
           const AttentionTensorsOf<T>& t) const {
    ChunkedForward(context, Spec(t.DropoutOf(dropout)), Inputs(t), call.mask, Saved(t));
  }
  template <class T>
  void RunBack(Context& context, const BranchCall& call, const Dropout& dropout,
               const AttentionTensorsOf<T>& t, const View<float, 2>& dprojected) const {
    const View<const T, 2> dout = t.out;
    ChunkedBackward(context, Spec(t.DropoutOf(dropout)), Inputs(t), call.mask, Saved(t),
                    t.Part(dout, 0), Gradients(t, dprojected));
  }
  double Pairs(idx_t tokens) const override {
    const idx_t window = (1 + spec_.before + spec_.after) * spec_.chunk;
    return static_cast<double>(tokens) *
           static_cast<double>(tokens <= spec_.chunk ? tokens : window);
  }

 private:
  ChunkedSpec Spec(const ProbabilityDropout& dropout) const {
    ChunkedSpec spec = spec_;
    spec.dropout = dropout;
    return spec;
  }
  ChunkedSpec spec_;
};

class FullMechanism final : public MechanismOf<FullMechanism> {
 public:
  explicit FullMechanism(const ReformerConfig& config) : causal_(config.is_decoder) {}

  template <class T>
  void Run(Context& context, const BranchCall& call, const Dropout& dropout, bool /*again*/,
           const AttentionTensorsOf<T>& t) const {
    FullForward(context, {causal_, 0.0f, t.DropoutOf(dropout)}, Inputs(t), call.mask, Saved(t));
  }
  template <class T>
  void RunBack(Context& context, const BranchCall& call, const Dropout& dropout,
               const AttentionTensorsOf<T>& t, const View<float, 2>& dprojected) const {
    const View<const T, 2> dout = t.out;
    FullBackward(context, {causal_, 0.0f, t.DropoutOf(dropout)}, Inputs(t), call.mask, Saved(t),
                 t.Part(dout, 0), Gradients(t, dprojected));
  }
  double Pairs(idx_t tokens) const override { return FullPairs(tokens, causal_); }

 private:
  bool causal_;
};

}  // namespace

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
