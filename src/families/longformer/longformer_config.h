// config.json of a Longformer: Hugging Face's fields, defaults and meanings.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/types.h"
#include "model/head_fields.h"
#include "model/opened_folder.h"

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

// A bare model has a pooler.
struct LongformerConfig : HeadFields {
  // Hugging Face's attention_window of each layer: even, both sides together.
  std::vector<idx_t> attention_window = std::vector<idx_t>(12, 512);
  idx_t vocab_size = 30522;
  idx_t hidden_size = 768;  // C = H * D
  idx_t heads = 12;         // H
  idx_t feed_forward_size = 3072;
  std::string activation = "gelu";
  idx_t max_positions = 512;  // rows of the position table; pad + 1 of them no token has
  idx_t token_types = 2;

  double hidden_dropout = 0.1, attention_dropout = 0.1;
  double layer_norm_eps = 1e-12;
  double initializer_range = 0.02;
  idx_t pad_token = 1;
  std::optional<idx_t> bos_token = 0, eos_token = 2, sep_token = 2;
  bool tied = true;  // the masked LM's decoder is the word table, or a matrix of its own

  // An auto_map is there: code of the model's own, which is not run. Not written.
  bool custom_code = false;

  // Not a field: files of a bare model may come without a pooler.
  bool pooler = true;

  std::size_t layers() const { return attention_window.size(); }
  idx_t head_size() const { return hidden_size / heads; }  // D
  // W: keys that a token of the layer sees to each side.
  idx_t window(std::size_t layer) const { return attention_window[layer] / 2; }
  idx_t largest_window() const;  // of attention_window
  // The most tokens that are not padding in a row.
  idx_t longest() const { return max_positions - pad_token - 1; }
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
std::vector<std::string> LongformerPresetNames();

}  // namespace longspan
