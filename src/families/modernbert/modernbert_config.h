// config.json of a ModernBERT: Hugging Face's fields, defaults and meanings, in the forms of
// `transformers` 4 and 5.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/types.h"
#include "model/head_fields.h"
#include "model/opened_folder.h"
#include "ops/rotary/rotary_frequencies.h"

namespace longspan {

// The heads that a ModernBERT can have.
inline constexpr HeadClass kModernBertHeads[] = {
    {HeadKind::kNone, "ModernBertModel"},
    {HeadKind::kMaskedLm, "ModernBertForMaskedLM"},
    {HeadKind::kSequence, "ModernBertForSequenceClassification"},
    {HeadKind::kToken, "ModernBertForTokenClassification"},
    {HeadKind::kQuestion, "ModernBertForQuestionAnswering"},
    {HeadKind::kChoice, "ModernBertForMultipleChoice"},
};
// "ModernBertForMaskedLM".
std::string_view ModernBertClass(HeadKind head);

struct ModernBertConfig : HeadFields {
  std::vector<bool> full;  // (L): whether a layer's tokens see all others, or a window
  idx_t vocab_size = 50368;
  idx_t hidden_size = 768;         // C = H * D, D even
  idx_t heads = 12;                // H
  idx_t feed_forward_size = 1152;  // F; the first layer of the gated block has 2F rows
  std::string activation = "gelu";
  idx_t max_positions = 8192;  // what tasks take as the longest row; the model has no limit
  idx_t local_attention = 128;
  // The rotary embeddings of both kinds of layers, without max_positions: rotary() has it.
  RotarySpec full_rotary = {160000.0}, window_rotary = {10000.0};
  double norm_eps = 1e-5;
  bool norm_bias = false, attention_bias = false, feed_forward_bias = false;

  // attention_dropout acts on the probabilities and on the attention's output.
  double embedding_dropout = 0.0, attention_dropout = 0.0, feed_forward_dropout = 0.0;
  double classifier_dropout = 0.0;
  double initializer_range = 0.02;
  std::optional<double> initializer_cutoff = 2.0;  // null means 3

  bool mean_pooling = false;  // of classes of sequences and of choices: else the first token
  bool classifier_bias = false, decoder_bias = true;
  std::string classifier_activation = "gelu";
  bool tied = true;  // the masked LM's decoder is the word table, or a matrix of its own
  bool sparse_prediction = false;
  std::optional<idx_t> pad_token = 50283, bos_token = 50281, eos_token = 50282;
  std::optional<idx_t> cls_token = 50281, sep_token = 50282;

  // An auto_map is there: code of the model's own, which is not run. Not written.
  bool custom_code = false;
  // Not a field: tokens of all layers see all others (the option `attention full`). The layers keep
  // their thetas.
  bool all_full = false;

  std::size_t layers() const { return full.size(); }
  idx_t head_size() const { return hidden_size / heads; }  // D
  // W: keys that a token of a layer with a window sees to each side.
  idx_t window() const { return local_attention / 2; }
  bool windowed(std::size_t layer) const { return !full[layer] && !all_full; }
  // That of full layers, or of those with windows.
  RotarySpec rotary(bool of_full) const;
};

// How config.json calls the two kinds of layers.
inline constexpr const char* kFullLayer = "full_attention";
inline constexpr const char* kWindowLayer = "sliding_attention";

// Throws kFormat naming `source`, the field, its value and its range. Unknown fields are ignored,
// as Hugging Face ignores them; kinds of rotary embedding that are not computed here are refused by
// name.
ModernBertConfig ParseModernBertConfig(std::string_view json, std::string_view source);
// From a folder's config.json. What it leaves open is taken from the weights beside it
// (model/weight_heads.h). kIo, kFormat.
ModernBertConfig LoadModernBertConfig(const ModelFolder& folder);

// Indented JSON that `transformers` 4 and 5 read back to the same model. Only 5 can read layers in
// another order than one full one after each n - 1 others.
std::string ToJson(const ModernBertConfig& config);

// Numbers to learn, from the config alone.
std::uint64_t ParameterCount(const ModernBertConfig& config);

// "tiny", "small", "base", "large": masked language models over ModernBERT's vocabulary, the last
// two with the sizes of the released ones. kUsage for another name.
inline constexpr std::string_view kModernBertPresets[] = {"tiny", "small", "base", "large"};
ModernBertConfig ModernBertPreset(std::string_view name);

// One full layer, then every - 1 with windows, and so on.
std::vector<bool> FullEvery(std::size_t layers, idx_t every);

}  // namespace longspan
