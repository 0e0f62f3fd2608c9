// A model's head: logits and losses from the last hidden states, and gradients. Every kind of model
// has the same heads (model/heads.h); how it hands out its hidden states is its own (HeadRows).
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "longspan/context.h"
#include "model/batch.h"
#include "model/bf16_weights.h"
#include "model/head_losses.h"
#include "model/linear.h"
#include "model/parameters.h"
#include "model/step_dropout.h"

namespace longspan {

// What a head reads of the hidden states: those of every token, of labelled ones, of the first one
// of each text; or the mean over each text's tokens that are not hidden.
enum class HeadReads { kEveryToken, kLabelledTokens, kFirstTokens, kMeanTokens };

// The hidden states that a head reads, W wide, in blocks. A model that does not hold all of them at
// once computes each block when it is asked for. A head may read any number of times, in order.
// Differentiate must be the last call, and the only one.
//
// Where ranks share rows, each has those of its own tokens. They are numbered as those of the whole
// batch: so labels, which are the whole batch's, and dropout fall to them as with one process.
class HeadRows {
 public:
  virtual ~HeadRows() = default;
  virtual idx_t count() const = 0;  // that come: of this rank
  // h (rows, W) are the rows from number `begin` on.
  using Look = std::function<void(idx_t begin, const View<const float, 2>& h)>;
  virtual void Read(const Look& look) = 0;
  // Overwrites dh (rows, W), the gradient for h. It may overwrite h too.
  using Gradient =
      std::function<void(idx_t begin, const View<float, 2>& h, const View<float, 2>& dh)>;
  virtual void Differentiate(const Gradient& gradient) = 0;
};

// The arguments of one call.
struct HeadCall {
  const ParameterTable& parameters;
  const Bf16Weights* bf16;  // has TallMatrix(); null: all products are of fp32
  const BatchView& batch;
  std::optional<float> scale = {};  // of the sum of the losses; absent: Hugging Face's mean
  StepDropout dropout = {};
};

class HeadLayer {
 public:
  virtual ~HeadLayer() = default;

  virtual HeadReads reads() const { return HeadReads::kEveryToken; }
  // Logits of each row that it reads.
  virtual idx_t outputs() const = 0;
  // Writes logits (rows, outputs) of h (rows, W), without dropout. `bf16` is as in HeadCall.
  virtual void Logits(Context& context, const ParameterTable& parameters, const Bf16Weights* bf16,
                      const View<const float, 2>& h, const View<float, 2>& logits) const = 0;
  // The same with the dropout of a step, which overwrites h. kUsage unless it reads texts.
  virtual void LogitsInStep(Context& context, const ParameterTable& parameters,
                            const StepDropout& dropout, const View<float, 2>& h,
                            const View<float, 2>& logits) const;
  // The shape of the logits of `count` rows: (count, outputs) for all but multiple choice, which
  // has (B / choices, choices). kUsage if the batch has not what that needs.
  virtual std::vector<idx_t> LogitsShape(const BatchView& /*batch*/, idx_t count) const {
    return {count, outputs()};
  }
  // The loss. With `backward` it calls rows.Differentiate, accumulates the gradients of the head's
  // parameters, and uses the call's dropout. Otherwise there is none.
  virtual HeadLoss Loss(Context& context, const HeadCall& call, HeadRows& rows,
                        bool backward) const = 0;
  // Whether the loss of a token needs the logits of others. Where ranks share rows, each then
  // computes the loss of the whole batch; of other heads, that of its own tokens.
  virtual bool joins_tokens() const { return false; }
  // A matrix whose products are worth bf16, or kNoParameter. All others of a head meet a few rows
  // only and stay fp32.
  virtual ParameterId TallMatrix() const { return kNoParameter; }
  // The head's own pooler, or null.
  virtual const Linear* pooler() const { return nullptr; }
  // kUsage if the batch does not have the targets that the loss needs.
  virtual void CheckTargets(const BatchView& batch) const = 0;
  // Multiply-adds counted as two, of one forward over B rows, of which it reads `tokens` tokens.
  virtual double ForwardFlop(idx_t rows, idx_t tokens) const = 0;
};

// kUsage: the head has no logits of whole texts.
[[noreturn]] void RefuseTextLogits();

// Whether a head reads one vector of each text.
inline bool ReadsTexts(HeadReads reads) {
  return reads == HeadReads::kFirstTokens || reads == HeadReads::kMeanTokens;
}

// The row numbers of the hidden states (B*T, W) that a head reads one by one: none for every token
// and for means.
std::vector<std::int32_t> TokensRead(HeadReads reads, const BatchView& batch);

}  // namespace longspan
