// The heads of BERT, RoBERTa and Longformer: the same layers under two sets of names.
#pragma once

#include <memory>
#include <string>

#include "model/head_layer.h"
#include "model/post_norm_fields.h"

namespace longspan {

// Where the heads of two models differ.
struct PostNormHeadStyle {
  // BERT: the names of its masked LM are those of TensorFlow, and a sequence classifier is one
  // layer after the encoder's pooler. Otherwise RoBERTa's names, and a dense layer of the
  // classifier's.
  bool bert = false;
  std::string activation = "gelu";             // of the masked LM's transform
  double dropout = 0.0, choice_dropout = 0.0;  // before a classifier, and of multiple choice
};

// Registers the head's parameters. Null for a bare model. `encoder_prefix` begins the encoder's
// names ("longformer.").
std::unique_ptr<HeadLayer> MakePostNormHead(const PostNormFields& config,
                                            const PostNormHeadStyle& style,
                                            const std::string& encoder_prefix,
                                            ParameterTable& parameters);

}  // namespace longspan
