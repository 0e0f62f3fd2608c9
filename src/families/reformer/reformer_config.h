// config.json of a Reformer: Hugging Face's fields, defaults and meanings.
#pragma once

#include <array>
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

// The attention of a layer, by its name in attn_layers: "local", "lsh", or a mechanism of the
// catalogue (families/reformer/catalogued_mechanism.h), which only longspan knows.
class LayerKind {
 public:
  static const LayerKind kLocal, kLsh;

  // `name` must live as long as the program.
  constexpr explicit LayerKind(std::string_view name) : name_(name) {}
  constexpr std::string_view name() const { return name_; }
  friend constexpr bool operator==(const LayerKind&, const LayerKind&) = default;

 private:
  std::string_view name_;
};
inline constexpr LayerKind LayerKind::kLocal{"local"};
inline constexpr LayerKind LayerKind::kLsh{"lsh"};

// The attention that the same weights are used with: that of attn_layers (LSH and local), full,
// chunks of the text in every layer, or full in LSH layers only. LSH layers always have their
// shared queries and keys.
enum class AttentionChoice { kConfigured, kFull, kLocal, kFullLsh };
// "config", "full", "local", "full-lsh"; "lsh" is the configured one of a model that has LSH
// layers.
std::string_view AttentionName(AttentionChoice choice);

// The heads that a Reformer can have.
inline constexpr HeadClass kReformerHeads[] = {
    {HeadKind::kNone, "ReformerModel"},
    {HeadKind::kCausalLm, "ReformerModelWithLMHead"},
    {HeadKind::kMaskedLm, "ReformerForMaskedLM"},
    {HeadKind::kSequence, "ReformerForSequenceClassification"},
    {HeadKind::kQuestion, "ReformerForQuestionAnswering"},
};
// "ReformerForMaskedLM".
std::string_view ReformerClass(HeadKind head);

struct ReformerConfig : HeadFields {
  ReformerConfig() { head = HeadKind::kCausalLm; }

  std::vector<LayerKind> layers = {LayerKind::kLocal, LayerKind::kLsh,   LayerKind::kLocal,
                                   LayerKind::kLsh,   LayerKind::kLocal, LayerKind::kLsh};
  idx_t vocab_size = 320;
  idx_t hidden_size = 256;        // C
  idx_t heads = 12;               // H
  idx_t head_size = 64;           // D; H * D need not equal C
  idx_t feed_forward_size = 512;  // F
  std::string activation = "relu";
  bool is_decoder = false;  // causal
  idx_t max_positions = 4096;

  bool axial = true;                          // else one learned table
  std::vector<idx_t> axial_shape = {64, 64};  // (S0, S1)
  std::vector<idx_t> axial_dims = {64, 192};  // (D0, D1), together C
  double axial_norm_std = 1.0;

  idx_t local_chunk = 64, local_before = 1, local_after = 0;
  double local_dropout = 0.05;
  idx_t lsh_chunk = 64, lsh_before = 1, lsh_after = 0;
  double lsh_dropout = 0.0;
  idx_t num_hashes = 1;
  std::vector<idx_t> num_buckets;  // empty: chosen from the length
  std::optional<std::int64_t> hash_seed;

  double hidden_dropout = 0.05;
  double layer_norm_eps = 1e-12;
  double initializer_range = 0.02;
  idx_t pad_token = 0, eos_token = 2;
  std::vector<idx_t> more_eos_tokens;  // where eos_token_id is a list, all but the first
  std::optional<idx_t> bos_token;
  bool use_cache = true;
  // Blocks in which the original works through the text to save memory; 0: all at once. They change
  // no value and nothing here, but CheckOriginalRules wants them to divide the text.
  idx_t chunk_size_feed_forward = 0, chunk_size_lm_head = 0;

  std::optional<double> classifier_dropout;  // absent: hidden_dropout

  // longspan's own field "longspan_rotation_seed": without a hash_seed evaluation draws the
  // rotations of LSH layers from it, the same every time.
  idx_t rotation_seed = 0;
  // longspan's field "longspan_lm_bias", written if false. False: files have lm_head.bias, but it
  // is not added, as in transformers 5. True: it is added, as before version 5.
  bool lm_bias = true;

  // An auto_map is there: code of the model's own, which is not run. Not written.
  bool custom_code = false;

  // longspan's own field "longspan_attention"; written when it is not "config".
  AttentionChoice attention = AttentionChoice::kConfigured;

  idx_t width() const { return heads * head_size; }  // A: all heads side by side
  // The most tokens a text may have: both max_position_embeddings and the tables allow them.
  idx_t longest() const;
};

// The choices that differ in who sees whom, by name.
inline constexpr std::array<const char*, 3> kAttentionNames = {"full", "local", "lsh"};

// Sets config.attention from a command line's "full", "local", "full-lsh", "lsh" or "config".
// kUsage for another name, and for "lsh" and "full-lsh" when no layer hashes.
void ChooseAttention(std::string_view name, ReformerConfig* config);

// Throws kFormat naming `source`, the field, its value and its range. Unknown fields are ignored,
// as Hugging Face ignores them.
ReformerConfig ParseReformerConfig(std::string_view json, std::string_view source);
// From a folder's config.json. What it leaves open is taken from the weights beside it
// (model/weight_heads.h). kIo, kFormat.
ReformerConfig LoadReformerConfig(const ModelFolder& folder);

// Indented JSON that `transformers` reads back to the same model.
std::string ToJson(const ReformerConfig& config);

// Numbers to learn, from the config alone: what a model would need before it is allocated.
std::uint64_t ParameterCount(const ReformerConfig& config);

// The config with positions for `tokens` tokens at least. Axial tables double their shorter axis
// until they suffice; a single table gets as many rows as there are tokens.
ReformerConfig WithPositions(ReformerConfig config, idx_t tokens);

// Ready-made byte-level language models, local and LSH layers in turn: "tiny", "small", "base".
ReformerConfig ReformerPreset(std::string_view name);
std::vector<std::string> ReformerPresetNames();

}  // namespace longspan
