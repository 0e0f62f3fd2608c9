// The hidden states of a batch in memory, as a head reads them.
//
// Where ranks share rows (Context::row_group), `hidden` below is (n, W), the rows of this rank's
// tokens, `batch` is the whole one, and the calls are made by all ranks of the group together.
#pragma once

#include <vector>

#include "model/head_layer.h"
#include "model/linear.h"
#include "model/row_slab.h"

namespace longspan {

class HiddenRows final : public HeadRows {
 public:
  // `hidden` is (N, W), and so is `dhidden`, which is empty if nothing is differentiated.
  // Differentiate may overwrite `hidden`. `batch` must outlive this. Not for heads that read texts
  // where ranks share rows.
  HiddenRows(Context& context, HeadReads reads, const BatchView& batch,
             const View<float, 2>& hidden, const View<float, 2>& dhidden);

  idx_t count() const override;
  void Read(const Look& look) override;
  void Differentiate(const Gradient& gradient) override;

 private:
  void Gather(const View<float, 2>& h);

  Context& context_;
  const HeadReads reads_;
  const BatchView& batch_;
  const TokenSlab slab_;
  std::vector<std::int32_t> tokens_;  // that are read one by one, of the slab's rows
  idx_t first_ = 0;                   // the number of the first row that is read
  const View<float, 2> hidden_, dhidden_;
};

// The head's loss over hidden states, and with `backward` their gradient and those of the head's
// parameters: the loss of the whole batch on all ranks. A head that reads one vector of each text
// runs on rank 0 of a group alone, which has its gradients; the others get theirs from it.
HeadLoss LossOfHidden(Context& context, const HeadLayer& head, const HeadCall& call,
                      const View<float, 2>& hidden, const View<float, 2>& dhidden, bool backward);

// What a head reads of hidden states (B*T, W), into h (count, W): rows, or means over texts. With a
// group: one vector of each text, on all ranks.
void ReadHidden(Context& context, HeadReads reads, const BatchView& batch,
                const View<const float, 2>& hidden, const View<float, 2>& h);
// Overwrites dhidden (B*T, W), the gradient for the hidden states, from dh (count, W).
void SpreadHidden(Context& context, HeadReads reads, const BatchView& batch,
                  const View<const float, 2>& dh, const View<float, 2>& dhidden);

// The head's logits of hidden states (B*T, W): HeadLayer::LogitsShape of the first tokens, or of
// every token. With a group all ranks get all of them.
Tensor LogitsOf(Context& context, const HeadLayer& head, const ParameterTable& parameters,
                const Bf16Weights* bf16, const BatchView& batch,
                const View<const float, 2>& hidden);

// Writes pooled (texts, C) = tanh(W h + b) of the first token of each row or document.
void PoolFirstTokens(Context& context, const ParameterTable& parameters, const Linear& pooler,
                     const BatchView& batch, const View<const float, 2>& hidden,
                     const View<float, 2>& pooled);

}  // namespace longspan
