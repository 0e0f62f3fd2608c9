// The heads of a Reformer: logits and losses from the last hidden states, and gradients.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "longspan/context.h"
#include "model/head_losses.h"
#include "model/parameters.h"
#include "model/reformer_config.h"
#include "model/step_dropout.h"
#include "model/token_batch.h"

namespace longspan {

// The last hidden states that a head reads, LayerNorm(y1 ++ y2), 2C wide, for every token or for
// the first token of each row. They are never in memory all at once. A head reads them block by
// block, in order, any number of times. Differentiate must be the last call, and the only one.
class HeadRows {
 public:
  virtual ~HeadRows() = default;
  virtual idx_t count() const = 0;
  // h (rows, 2C) are the rows from `begin` on.
  using Look = std::function<void(idx_t begin, const View<const float, 2>& h)>;
  virtual void Read(const Look& look) = 0;
  // Overwrites dh (rows, 2C), the gradient for h; h may be overwritten too.
  using Gradient =
      std::function<void(idx_t begin, const View<float, 2>& h, const View<float, 2>& dh)>;
  virtual void Differentiate(const Gradient& gradient) = 0;
};

struct ReformerHeadCall {
  const ParameterTable& parameters;
  const TokenBatch& batch;
  std::optional<float> scale = {};  // of the sum; absent: Hugging Face's mean
  StepDropout dropout = {};
};

class ReformerHeadLayer {
 public:
  virtual ~ReformerHeadLayer() = default;

  // Whether the head reads the first token of each row alone.
  virtual bool reads_first() const { return false; }
  // Logits of each row that it reads.
  virtual idx_t outputs() const = 0;
  // logits (rows, outputs) of h (rows, 2C), without dropout.
  virtual void Logits(Context& context, const ParameterTable& parameters,
                      const View<const float, 2>& h, const View<float, 2>& logits) const = 0;
  // The loss; with `backward` also rows.Differentiate, and gradients of the head's parameters.
  virtual HeadLoss Loss(Context& context, const ReformerHeadCall& call, HeadRows& rows,
                        bool backward) const = 0;
  // kUsage when the batch has not what the loss needs.
  virtual void CheckTargets(const TokenBatch& batch) const = 0;
  // Multiply-adds counted as two, of one forward over B rows of T tokens.
  virtual double ForwardFlop(idx_t rows, idx_t tokens) const = 0;
};

// Registers the head's parameters; null for a bare model.
std::unique_ptr<ReformerHeadLayer> MakeReformerHead(const ReformerConfig& config,
                                                    ParameterTable& parameters);

}  // namespace longspan
