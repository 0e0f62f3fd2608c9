// config.json of a Longformer: Hugging Face's fields, defaults and meanings.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/types.h"
#include "model/opened_folder.h"
#include "model/post_norm_fields.h"
#include "model/weight_names.h"

namespace longspan {

// The heads that a Longformer can have.
inline constexpr HeadClass kLongformerHeads[] = {
    {HeadKind::kNone, "LongformerModel"},
    {HeadKind::kMaskedLm, "LongformerForMaskedLM"},
    {HeadKind::kSequence, "LongformerForSequenceClassification"},
    {HeadKind::kToken, "LongformerForTokenClassification"},
    {HeadKind::kQuestion, "LongformerForQuestionAnswering"},
    {HeadKind::kChoice, "LongformerForMultipleChoice"},
};
// "LongformerForMaskedLM".
std::string_view LongformerClass(HeadKind head);

struct LongformerConfig : PostNormFields {
  // Hugging Face's attention_window of each layer: even, both sides together.
  std::vector<idx_t> attention_window = std::vector<idx_t>(12, 512);
  // Which tokens were global in its training. A field of longspan's own; kAuto: it is not there.
  GlobalRule global;

  std::size_t layers() const { return attention_window.size(); }
  // W: keys that a token of the layer sees to each side.
  idx_t window(std::size_t layer) const { return attention_window[layer] / 2; }
  idx_t largest_window() const;  // of attention_window
  ClassNames names() const { return {"longformer."}; }
  bool has_pooler() const {
    return head == HeadKind::kChoice || (head == HeadKind::kNone && pooler);
  }
};

// Throws kFormat naming `source`, the field, its value and its range. Unknown fields are ignored,
// as Hugging Face ignores them; those of the original code's format are refused.
LongformerConfig ParseLongformerConfig(std::string_view json, std::string_view source);
// From a folder's config.json. What it leaves open is taken from the weights beside it
// (model/weight_heads.h). kIo, kFormat.
LongformerConfig LoadLongformerConfig(const ModelFolder& folder);

// Indented JSON that `transformers` reads back to the same model.
std::string ToJson(const LongformerConfig& config);

// Numbers to learn, from the config alone.
std::uint64_t ParameterCount(const LongformerConfig& config);

// The config with positions for `tokens` tokens at least.
LongformerConfig WithPositions(LongformerConfig config, idx_t tokens);

// Ready-made masked language models over RoBERTa's vocabulary: "tiny", "small", "base"; the last
// one has the sizes of longformer-base-4096.
LongformerConfig LongformerPreset(std::string_view name);

}  // namespace longspan
