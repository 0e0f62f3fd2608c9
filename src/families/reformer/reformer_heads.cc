#include "families/reformer/reformer_heads.h"

#include "model/heads.h"

namespace longspan {
namespace {

// Dropout sites of the head, below the step's key. The model owns 0 to 3 and those from 16 on.
enum ReformerHeadSite : std::uint64_t { kBeforeReformerDense = 4, kBeforeReformerLogits = 5 };

}  // namespace

std::unique_ptr<HeadLayer> MakeReformerHead(const ReformerConfig& config,
                                            ParameterTable& parameters) {
  const idx_t width = 2 * config.hidden_size;
  switch (config.head) {
    case HeadKind::kCausalLm:
    case HeadKind::kMaskedLm:
      // As transformers 5 without `lm_bias`.
      return MakeLanguageHead({"lm_head.decoder.weight", "lm_head.bias"}, width, config.vocab_size,
                              config.lm_bias, parameters);
    case HeadKind::kSequence: {
      const double p = config.classifier_dropout.value_or(config.hidden_dropout);
      return MakeSequenceHead(width, config.hidden_size, config.label_count(), config.problem,
                              {p, p, kBeforeReformerDense, kBeforeReformerLogits}, parameters);
    }
    case HeadKind::kQuestion:
      return MakeQuestionHead("qa_outputs.", width, {}, parameters);
    case HeadKind::kNone:
    case HeadKind::kToken:  // a Reformer has neither
    case HeadKind::kChoice:
      break;
  }
  return nullptr;
}

}  // namespace longspan
