// A BERT or RoBERTa against a recorded case.

#include "families/bert/family.h"
#include "model/attention_maps.h"
#include "model/post_norm_parity.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

class BertCase final : public PostNormCase<Bert> {
 public:
  using PostNormCase::PostNormCase;

 private:
  // The attention probabilities of a layer as the original returns them: (B, H, T, T), 0 for keys
  // that are not seen.
  BertObserver Attentions() override {
    return [this](std::size_t layer, const BertAttentionTensors& t) {
      const std::string name = "attentions." + std::to_string(layer);
      if (!case_.Wants(name)) return;
      const auto [rows, heads, tokens, width] = t.qkv.q.extent;
      Tensor maps({rows, heads, tokens, tokens});
      const View<float, 4> map = maps.view<4>();
      const idx_t head_count = heads, token_count = tokens, channels = width;
      ParallelFor(context_, rows * heads, [&](idx_t task, int) {
        const idx_t b = task / head_count, h = task % head_count;
        for (idx_t i = 0; i < token_count; ++i) {
          for (idx_t j = 0; j < token_count; ++j) {
            if (!t.roles.empty() && t.roles(b, j) == kHiddenToken) continue;
            map(b, h, i, j) = AttentionProbability(&t.qkv.q(b, h, i, 0), &t.qkv.k(b, h, j, 0),
                                                   channels, t.lse(b, h, i));
          }
        }
      });
      case_.CompareOutput(name, maps);
    };
  }
};

}  // namespace

ParityReport VerifyBert(Context& context, const ModelFolder& folder,
                        const io::TensorSource& recorded, const FamilyOptions& options) {
  LoadOptions load;
  load.family = options;
  Bert model = LoadBert(folder, load);
  ParityCase known(recorded);
  const auto inputs = ReadParityInputs(known, InfoOf(model.config()));
  return BertCase(context, known, model, *inputs).Run();
}

}  // namespace longspan
