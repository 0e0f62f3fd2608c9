// A Longformer against a recorded case.

#include <memory>
#include <utility>

#include "base/math.h"
#include "families/longformer/family.h"
#include "families/longformer/longformer_files.h"
#include "families/longformer/longformer_maps.h"
#include "model/parity_inputs.h"

namespace longspan {
namespace {

class CaseRunner {
 public:
  CaseRunner(Context& context, ParityCase& recorded, Longformer& model, const ParityInputs& inputs)
      : context_(context), case_(recorded), model_(model), inputs_(inputs), batch_(inputs.batch) {}

  ParityReport Run() {
    case_.CheckKnown(model_.parameters(), [&](const std::string& name) { return Known(name); });
    Outputs();
    Gradients();
    return case_.Finish();
  }

 private:
  bool Known(const std::string& name) const {
    if (IsEncoderTensor(model_.config().head, model_.config().layers(), name)) return true;
    const bool bare = model_.config().head == HeadKind::kNone;
    if (bare && name == "expected.pooler_output") return model_.config().has_pooler();
    for (std::size_t i = 0; i < model_.config().layers(); ++i) {
      if (name == "expected.global_attentions." + std::to_string(i)) return true;
    }
    return name == "input.global_attention_mask";
  }

  void Outputs() {
    const idx_t n = batch_.rows * batch_.tokens, channels = model_.config().hidden_size;
    Tensor hidden({n, channels});
    std::vector<Tensor> hidden_states;
    const LongformerObserver observer =
        [&](std::size_t layer, const LongformerAttentionTensors& t) { Attentions(layer, t); };
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

  void Attentions(std::size_t layer, const LongformerAttentionTensors& t) {
    const std::string local = "attentions." + std::to_string(layer);
    const std::string global = "global_" + local;
    if (case_.Wants(local)) case_.CompareOutput(local, LocalProbabilities(context_, t));
    if (!case_.Wants(global)) return;
    // The original pads the text to the widest window, and does not cut the keys again.
    const idx_t padded = RoundUp(batch_.tokens, model_.config().largest_window());
    case_.CompareOutput(global, GlobalProbabilities(context_, t, padded));
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

  Context& context_;
  ParityCase& case_;
  Longformer& model_;
  const ParityInputs& inputs_;
  const BatchView& batch_;
};

}  // namespace

ParityReport VerifyLongformer(Context& context, const ModelFolder& folder,
                              const io::TensorSource& recorded, const FamilyOptions& options) {
  LoadOptions load;
  load.family = options;
  Longformer model = LoadLongformer(folder, load);
  ParityCase known(recorded);
  const auto inputs = ReadParityInputs(known, InfoOf(model.config()));
  return CaseRunner(context, known, model, *inputs).Run();
}

}  // namespace longspan
