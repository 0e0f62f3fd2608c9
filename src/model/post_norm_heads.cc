#include "model/post_norm_heads.h"

#include "model/heads.h"

namespace longspan {
namespace {

// Dropout sites of the head, below the step's key. Layers own the sites from 16 on.
enum PostNormHeadSite : std::uint64_t { kBeforeDense = 1, kBeforeLogits = 2 };

std::unique_ptr<HeadLayer> MakePostNormLanguageHead(const PostNormFields& config,
                                                    const PostNormHeadStyle& style,
                                                    const std::string& encoder_prefix,
                                                    ParameterTable& parameters) {
  const std::string words = encoder_prefix + "embeddings.word_embeddings.weight";
  const std::string name = style.bert ? "cls.predictions." : "lm_head.";
  const std::string inner = style.bert ? name + "transform." : name;
  HeadTransformSpec transform{inner + "dense.",
                              inner + (style.bert ? "LayerNorm." : "layer_norm.")};
  transform.activation = ParseActivation(style.activation);
  transform.eps = config.layer_norm_eps;
  return MakeTransformedLanguageHead(
      transform, {name + "decoder.weight", name + (config.tied ? "bias" : "decoder.bias")},
      config.hidden_size, config.vocab_size, config.tied ? parameters.Find(words) : kNoParameter,
      parameters);
}

}  // namespace

std::unique_ptr<HeadLayer> MakePostNormHead(const PostNormFields& config,
                                            const PostNormHeadStyle& style,
                                            const std::string& encoder_prefix,
                                            ParameterTable& parameters) {
  const idx_t channels = config.hidden_size;
  HeadDropout dropout{style.dropout, style.dropout, kBeforeDense, kBeforeLogits};
  switch (config.head) {
    case HeadKind::kMaskedLm:
      return MakePostNormLanguageHead(config, style, encoder_prefix, parameters);
    case HeadKind::kSequence:
      if (style.bert) {
        const HeadTransformSpec pooler{encoder_prefix + "pooler.dense.", "", Activation::kTanh};
        dropout.before_dense = 0.0;
        return MakePlainSequenceHead(pooler, channels, config.label_count(), config.problem,
                                     HeadReads::kFirstTokens, dropout, parameters);
      }
      return MakeSequenceHead(channels, channels, config.label_count(), config.problem, dropout,
                              parameters);
    case HeadKind::kToken:
      return MakeTokenHead(channels, config.label_count(), dropout, parameters);
    case HeadKind::kQuestion:
      return MakeQuestionHead("qa_outputs.", channels, {}, parameters);
    case HeadKind::kChoice:
      dropout.before_dense = 0.0;
      dropout.before_logits = style.choice_dropout;
      return MakeChoiceHead(encoder_prefix, channels, dropout, parameters);
    case HeadKind::kNone:
    case HeadKind::kCausalLm:  // such encoders have none
      break;
  }
  return nullptr;
}

}  // namespace longspan
