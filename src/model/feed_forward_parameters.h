// The two linear layers of a feed-forward block (ops/feed_forward), as the block takes them. What
// is around it (norm, residual, slabs, saved activations) differs between families.
#pragma once

#include <string>

#include "model/linear.h"
#include "ops/feed_forward/feed_forward.h"

namespace longspan {

class FeedForwardParameters {
 public:
  // Registers `inner` + "weight" (F, C) and "bias" (F), `outer` + "weight" (C, F) and "bias" (C).
  FeedForwardParameters(const std::string& inner, const std::string& outer, idx_t channels,
                        idx_t hidden, ParameterTable& parameters)
      : inner_(inner, hidden, channels, parameters), outer_(outer, channels, hidden, parameters) {}

  // The weights of a call (model/operands.h), in operand type T.
  template <class T, class Call>
  FeedForwardWeightsOf<T> Weights(const Call& call) const {
    return {WeightOf<T>(call, inner_.weight()), inner_.Bias(call.parameters),
            WeightOf<T>(call, outer_.weight()), outer_.Bias(call.parameters)};
  }
  FeedForwardGradients Gradients(const ParameterTable& parameters) const {
    return {parameters.matrix_gradient(inner_.weight()), parameters.vector_gradient(inner_.bias()),
            parameters.matrix_gradient(outer_.weight()), parameters.vector_gradient(outer_.bias())};
  }

 private:
  Linear inner_, outer_;
};

}  // namespace longspan
