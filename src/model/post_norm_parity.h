// A BERT, a RoBERTa or a Longformer (model/post_norm_encoder.h) against a recorded case.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/parity_inputs.h"

namespace longspan {

template <class Encoder>
class PostNormCase {
 public:
  PostNormCase(Context& context, ParityCase& recorded, Encoder& model, const ParityInputs& inputs)
      : context_(context), case_(recorded), model_(model), inputs_(inputs), batch_(inputs.batch) {}
  virtual ~PostNormCase() = default;

  ParityReport Run() {
    case_.CheckKnown(model_.parameters(), [&](const std::string& name) { return Known(name); });
    Outputs();
    Gradients();
    return case_.Finish();
  }

 protected:
  using Observer = typename Encoder::Attention::Observer;

  // Called for each layer, to compare its attention.
  virtual Observer Attentions() = 0;
  virtual bool Known(const std::string& name) const {
    if (IsEncoderTensor(model_.config().head, model_.config().layers(), name)) return true;
    const bool bare = model_.config().head == HeadKind::kNone;
    return bare && name == "expected.pooler_output" && model_.config().has_pooler();
  }

  Context& context_;
  ParityCase& case_;
  Encoder& model_;

 private:
  void Outputs() {
    const idx_t n = batch_.rows * batch_.tokens, channels = model_.config().hidden_size;
    Tensor hidden({n, channels});
    std::vector<Tensor> hidden_states;
    const Observer observer = Attentions();
    model_.Encode(context_, batch_, hidden.view<2>(), {&hidden_states, &observer});
    for (std::size_t i = 0; i < hidden_states.size(); ++i) {
      const std::string name = "hidden_states." + std::to_string(i);
      if (case_.Wants(name)) case_.CompareOutput(name, hidden_states[i]);
    }
    if (case_.Wants("last_hidden_state")) case_.CompareOutput("last_hidden_state", hidden);
    if (case_.Wants("pooler_output")) {
      Tensor pooled({batch_.rows, channels});
      model_.Pool(context_, batch_, hidden.view<2>(), pooled.view<2>());
      case_.CompareOutput("pooler_output", pooled);
    }
    if (WantsLogits(case_)) {
      CompareLogits(case_, model_.Logits(context_, batch_, std::as_const(hidden).view<2>()));
    }
    if (case_.Wants("loss")) case_.CompareOutput("loss", model_.Loss(context_, batch_).mean);
  }

  double TrainLoss() {
    if (model_.config().head != HeadKind::kNone) {
      return model_.LossAndGradients(context_, batch_, {}).mean;
    }
    const auto cotangent = CotangentOf(case_, inputs_, model_.config().hidden_size);
    return model_.CotangentGradients(context_, batch_, cotangent, {});
  }

  void Gradients() {
    if (!case_.WantsTraining()) return;
    model_.parameters().AllocateGradients();
    const double loss = TrainLoss();
    if (case_.Wants("train_loss")) case_.CompareOutput("train_loss", loss);
    case_.CompareGradients(model_.parameters());
  }

  const ParityInputs& inputs_;

 protected:
  const BatchView& batch_;
};

}  // namespace longspan
