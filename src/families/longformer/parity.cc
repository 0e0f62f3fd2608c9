// A Longformer against a recorded case.

#include "base/math.h"
#include "families/longformer/family.h"
#include "families/longformer/longformer_files.h"
#include "families/longformer/longformer_maps.h"
#include "model/post_norm_parity.h"

namespace longspan {
namespace {

class LongformerCase final : public PostNormCase<Longformer> {
 public:
  using PostNormCase::PostNormCase;

 private:
  bool Known(const std::string& name) const override {
    if (PostNormCase::Known(name)) return true;
    for (std::size_t i = 0; i < model_.config().layers(); ++i) {
      if (name == "expected.global_attentions." + std::to_string(i)) return true;
    }
    return name == "input.global_attention_mask";
  }

  LongformerObserver Attentions() override {
    return [this](std::size_t layer, const LongformerAttentionTensors& t) {
      const std::string local = "attentions." + std::to_string(layer);
      const std::string global = "global_" + local;
      if (case_.Wants(local)) case_.CompareOutput(local, LocalProbabilities(context_, t));
      if (!case_.Wants(global)) return;
      // The original pads the text to the widest window, and does not cut the keys again.
      const idx_t padded = RoundUp(batch_.tokens, model_.config().largest_window());
      case_.CompareOutput(global, GlobalProbabilities(context_, t, padded));
    };
  }
};

}  // namespace

ParityReport VerifyLongformer(Context& context, const ModelFolder& folder,
                              const io::TensorSource& recorded, const FamilyOptions& options) {
  LoadOptions load;
  load.family = options;
  Longformer model = LoadLongformer(folder, load);
  ParityCase known(recorded);
  const auto inputs = ReadParityInputs(known, InfoOf(model.config()));
  return LongformerCase(context, known, model, *inputs).Run();
}

}  // namespace longspan
