// A ModernBERT against a recorded case.

#include <cstdlib>
#include <memory>

#include "families/modernbert/family.h"
#include "families/modernbert/modernbert_files.h"
#include "model/attention_maps.h"
#include "model/parity_inputs.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

// The attention probabilities of a layer as the original returns them: (B, H, T, T), 0 for keys
// that are not seen and for rows of padding.
class DenseMaps {
 public:
  DenseMaps(const BatchView& batch, idx_t heads)
      : batch_(batch), heads_(heads), maps_({batch.rows, heads, batch.tokens, batch.tokens}) {}

  void Add(Context& context, const ModernBertAttentionTensors& t) {
    const View<float, 4> maps = maps_.view<4>();
    const std::span<const idx_t> starts = t.texts.starts();
    const TokenRoles roles = t.texts.roles();
    ParallelFor(context, static_cast<idx_t>(starts.size() - 1) * heads_, [&](idx_t task, int) {
      const auto text = static_cast<std::size_t>(task / heads_);
      const idx_t h = task % heads_, end = starts[text + 1];
      for (idx_t i = starts[text]; i < end; ++i) {
        const idx_t at = t.texts.Place(i);
        for (idx_t j = starts[text]; j < end; ++j) {
          if (t.window && std::abs(i - j) > *t.window) continue;
          if (!roles.empty() && roles(0, j) == kHiddenToken) continue;
          maps(at / batch_.tokens, h, at % batch_.tokens, at % batch_.tokens + j - i) =
              Probability(t, h, i, j);
        }
      }
    });
  }
  const Tensor& maps() const { return maps_; }

 private:
  static float Probability(const ModernBertAttentionTensors& t, idx_t h, idx_t i, idx_t j) {
    return AttentionProbability(&t.qkv.q(0, h, i, 0), &t.qkv.k(0, h, j, 0), t.qkv.q.extent[3],
                                t.lse(0, h, i));
  }

  const BatchView& batch_;
  idx_t heads_;
  Tensor maps_;
};

class ModernBertCase {
 public:
  ModernBertCase(Context& context, ParityCase& recorded, ModernBert& model,
                 const ParityInputs& inputs)
      : context_(context), case_(recorded), model_(model), inputs_(inputs), batch_(inputs.batch) {}

  ParityReport Run() {
    case_.CheckKnown(model_.parameters(), [&](const std::string& name) {
      return IsEncoderTensor(model_.config().head, model_.config().layers(), name);
    });
    Outputs();
    Gradients();
    return case_.Finish();
  }

 private:
  void Outputs() {
    const idx_t n = batch_.rows * batch_.tokens, channels = model_.config().hidden_size;
    std::vector<DenseMaps> maps;
    const ModernBertObserver observer = [&](std::size_t layer,
                                            const ModernBertAttentionTensors& t) {
      if (!case_.Wants("attentions." + std::to_string(layer))) return;
      while (maps.size() <= layer) maps.emplace_back(batch_, model_.config().heads);
      maps[layer].Add(context_, t);
    };
    Tensor hidden({n, channels});
    std::vector<Tensor> states;
    model_.Encode(context_, batch_, hidden.view<2>(), {&states, &observer});
    for (std::size_t i = 0; i < states.size(); ++i) {
      const std::string name = "hidden_states." + std::to_string(i);
      if (case_.Wants(name)) case_.CompareOutput(name, states[i]);
    }
    for (std::size_t i = 0; i < maps.size(); ++i) {
      const std::string name = "attentions." + std::to_string(i);
      if (case_.Wants(name)) case_.CompareOutput(name, maps[i].maps());
    }
    if (case_.Wants("last_hidden_state")) case_.CompareOutput("last_hidden_state", hidden);
    if (WantsLogits(case_)) {
      CompareLogits(case_, model_.Logits(context_, batch_, hidden.view<2>()));
    }
    if (case_.Wants("loss")) case_.CompareOutput("loss", model_.Loss(context_, batch_).mean);
  }

  void Gradients() {
    if (!case_.WantsTraining()) return;
    model_.parameters().AllocateGradients();
    const bool bare = model_.config().head == HeadKind::kNone;
    const double loss =
        bare ? model_.CotangentGradients(
                   context_, batch_, CotangentOf(case_, inputs_, model_.config().hidden_size), {})
             : model_.LossAndGradients(context_, batch_, {}).mean;
    if (case_.Wants("train_loss")) case_.CompareOutput("train_loss", loss);
    case_.CompareGradients(model_.parameters());
  }

  Context& context_;
  ParityCase& case_;
  ModernBert& model_;
  const ParityInputs& inputs_;
  const BatchView& batch_;
};

}  // namespace

ParityReport VerifyModernBert(Context& context, const ModelFolder& folder,
                              const io::TensorSource& recorded, const FamilyOptions& options) {
  LoadOptions load;
  load.family = options;
  ModernBert model = LoadModernBert(folder, load);
  ParityCase known(recorded);
  const auto inputs = ReadParityInputs(known, InfoOf(model.config()));
  return ModernBertCase(context, known, model, *inputs).Run();
}

}  // namespace longspan
