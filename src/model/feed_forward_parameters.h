// The two linear layers of a feed-forward block (ops/feed_forward), as the block takes them. What
// is around it (norm, residual, slabs, saved activations) differs between families.
#pragma once

#include <string>
#include <utility>

#include "model/linear.h"
#include "ops/feed_forward/feed_forward.h"

namespace longspan {

class FeedForwardParameters {
 public:
  // Registers `inner` + "weight" (F, C) and "bias" (F), `outer` + "weight" (C, F) and "bias" (C).
  FeedForwardParameters(const std::string& inner, const std::string& outer, idx_t channels,
                        idx_t hidden, ParameterTable& parameters)
      : inner_(inner, hidden, channels, parameters), outer_(outer, channels, hidden, parameters) {}
  // Those of a gated block, whose first layer has 2 F rows; with biases only if `biased`.
  static FeedForwardParameters Gated(const std::string& inner, const std::string& outer,
                                     idx_t channels, idx_t hidden, bool biased,
                                     ParameterTable& parameters) {
    Linear first(inner, 2 * hidden, channels, parameters, biased);
    return {std::move(first), Linear(outer, channels, hidden, parameters, biased)};
  }

  // The weights of a call (model/operands.h), in operand type T.
  template <class T, class Call>
  FeedForwardWeightsOf<T> Weights(const Call& call) const {
    return {WeightOf<T>(call, inner_.weight()), inner_.Bias(call.parameters),
            WeightOf<T>(call, outer_.weight()), outer_.Bias(call.parameters)};
  }
  FeedForwardGradients Gradients(const ParameterTable& parameters) const {
    return {inner_.WeightGradient(parameters), inner_.BiasGradient(parameters),
            outer_.WeightGradient(parameters), outer_.BiasGradient(parameters)};
  }

  // Numbers of the matrices whose gradient is left out.
  idx_t FrozenNumbers(const ParameterTable& parameters) const {
    return inner_.FrozenNumbers(parameters) + outer_.FrozenNumbers(parameters);
  }

 private:
  FeedForwardParameters(Linear inner, Linear outer)
      : inner_(std::move(inner)), outer_(std::move(outer)) {}

  Linear inner_, outer_;
};

}  // namespace longspan
