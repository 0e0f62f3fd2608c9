#include "model/targets.h"

#include "ops/cross_entropy/cross_entropy.h"

namespace longspan {

Targets::Targets(const TextModelInfo& model, idx_t rows, idx_t tokens,
                 std::span<std::int32_t> room) {
  const auto b = static_cast<std::size_t>(rows);
  const auto n = static_cast<std::size_t>(rows * tokens);
  switch (model.head) {
    case HeadKind::kNone:
      break;
    case HeadKind::kMaskedLm:
      for (std::size_t t = 0; model.reads_labelled && t < n; ++t) {
        room[t] = t % 20 < 3 ? 0 : kIgnoreLabel;  // 15 %
      }
      token_labels_ = room;
      break;
    case HeadKind::kCausalLm:
    case HeadKind::kToken:
      token_labels_ = room;
      break;
    case HeadKind::kQuestion:
      places_.assign(b, 0);
      break;
    case HeadKind::kChoice:
      row_labels_.assign(b, 0);
      break;
    case HeadKind::kSequence:
      if (ProblemOf(model.problem, model.label_count(), true) == ProblemType::kSingleLabel) {
        row_labels_.assign(b, 0);
      } else {
        values_.assign(b * model.labels.size(), 0.0f);
      }
      break;
  }
}

void Targets::AddTo(BatchView* batch) const {
  batch->labels =
      token_labels_.empty() ? std::span<const std::int32_t>(row_labels_) : token_labels_;
  batch->values = values_;
  batch->starts = batch->ends = places_;
}

std::vector<std::uint8_t> RolesFor(const TextModelInfo& model, idx_t rows, idx_t tokens) {
  std::vector<std::uint8_t> roles;
  if (!model.global_tokens) return roles;
  roles.assign(static_cast<std::size_t>(rows * tokens), kLocalToken);
  const bool reads_first = model.head == HeadKind::kSequence || model.head == HeadKind::kChoice;
  for (idx_t b = 0; reads_first && b < rows; ++b) {
    roles[static_cast<std::size_t>(b * tokens)] = kGlobalToken;
  }
  return roles;
}

}  // namespace longspan
