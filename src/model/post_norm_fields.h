// What config.json says of BERT, RoBERTa and Longformer alike: encoders whose layers are normalized
// after each of their blocks.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "longspan/tokenizer.h"
#include "longspan/types.h"
#include "model/head_fields.h"
#include "model/model_config.h"
#include "model/text_model_info.h"
#include "model/weight_heads.h"

namespace longspan {

// The defaults are a Longformer's. A bare model has a pooler.
struct PostNormFields : HeadFields {
  idx_t vocab_size = 30522;
  idx_t hidden_size = 768;  // C = H * D
  idx_t heads = 12;         // H
  idx_t feed_forward_size = 3072;
  std::string activation = "gelu";
  idx_t max_positions = 512;  // rows of the position table
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

  // Not a field but the kind of model: RoBERTa's rule, by which a text's tokens have the positions
  // pad + 1, pad + 2, ... and padding, known by its id, has pad and does not count. Otherwise a
  // token's position is its place in the row, whatever it is.
  bool positions_by_id = true;

  void SetDropout(double p) { hidden_dropout = attention_dropout = p; }
  idx_t head_size() const { return hidden_size / heads; }  // D
  // The first row of the position table that a token can have.
  idx_t first_position() const { return positions_by_id ? pad_token + 1 : 0; }
  // The most tokens of a text; by RoBERTa's rule, that are not padding.
  idx_t longest() const { return max_positions - first_position(); }
};

// Reads the fields above, but for those of the head, into `c`, whose values are the defaults.
// `most_positions` bounds the position table. kFormat naming `source`, the field, its value and its
// range.
void ParsePostNormFields(const nlohmann::json& object, std::string_view source,
                         idx_t most_positions, PostNormFields* c);
// Reads labels and problem_type for c's head. `class_name` is that of the model, for messages.
void ParsePostNormLabels(const nlohmann::json& object, std::string_view source,
                         const std::optional<WeightHeads>& weights, std::string_view class_name,
                         PostNormFields* c);
// Writes all of them, and the number of layers.
void WritePostNormFields(const PostNormFields& c, std::size_t layers, nlohmann::json* object);

// ModelConfig's Resize and UseTokenizer, for all but the layers.
void ResizePostNorm(const ModelSizes& sizes, PostNormFields* c);
// `title` is the family's. kFormat if the tokenizer has no padding token.
void UseTokenizerPostNorm(const text::Tokenizer& tokenizer, std::string_view title,
                          PostNormFields* c);

// What tasks ask of such an encoder, but for its title and classes.
TextModelInfo PostNormInfo(const PostNormFields& c);

// What `info` shows: first class, layers and widths, then tables and the head. A family says what
// its attention is between the two.
void DescribePostNormSizes(const PostNormFields& c, std::string_view class_name, std::size_t layers,
                           ModelDescription* shown);
void DescribePostNormTables(const PostNormFields& c, bool pooler, std::uint64_t parameters,
                            ModelDescription* shown);

// Numbers to learn of an encoder of `layers` layers and its head; `projections` of (C, C) stand in
// each layer's attention. `pooler`: the model has one, or, as a sequence classifier, a dense layer.
std::uint64_t PostNormParameterCount(const PostNormFields& c, std::size_t layers,
                                     std::uint64_t projections, bool pooler);

}  // namespace longspan
