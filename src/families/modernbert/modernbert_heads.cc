#include "families/modernbert/modernbert_heads.h"

#include "model/heads.h"

namespace longspan {
namespace {

// Dropout site of the head, below the step's key. Layers own the sites from 16 on.
constexpr std::uint64_t kClassifierInput = 1;

}  // namespace

std::unique_ptr<HeadLayer> MakeModernBertHead(const ModernBertConfig& config, ParameterId words,
                                              ParameterTable& parameters) {
  const idx_t channels = config.hidden_size;
  const HeadTransformSpec transform{
      "head.dense.",   "head.norm.",           ParseActivation(config.classifier_activation),
      config.norm_eps, config.classifier_bias, config.norm_bias};
  HeadDropout dropout;
  dropout.before_logits = config.classifier_dropout;
  dropout.logits_site = kClassifierInput;
  const HeadReads reads = config.mean_pooling ? HeadReads::kMeanTokens : HeadReads::kFirstTokens;
  switch (config.head) {
    case HeadKind::kMaskedLm:
      return MakeTransformedLanguageHead(
          transform, {"decoder.weight", config.decoder_bias ? "decoder.bias" : ""}, channels,
          config.vocab_size, config.tied ? words : kNoParameter, parameters);
    case HeadKind::kSequence:
      return MakePlainSequenceHead(transform, channels, config.label_count(), config.problem, reads,
                                   dropout, parameters);
    case HeadKind::kToken:
      return MakeTransformedHead(transform, channels, parameters, [&](ParameterTable& table) {
        return MakeTokenHead(channels, config.label_count(), dropout, table);
      });
    case HeadKind::kQuestion:
      return MakeTransformedHead(transform, channels, parameters, [&](ParameterTable& table) {
        return MakeQuestionHead("classifier.", channels, dropout, table);
      });
    case HeadKind::kChoice:
      return MakePlainChoiceHead(transform, channels, reads, dropout, parameters);
    case HeadKind::kNone:
    case HeadKind::kCausalLm:  // a ModernBERT has none
      break;
  }
  return nullptr;
}

}  // namespace longspan
