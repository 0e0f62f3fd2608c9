// A layer norm of the parameter table: name + "weight" (C) and, unless it has none, name + "bias"
// (C).
#pragma once

#include <string>

#include "model/parameters.h"
#include "ops/layer_norm/layer_norm.h"

namespace longspan {

class NormLayer {
 public:
  NormLayer(const std::string& name, idx_t channels, double eps, ParameterTable& parameters,
            bool biased = true)
      : weight_(parameters.Add(name + "weight", {channels}, ParameterKind::kNormWeight)),
        bias_(biased ? parameters.Add(name + "bias", {channels}, ParameterKind::kNormBias)
                     : kNoParameter),
        eps_(static_cast<float>(eps)) {}

  LayerNormWeights Weights(const ParameterTable& parameters) const {
    LayerNormWeights weights{parameters.vector(weight_), {}, eps_};
    if (bias_ != kNoParameter) weights.beta = parameters.vector(bias_);
    return weights;
  }
  // Those that are not trained are null in their shape: nothing is computed for them.
  LayerNormGradients Gradients(const ParameterTable& parameters) const {
    LayerNormGradients gradients{parameters.trained_vector_gradient(weight_), {}};
    if (bias_ != kNoParameter) gradients.dbeta = parameters.trained_vector_gradient(bias_);
    return gradients;
  }

 private:
  ParameterId weight_, bias_;
  float eps_;
};

}  // namespace longspan
