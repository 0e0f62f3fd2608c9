#include "families/longformer/longformer_heads.h"

#include "model/heads.h"

namespace longspan {
namespace {

// Dropout sites of the head, below the step's key. Layers own the sites from 16 on.
enum LongformerHeadSite : std::uint64_t { kBeforeDense = 1, kBeforeLogits = 2 };

}  // namespace

std::unique_ptr<HeadLayer> MakeLongformerHead(const LongformerConfig& config,
                                              const std::string& encoder_prefix,
                                              ParameterTable& parameters) {
  const idx_t channels = config.hidden_size;
  HeadDropout dropout{config.hidden_dropout, config.hidden_dropout, kBeforeDense, kBeforeLogits};
  switch (config.head) {
    case HeadKind::kMaskedLm: {
      const std::string words = encoder_prefix + "embeddings.word_embeddings.weight";
      HeadTransformSpec transform{"lm_head.dense.", "lm_head.layer_norm."};
      transform.eps = config.layer_norm_eps;
      return MakeTransformedLanguageHead(
          transform,
          {"lm_head.decoder.weight", config.tied ? "lm_head.bias" : "lm_head.decoder.bias"},
          channels, config.vocab_size, config.tied ? parameters.Find(words) : kNoParameter,
          parameters);
    }
    case HeadKind::kSequence:
      return MakeSequenceHead(channels, channels, config.label_count(), config.problem, dropout,
                              parameters);
    case HeadKind::kToken:
      return MakeTokenHead(channels, config.label_count(), dropout, parameters);
    case HeadKind::kQuestion:
      return MakeQuestionHead("qa_outputs.", channels, {}, parameters);
    case HeadKind::kChoice:
      dropout.before_dense = 0.0;
      return MakeChoiceHead(encoder_prefix, channels, dropout, parameters);
    case HeadKind::kNone:
    case HeadKind::kCausalLm:  // a Longformer has none
      break;
  }
  return nullptr;
}

}  // namespace longspan
