#include "model/head_layer.h"

#include "base/errors.h"

namespace longspan {

void HeadLayer::LogitsInStep(Context& /*context*/, const ParameterTable& /*parameters*/,
                             const StepDropout& /*dropout*/, const View<float, 2>& /*h*/,
                             const View<float, 2>& /*logits*/) const {
  RefuseTextLogits();
}

void RefuseTextLogits() { Fail(ErrorCode::kUsage, "model: its head has no logits of whole texts"); }

std::vector<std::int32_t> TokensRead(HeadReads reads, const BatchView& batch) {
  std::vector<std::int32_t> tokens;
  if (reads == HeadReads::kFirstTokens) {
    ForEachText(batch, [&](idx_t, idx_t begin, idx_t) {
      tokens.push_back(static_cast<std::int32_t>(begin));
    });
  }
  for (std::size_t t = 0; reads == HeadReads::kLabelledTokens && t < batch.labels.size(); ++t) {
    if (batch.labels[t] != kIgnoreLabel) tokens.push_back(static_cast<std::int32_t>(t));
  }
  return tokens;
}

}  // namespace longspan
