// logits = out(dropout(P(dropout(h)))), P a HeadTransform: a classifier of one vector a row.
#pragma once

#include <functional>
#include <string>

#include "base/rng.h"
#include "model/head_losses.h"
#include "model/head_transform.h"
#include "model/linear.h"

namespace longspan {

class DenseClassifier {
 public:
  // P from `in` to `channels`, and out (outputs, channels) below its name ("classifier.").
  DenseClassifier(const HeadTransformSpec& transform, const std::string& out, idx_t in,
                  idx_t channels, idx_t outputs, ParameterTable& parameters)
      : in_(in),
        channels_(channels),
        outputs_(outputs),
        transform_(transform, in, channels, parameters),
        out_(out, outputs, channels, parameters) {}

  idx_t outputs() const { return outputs_; }
  const Linear& dense() const { return transform_.dense(); }

  // logits (B, outputs) of h (B, in), without dropout.
  void Logits(Context& context, const ParameterTable& parameters, const View<const float, 2>& h,
              const View<float, 2>& logits) const;

  struct Sites {
    Dropout before, after;  // of h, and of what the logits are made of
  };
  // The same with the dropout of a step, which overwrites h.
  void LogitsInStep(Context& context, const ParameterTable& parameters, const Sites& sites,
                    const View<float, 2>& h, const View<float, 2>& logits) const;
  // The loss of logits (B, outputs); writes dlogits, zero and laid out alike, unless it is null.
  using LossOf = std::function<HeadLoss(const View<const float, 2>& logits, float* dlogits)>;

  // Without dropout.
  HeadLoss Loss(Context& context, const ParameterTable& parameters, const View<const float, 2>& h,
                const LossOf& loss_of) const;
  // h becomes the gradient of itself; those of the parameters accumulate.
  HeadLoss LossAndGradients(Context& context, const ParameterTable& parameters, const Sites& sites,
                            const View<float, 2>& h, const LossOf& loss_of) const;

  // Multiply-adds counted as two, of one forward.
  double ForwardFlop(idx_t rows) const {
    return 2.0 * static_cast<double>(rows * channels_) * static_cast<double>(in_ + outputs_);
  }

 private:
  // Of h as it is, with dropout `after`.
  void LogitsOf(Context& context, const ParameterTable& parameters, const Dropout& after,
                const View<const float, 2>& h, const View<float, 2>& logits) const;

  idx_t in_, channels_, outputs_;
  HeadTransform transform_;
  Linear out_;
};

}  // namespace longspan
