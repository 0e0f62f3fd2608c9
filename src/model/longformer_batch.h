// The input of a Longformer, and the loss of its head.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "longspan/attention.h"
#include "model/head_losses.h"
#include "model/step_dropout.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace longspan {

// B rows of T tokens each. Which targets count depends on the head.
struct LongformerBatch {
  idx_t rows = 0, tokens = 0;                 // B, T
  std::span<const std::int32_t> ids;          // (B, T)
  TokenRoles roles;                           // (B, T), empty: every token is local
  std::span<const std::int32_t> token_types;  // (B, T), empty: all 0

  // Masked LM and token classes: (B, T). Sequence classes: (B). Multiple choice: (B / choices).
  // kIgnoreLabel stands for none.
  std::span<const std::int32_t> labels;
  std::span<const float> values;               // regression, sets of labels: (B, labels)
  std::span<const std::int32_t> starts, ends;  // question answering: (B)
  idx_t choices = 1;  // multiple choice: rows that belong to one question, one after another

  // Lengths of documents that stand side by side, over all rows in order. None crosses a row's end.
  // Each is computed as a row of its own, with its own positions, windows and global tokens. Empty:
  // a row is one document. For heads that read every token.
  std::span<const idx_t> documents = {};
};

// Hugging Face's two masks as roles: attention_mask 0 or 1 (2: global), and 1 in
// global_attention_mask, which makes no hidden token global. Either may be empty.
std::vector<std::uint8_t> MergeMasks(std::span<const std::int32_t> attention_mask,
                                     std::span<const std::int32_t> global_attention_mask);

// Settings of a training step.
struct LongformerStep {
  StepDropout dropout;
  // Gradients are those of scale times the sum of the losses; absent: of Hugging Face's mean.
  std::optional<float> scale;
  // (L): layers that save only their input and recompute the rest in the backward, to the same
  // bits. Empty: none.
  std::vector<bool> recompute;
};

using LongformerLoss = HeadLoss;

}  // namespace longspan
