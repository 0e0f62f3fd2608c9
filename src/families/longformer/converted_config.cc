#include "families/longformer/converted_config.h"

#include <algorithm>
#include <vector>

#include "families/longformer/longformer_config.h"
#include "io/json.h"

namespace longspan {
namespace {

using nlohmann::json;

// Fields that a Longformer does not have, or that are rewritten.
constexpr std::string_view kReplaced[] = {"model_type",
                                          "architectures",
                                          "attention_window",
                                          "hidden_size",
                                          "num_hidden_layers",
                                          "num_attention_heads",
                                          "intermediate_size",
                                          "vocab_size",
                                          "max_position_embeddings",
                                          "type_vocab_size",
                                          "hidden_act",
                                          "hidden_dropout_prob",
                                          "attention_probs_dropout_prob",
                                          "layer_norm_eps",
                                          "initializer_range",
                                          "pad_token_id",
                                          "bos_token_id",
                                          "eos_token_id",
                                          "sep_token_id",
                                          "tie_word_embeddings",
                                          "position_embedding_type",
                                          "use_cache",
                                          "classifier_dropout",
                                          "is_decoder",
                                          "add_cross_attention",
                                          "gradient_checkpointing",
                                          "auto_map",
                                          "_name_or_path",
                                          "transformers_version"};

}  // namespace

std::string LongformerConfigText(const json& original, const BertConfig& c,
                                 const LabelFields& labels, idx_t max_tokens, idx_t window,
                                 idx_t cls_token, idx_t sep_token) {
  json o = json::object();
  for (const auto& [field, value] : original.items()) {
    const bool replaced =
        std::find(std::begin(kReplaced), std::end(kReplaced), field) != std::end(kReplaced);
    if (!replaced) o[field] = value;
  }
  o["model_type"] = "longformer";
  o["architectures"] = {LongformerClass(c.head)};
  o["attention_window"] = std::vector<idx_t>(c.layers(), 2 * window);
  o["hidden_size"] = c.hidden_size;
  o["num_hidden_layers"] = c.layers();
  o["num_attention_heads"] = c.heads;
  o["intermediate_size"] = c.feed_forward_size;
  o["vocab_size"] = c.vocab_size;
  o["max_position_embeddings"] = max_tokens + c.pad_token + 1;
  o["type_vocab_size"] = c.token_types;
  o["hidden_act"] = c.activation;
  o["hidden_dropout_prob"] = c.hidden_dropout;
  o["attention_probs_dropout_prob"] = c.attention_dropout;
  o["layer_norm_eps"] = c.layer_norm_eps;
  o["initializer_range"] = c.initializer_range;
  o["pad_token_id"] = c.pad_token;
  o["tie_word_embeddings"] = c.tied;
  // BERT's configs do not name these; its vocabulary does.
  const idx_t begin = c.bos_token.value_or(cls_token);
  const idx_t end = c.eos_token.value_or(sep_token);
  const idx_t separator = sep_token >= 0 ? sep_token : end;
  if (begin >= 0) o["bos_token_id"] = begin;
  if (end >= 0) o["eos_token_id"] = end;
  if (separator >= 0) o["sep_token_id"] = separator;
  if (c.head == HeadKind::kSequence || c.head == HeadKind::kToken) {
    o.erase("num_labels");
    o.erase("_num_labels");
    WriteLabels(labels.names, ProblemType::kInferred, &o);
  }
  return io::DumpJson(o);
}

}  // namespace longspan
