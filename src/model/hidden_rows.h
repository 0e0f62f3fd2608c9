// The hidden states of a batch in memory, as a head reads them.
//
// Of a head that reads tokens one by one, `hidden` and `dhidden` below may also be the R rows alone
// that it reads (RowsOfHead), in their order.
//
// Where ranks share rows (Context::row_group), `hidden` below is (n, W), the rows of this rank's
// tokens, `batch` is the whole one, and the calls are made by all ranks of the group together.
#pragma once

#include <vector>

#include "model/head_layer.h"
#include "model/last_rows.h"
#include "model/linear.h"
#include "model/row_slab.h"

namespace longspan {

// The rows that the head reads for the loss: of a masked LM those with labels. All of them where it
// reads every token or means, or where those that it reads one by one are all that this rank has.
LastRows RowsOfHead(const Context& context, HeadReads reads, const BatchView& batch);

// Work that a loss leaves out, because the last layer computes for these rows alone what follows
// its attention: matrices of so many numbers. `frozen` of them have no gradient.
double LeftOutFlop(HeadReads reads, const BatchView& batch, double numbers, idx_t frozen,
                   bool backward);

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
  const LastRows own_;   // that are read one by one
  const bool in_place_;  // hidden_ has what is read, and nothing else
  const idx_t first_;    // the number of the first row that is read
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
// every token. With a group all ranks get all of them. An active `dropout` is that of a step, for
// heads that read texts (HeadLayer::LogitsInStep).
Tensor LogitsOf(Context& context, const HeadLayer& head, const ParameterTable& parameters,
                const Bf16Weights* bf16, const BatchView& batch, const View<const float, 2>& hidden,
                const StepDropout& dropout = {});

// Writes pooled (texts, C) = tanh(W h + b) of the first token of each row or document.
void PoolFirstTokens(Context& context, const ParameterTable& parameters, const Linear& pooler,
                     const BatchView& batch, const View<const float, 2>& hidden,
                     const View<float, 2>& pooled);

}  // namespace longspan
