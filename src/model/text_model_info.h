// What tasks, training and commands need to know of a model before they run it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/batch.h"
#include "longspan/types.h"
#include "model/head_kind.h"
#include "model/label_fields.h"

namespace longspan {

struct TextModelInfo {
  std::string_view title;            // of the model's family: "Longformer"
  std::span<const HeadClass> heads;  // that the family can have
  HeadKind head = HeadKind::kNone;
  std::string class_name;           // "LongformerForMaskedLM"
  std::vector<std::string> labels;  // id2label
  ProblemType problem = ProblemType::kInferred;
  idx_t width = 0;  // of a last hidden state
  idx_t vocab_size = 0, pad_token = 0, token_types = 1;
  std::optional<idx_t> sep_token;
  idx_t longest = 0;           // tokens of a row
  bool global_tokens = false;  // whether some may see all others
  GlobalRule global;           // which were global in its training; kAuto: its files do not say
  bool causal = false;         // no token sees a later one
  bool padding_by_id = false;  // a token with pad_token's id is padding, whatever its role
  // Texts of any lengths may stand side by side in one row (BatchView::documents) and cost what
  // their tokens cost, without padding.
  bool side_by_side = false;
  // Ranks that may share its rows at most (world/row_group.h): the heads of the layer with the
  // fewest. 1: none share them.
  idx_t most_row_ranks = 1;
  bool reads_labelled = false;  // its masked language model's head reads labelled tokens only

  idx_t label_count() const { return static_cast<idx_t>(labels.size()); }
};

}  // namespace longspan
