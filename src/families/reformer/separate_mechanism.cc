#include "families/reformer/separate_mechanism.h"

#include "families/reformer/separate_views.h"

namespace longspan {
namespace {

class ChunkedMechanism final : public AttentionMechanism {
 public:
  explicit ChunkedMechanism(const ReformerConfig& config) : spec_(LocalSpec(config)) {}

  idx_t Statistics() const override { return kSeparateStatistics; }
  const ChunkedSpec* Chunks() const override { return &spec_; }
  void Forward(Context& context, const MechanismCall& call,
               const AnyAttentionTensors& tensors) const override {
    std::visit(
        [&](const auto& t) {
          ChunkedForward(context, Spec(t.DropoutOf(call.dropout)), SeparateInputs(t), call.mask,
                         SeparateSavedViews(t));
        },
        tensors);
  }
  void Backward(Context& context, const MechanismCall& call, const AnyAttentionTensors& tensors,
                const View<float, 2>& dprojected) const override {
    std::visit(
        [&](const auto& t) {
          ChunkedBackward(context, Spec(t.DropoutOf(call.dropout)), SeparateInputs(t), call.mask,
                          SeparateSavedViews(t), t.DOut(), SeparateGradients(t, dprojected));
        },
        tensors);
  }
  double Pairs(idx_t tokens) const override {
    const idx_t window = (1 + spec_.before + spec_.after) * spec_.chunk;
    return static_cast<double>(tokens) *
           static_cast<double>(tokens <= spec_.chunk ? tokens : window);
  }
  DecodingRule Decoding() const override { return {false, spec_.chunk, spec_.before}; }

 private:
  ChunkedSpec Spec(const ProbabilityDropout& dropout) const {
    ChunkedSpec spec = spec_;
    spec.dropout = dropout;
    return spec;
  }
  ChunkedSpec spec_;
};

class FullMechanism final : public AttentionMechanism {
 public:
  explicit FullMechanism(const ReformerConfig& config) : causal_(config.is_decoder) {}

  idx_t Statistics() const override { return kSeparateStatistics; }
  bool TakesTexts() const override { return true; }
  void Forward(Context& context, const MechanismCall& call,
               const AnyAttentionTensors& tensors) const override {
    std::visit(
        [&](const auto& t) {
          FullForward(context, {causal_, 0.0f, t.DropoutOf(call.dropout), call.starts},
                      SeparateInputs(t), call.mask, SeparateSavedViews(t));
        },
        tensors);
  }
  void Backward(Context& context, const MechanismCall& call, const AnyAttentionTensors& tensors,
                const View<float, 2>& dprojected) const override {
    std::visit(
        [&](const auto& t) {
          FullBackward(context, {causal_, 0.0f, t.DropoutOf(call.dropout), call.starts},
                       SeparateInputs(t), call.mask, SeparateSavedViews(t), t.DOut(),
                       SeparateGradients(t, dprojected));
        },
        tensors);
  }
  double Pairs(idx_t tokens) const override { return FullPairs(tokens, causal_); }
  DecodingRule Decoding() const override { return {}; }

 private:
  bool causal_;
};

}  // namespace

ChunkedSpec LocalSpec(const ReformerConfig& config) {
  ChunkedSpec spec;
  spec.chunk = config.local_chunk;
  spec.before = config.local_before;
  spec.after = config.local_after;
  spec.causal = config.is_decoder;
  return spec;
}

std::unique_ptr<AttentionMechanism> MakeSeparateMechanism(const ReformerConfig& config,
                                                          LayerKind /*kind*/) {
  if (config.attention == AttentionChoice::kFull) return std::make_unique<FullMechanism>(config);
  return std::make_unique<ChunkedMechanism>(config);
}

}  // namespace longspan
