// The hidden states of a whole batch in memory, as a head reads them.
#pragma once

#include <vector>

#include "model/head_layer.h"
#include "model/linear.h"

namespace longspan {

class HiddenRows final : public HeadRows {
 public:
  // `hidden` is (N, W), and so is `dhidden`, which is empty if nothing is differentiated.
  // Differentiate may overwrite `hidden`. `batch` must outlive this.
  HiddenRows(Context& context, HeadReads reads, const BatchView& batch,
             const View<float, 2>& hidden, const View<float, 2>& dhidden);

  idx_t count() const override;
  void Read(const Look& look) override;
  void Differentiate(const Gradient& gradient) override;

 private:
  Context& context_;
  const HeadReads reads_;
  const BatchView& batch_;
  const std::vector<std::int32_t> tokens_;  // that are read one by one
  const View<float, 2> hidden_, dhidden_;
};

// What a head reads of hidden states (B*T, W), into h (count, W): rows, or means over texts.
void ReadHidden(Context& context, HeadReads reads, const BatchView& batch,
                const View<const float, 2>& hidden, const View<float, 2>& h);
// Overwrites dhidden (B*T, W), the gradient for the hidden states, from dh (count, W).
void SpreadHidden(Context& context, HeadReads reads, const BatchView& batch,
                  const View<const float, 2>& dh, const View<float, 2>& dhidden);

// The head's logits of hidden states (B*T, W): HeadLayer::LogitsShape of the first tokens, or of
// every token.
Tensor LogitsOf(Context& context, const HeadLayer& head, const ParameterTable& parameters,
                const Bf16Weights* bf16, const BatchView& batch,
                const View<const float, 2>& hidden);

// Writes pooled (texts, C) = tanh(W h + b) of the first token of each row or document.
void PoolFirstTokens(Context& context, const ParameterTable& parameters, const Linear& pooler,
                     const BatchView& batch, const View<const float, 2>& hidden,
                     const View<float, 2>& pooled);

}  // namespace longspan
