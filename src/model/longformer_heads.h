// The heads of a Longformer: logits and losses from the last hidden states, and gradients.
#pragma once

#include <memory>

#include "longspan/context.h"
#include "model/bf16_weights.h"
#include "model/linear.h"
#include "model/longformer_batch.h"
#include "model/longformer_config.h"
#include "model/parameters.h"

namespace longspan {

struct HeadCall {
  const ParameterTable& parameters;
  const Bf16Weights* bf16;  // has TallMatrix(); null: all products are of fp32
  const LongformerBatch& batch;
  const LongformerStep& step;
};

class LongformerHeadLayer {
 public:
  virtual ~LongformerHeadLayer() = default;

  // From the last hidden states (B*T, C), without dropout: (B*T, V), (B*T, labels), (B*T, 2),
  // (B, labels), or (B / choices, choices).
  virtual Tensor Logits(Context& context, const HeadCall& call,
                        const View<const float, 2>& hidden) const = 0;
  // The loss. Where dhidden (B*T, C) is not empty it is overwritten with the gradient, those of the
  // head's parameters accumulate, and dropout is the step's; else there is none.
  virtual LongformerLoss Loss(Context& context, const HeadCall& call,
                              const View<const float, 2>& hidden,
                              const View<float, 2>& dhidden) const = 0;
  // A matrix whose products are worth bf16, or kNoParameter. All others of a head meet a few rows
  // only and stay fp32.
  virtual ParameterId TallMatrix() const { return kNoParameter; }
  // The head's own pooler; null: it has none.
  virtual const Linear* pooler() const { return nullptr; }
  // kUsage when the batch has not what the loss needs.
  virtual void CheckTargets(const LongformerBatch& batch) const = 0;
  // Multiply-adds counted as two, of one forward over `counted` labelled tokens and `rows` rows.
  virtual double ForwardFlop(idx_t rows, idx_t counted) const = 0;
};

// Registers the head's parameters; null for a bare model.
std::unique_ptr<LongformerHeadLayer> MakeLongformerHead(const LongformerConfig& config,
                                                        const std::string& encoder_prefix,
                                                        ParameterTable& parameters);

// pooled (B, C) = tanh(W h + b) of the first token of each row.
void PoolFirstTokens(Context& context, const ParameterTable& parameters, const Linear& pooler,
                     idx_t rows, const View<const float, 2>& hidden, const View<float, 2>& pooled);

}  // namespace longspan
