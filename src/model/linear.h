// A dense layer of the parameter table: name + "weight" (N, K) and name + "bias" (N).
#pragma once

#include <string>
#include <utility>

#include "gemm/gemm.h"
#include "model/parameters.h"

namespace longspan {

class Linear {
 public:
  Linear(std::string name, idx_t out, idx_t in, ParameterTable& parameters)
      : name_(std::move(name)),
        weight_(parameters.Add(name_ + "weight", {out, in}, ParameterKind::kMatrix)),
        bias_(parameters.Add(name_ + "bias", {out}, ParameterKind::kBias)) {}

  const std::string& name() const { return name_; }
  ParameterId weight() const { return weight_; }
  ParameterId bias() const { return bias_; }

  // y (T, N) = x (T, K) w^T + b.
  void Forward(Context& context, const ParameterTable& parameters, const View<const float, 2>& x,
               const View<float, 2>& y) const {
    gemm::Forward(context, x, parameters.matrix(weight_), parameters.vector(bias_).data, y);
  }

  // dx (T, K) = dy w; the gradients of weight and bias accumulate.
  void Backward(Context& context, const ParameterTable& parameters, const View<const float, 2>& x,
                const View<const float, 2>& dy, const View<float, 2>& dx) const {
    gemm::BackwardWeights(context, dy, x, parameters.matrix_gradient(weight_));
    gemm::BackwardBias(context, dy, parameters.vector_gradient(bias_).data);
    gemm::BackwardData(context, dy, parameters.matrix(weight_), dx);
  }

 private:
  std::string name_;
  ParameterId weight_, bias_;
};

}  // namespace longspan
