// A layer norm of the parameter table: name + "weight" (C) and name + "bias" (C).
#pragma once

#include <string>

#include "model/parameters.h"
#include "ops/layer_norm/layer_norm.h"

namespace longspan {

class NormLayer {
 public:
  NormLayer(const std::string& name, idx_t channels, double eps, ParameterTable& parameters)
      : weight_(parameters.Add(name + "weight", {channels}, ParameterKind::kNormWeight)),
        bias_(parameters.Add(name + "bias", {channels}, ParameterKind::kNormBias)),
        eps_(static_cast<float>(eps)) {}

  LayerNormWeights Weights(const ParameterTable& parameters) const {
    return {parameters.vector(weight_), parameters.vector(bias_), eps_};
  }
  LayerNormGradients Gradients(const ParameterTable& parameters) const {
    return {parameters.vector_gradient(weight_), parameters.vector_gradient(bias_)};
  }

 private:
  ParameterId weight_, bias_;
  float eps_;
};

}  // namespace longspan
