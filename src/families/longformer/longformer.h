// The Longformer (Beltagy, Peters, Cohan 2020) as Hugging Face has it: embeddings, layers of window
// attention with global tokens, a head (model/post_norm_encoder.h). Nothing is padded to the window
// and no layer's window has to divide anything. docs/reference/longformer.md tells what differs
// from the original and why.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "families/longformer/longformer_attention.h"
#include "families/longformer/longformer_config.h"
#include "model/post_norm_encoder.h"
#include "model/post_norm_heads.h"

namespace longspan {

struct LongformerKind {
  using Config = LongformerConfig;
  using Attention = LongformerAttention;
  static std::string_view Class(const LongformerConfig& /*config*/, HeadKind head) {
    return LongformerClass(head);
  }
  static std::string Prefix(const LongformerConfig& /*config*/) { return "longformer."; }
  static std::unique_ptr<HeadLayer> MakeHead(const LongformerConfig& config,
                                             const std::string& prefix,
                                             ParameterTable& parameters) {
    return MakePostNormHead(config, {false, "gelu", config.hidden_dropout, config.hidden_dropout},
                            prefix, parameters);
  }
  // 4 D (with the backward 14 D) for each visible pair of query and key, and the cheaper form of
  // the global rows.
  static double AttentionFlop(const LongformerConfig& config, const BatchView& batch,
                              std::size_t backward_from);
};

extern template class PostNormEncoder<LongformerKind>;
using Longformer = PostNormEncoder<LongformerKind>;
using LongformerShown = Longformer::Shown;
using LongformerStep = EncoderStep;

}  // namespace longspan
