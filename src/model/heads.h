// The heads of all models. Each function registers its head's parameters.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "model/head_layer.h"
#include "model/head_transform.h"
#include "model/label_fields.h"

namespace longspan {

// The dropout of a head of one vector: its probabilities, and the sites below the step's key.
struct HeadDropout {
  double before_dense = 0.0, before_logits = 0.0;
  std::uint64_t dense_site = 0, logits_site = 0;
};

// logits = h decoder^T + bias, of a causal or a masked language model. The two differ in the token
// that a position predicts, which the batch says. Reads every token. Without `biased` the bias is
// loaded and saved but takes no part.
struct LanguageHeadNames {
  std::string decoder, bias;  // "lm_head.decoder.weight"
};
std::unique_ptr<HeadLayer> MakeLanguageHead(const LanguageHeadNames& names, idx_t width,
                                            idx_t vocabulary, bool biased, ParameterTable& table);

// logits = P(h) decoder^T + bias, P a transform with a norm: of a masked language model. Reads
// labelled tokens only. Without a name there is no bias. `tied` names the table that serves as
// decoder, or is kNoParameter: then there is a decoder of its own.
std::unique_ptr<HeadLayer> MakeTransformedLanguageHead(const HeadTransformSpec& transform,
                                                       const LanguageHeadNames& names, idx_t width,
                                                       idx_t vocabulary, ParameterId tied,
                                                       ParameterTable& table);

// logits = classifier dropout(h): classes of tokens.
std::unique_ptr<HeadLayer> MakeTokenHead(idx_t width, idx_t labels, const HeadDropout& dropout,
                                         ParameterTable& table);

// Two logits for each token, of the layer `name` after dropout: that the answer starts there, and
// that it ends there.
std::unique_ptr<HeadLayer> MakeQuestionHead(const std::string& name, idx_t width,
                                            const HeadDropout& dropout, ParameterTable& table);

// The head that `inner` makes, on P(h) in place of h (both `width` wide).
std::unique_ptr<HeadLayer> MakeTransformedHead(
    const HeadTransformSpec& transform, idx_t width, ParameterTable& table,
    const std::function<std::unique_ptr<HeadLayer>(ParameterTable& table)>& inner);

// logits = classifier dropout(P(h)), h the first token's vector or the mean of a text, as `reads`
// says: classes of sequences; and one logit for each row, the choices of a question.
std::unique_ptr<HeadLayer> MakePlainSequenceHead(const HeadTransformSpec& transform, idx_t width,
                                                 idx_t labels, ProblemType problem, HeadReads reads,
                                                 const HeadDropout& dropout, ParameterTable& table);
std::unique_ptr<HeadLayer> MakePlainChoiceHead(const HeadTransformSpec& transform, idx_t width,
                                               HeadReads reads, const HeadDropout& dropout,
                                               ParameterTable& table);

// A dense classifier of the first token's vector (model/dense_classifier.h), `channels` wide
// inside.
std::unique_ptr<HeadLayer> MakeSequenceHead(idx_t width, idx_t channels, idx_t labels,
                                            ProblemType problem, const HeadDropout& dropout,
                                            ParameterTable& table);

// One logit for each row, whose dense layer is the pooler `prefix` + "pooler.dense.": the choices
// of a question compete.
std::unique_ptr<HeadLayer> MakeChoiceHead(const std::string& prefix, idx_t width,
                                          const HeadDropout& dropout, ParameterTable& table);

}  // namespace longspan
