// An encoder (a Longformer, a ModernBERT) as a TextModel. The Traits of a family are
//   Model               the encoder: Encode, Logits, Loss, LossAndGradients, ComputeIn, ...
//   Settings            its configuration
//   Info(settings)      what tasks ask of it
//   Json(settings)      its config.json
//   Config(settings)    as a ModelConfig
//   Entries(model)      its tensors with their names
//   Save(model, directory)
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "model/encoder_step.h"
#include "model/model_config.h"
#include "model/step_memory.h"
#include "model/step_needs.h"
#include "model/text_model.h"
#include "world/row_group.h"

namespace longspan {

template <class Traits>
class EncoderTextModel final : public TextModel {
 public:
  using Model = typename Traits::Model;

  explicit EncoderTextModel(Model model)
      : model_(std::move(model)), info_(Traits::Info(model_.config())) {}

  const TextModelInfo& info() const override { return info_; }
  ParameterTable& parameters() override { return model_.parameters(); }
  const ParameterTable& parameters() const override { return model_.parameters(); }
  void Initialise(std::uint64_t seed,
                  const std::function<bool(std::string_view name)>& which) override {
    model_.Initialise(seed, which);
  }
  void ComputeIn(DType dtype) override { model_.ComputeIn(dtype); }
  void Follow(const StepPolicy& policy) override {
    Check(policy.gradient_streams == DType::kF32, ErrorCode::kUsage,
          "gradient-streams: a {} has none; leave --gradient-streams out", info_.title);
    recomputed_ = std::min(policy.recompute, model_.config().layers());
    model_.ComputeIn(policy.compute, policy.copies);
  }
  void FitInto(std::size_t bytes, idx_t rows, idx_t tokens, const StepPolicy& run) override {
    StepPolicy policy = run;
    policy.compute = model_.computes_in();
    policy.frozen = FrozenIn(model_.parameters());
    Follow(Traits::Config(model_.config())->Fit(rows, tokens, bytes, policy, 0));
  }
  void AgreeOnSteps(RowGroup& group) override {
    recomputed_ = static_cast<std::size_t>(group.Max(static_cast<double>(recomputed_)));
  }
  void Recompute() override {
    recomputed_ = model_.config().layers();
    model_.ComputeIn(model_.computes_in(), LayerCopies::kInTurn);
  }

  void Encode(Context& context, const BatchView& batch,
              const View<float, 2>& hidden) const override {
    model_.Encode(context, batch, hidden);
  }
  Tensor Logits(Context& context, const BatchView& batch,
                const View<const float, 2>& hidden) const override {
    return model_.Logits(context, batch, hidden);
  }
  Tensor LogitsOfTexts(Context& context, const BatchView& batch) const override {
    return model_.LogitsOfTexts(context, batch);
  }
  HeadLoss Loss(Context& context, const BatchView& batch) const override {
    return model_.Loss(context, batch);
  }
  HeadLoss LossAndGradients(Context& context, const BatchView& batch, float scale,
                            const StepDropout& dropout) override {
    EncoderStep step = StepWith(dropout);
    step.scale = scale;
    return model_.LossAndGradients(context, batch, step);
  }
  Tensor LogitsInStep(Context& context, const BatchView& batch,
                      const StepDropout& dropout) override {
    return model_.LogitsOfTexts(context, batch, dropout);
  }
  void EncodeInStep(Context& context, const BatchView& batch, const StepDropout& dropout,
                    const View<float, 2>& hidden) override {
    model_.Encode(context, batch, hidden, {}, dropout);
  }
  void EncodeGradients(Context& context, const BatchView& batch,
                       const View<const float, 2>& dhidden, const StepDropout& dropout) override {
    model_.CotangentGradients(context, batch, dhidden, StepWith(dropout));
  }

  double ForwardGflop(const BatchView& batch) const override { return model_.ForwardGflop(batch); }
  double StepGflop(const BatchView& batch) const override { return model_.StepGflop(batch); }
  StepMemory MemoryOfStep(idx_t /*rows*/, idx_t /*tokens*/) const override {
    StepMemory memory;
    memory.copies = model_.CopiedBytes();
    return memory;
  }

  std::string ConfigText() const override { return Traits::Json(model_.config()); }
  std::vector<io::TensorEntry> Weights() const override { return Traits::Entries(model_); }
  void Save(const std::filesystem::path& directory) const override {
    Traits::Save(model_, directory);
  }

 private:
  EncoderStep StepWith(const StepDropout& dropout) const {
    EncoderStep step;
    step.dropout = dropout;
    step.recompute.assign(model_.config().layers(), false);
    std::fill_n(step.recompute.begin(), recomputed_, true);
    return step;
  }

  Model model_;
  TextModelInfo info_;
  std::size_t recomputed_ = 0;  // layers
};

}  // namespace longspan
