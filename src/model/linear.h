// A dense layer of the parameter table: y (T, N) = x (T, K) w^T + b, w (N, K), b (N). b may be
// left out.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gemm/gemm.h"
#include "model/operands.h"
#include "model/parameters.h"

namespace longspan {

class Linear {
 public:
  // Registers name + "weight" and, unless it has none, name + "bias".
  Linear(std::string name, idx_t out, idx_t in, ParameterTable& parameters, bool biased = true)
      : name_(std::move(name)),
        weight_(parameters.Add(name_ + "weight", {out, in}, ParameterKind::kMatrix)),
        bias_(biased ? parameters.Add(name_ + "bias", {out}, ParameterKind::kBias) : kNoParameter),
        out_(out) {}

  // P matrices of one shape whose products are one, N = P out: registers prefix + part + ".weight"
  // (out, in) of each part, then their biases. The outputs of the parts are side by side.
  Linear(std::string prefix, std::initializer_list<std::string_view> parts, idx_t out, idx_t in,
         ParameterTable& parameters)
      : name_(std::move(prefix)), out_(static_cast<idx_t>(parts.size()) * out) {
    const auto add = [&](const char* what, std::vector<idx_t> shape, ParameterKind kind) {
      ParameterId first = kNoParameter;
      for (const std::string_view part : parts) {
        const ParameterId id =
            parameters.Add(name_ + std::string(part) + what, shape, kind, first == kNoParameter);
        if (first == kNoParameter) first = id;
      }
      return first;
    };
    weight_ = add(".weight", {out, in}, ParameterKind::kMatrix);
    bias_ = add(".bias", {out}, ParameterKind::kBias);
  }

  const std::string& name() const { return name_; }
  ParameterId weight() const { return weight_; }  // the first, if there are several
  ParameterId bias() const { return bias_; }      // kNoParameter: there is none
  idx_t outputs() const { return out_; }          // N
  // Work of Forward for a row of x (T, K).
  double Flop(idx_t in) const { return 2.0 * static_cast<double>(out_ * in); }

  // The fp32 weights of all parts, and their gradients. Those of a bias that is not there are
  // empty, and so are the gradients of parts that are all frozen: their products are left out.
  View<const float, 2> Weight(const ParameterTable& parameters) const {
    return parameters.matrix(weight_, out_);
  }
  View<const float, 1> Bias(const ParameterTable& parameters) const {
    if (bias_ == kNoParameter) return {};
    return parameters.vector(bias_, out_);
  }
  View<float, 1> BiasGradient(const ParameterTable& parameters) const {
    if (bias_ == kNoParameter) return {};
    const bool trained = parameters.trains(bias_, out_);
    return {trained ? parameters.vector_gradient(bias_).data : nullptr, {out_}};
  }
  View<float, 2> WeightGradient(const ParameterTable& parameters) const {
    return parameters.trained_gradient(weight_, out_);
  }

  // Numbers of the weights whose gradient is left out: all of them, or 0.
  idx_t FrozenNumbers(const ParameterTable& parameters) const {
    return parameters.frozen_numbers(weight_, out_);
  }

  // y = x w^T + b, with products in T. y is T or fp32.
  template <class T, class Call>
  void ForwardIn(Context& context, const Call& call, const View<const T, 2>& x,
                 const gemm::Matrix& y) const {
    gemm::Forward(context, x, WeightOf<T>(call, weight_, out_), Bias(call.parameters).data, y);
  }
  // dx (T, K) = dy w or += it; the gradients of weight and bias accumulate. dy (T, N) is rounded
  // for the products where T is bfloat16: scratch of its size. dx may be T with kOverwrite.
  template <class T, class Call>
  void BackwardIn(Context& context, const Call& call, const View<const T, 2>& x,
                  const View<const float, 2>& dy, const gemm::Matrix& dx,
                  gemm::Store store = gemm::Store::kOverwrite) const {
    const idx_t rounded = OperandCount<T>(dy.size());
    Arena::Frame frame(context.arena(), Arena::Bytes<T>(rounded));
    const gemm::ConstMatrix terms = Operand<T>(context, dy, frame.Take<T>(rounded));
    gemm::BackwardWeights(context, terms, x, WeightGradient(call.parameters));
    const View<float, 1> dbias = BiasGradient(call.parameters);
    if (!dbias.empty()) gemm::BackwardBias(context, dy, dbias.data);
    gemm::BackwardData(context, terms, WeightOf<T>(call, weight_, out_), dx, store);
  }

  // The same in fp32, for layers that few rows pass through.
  void Forward(Context& context, const ParameterTable& parameters, const View<const float, 2>& x,
               const View<float, 2>& y) const {
    ForwardIn<float>(context, Fp32Call{parameters}, x, y);
  }
  void Backward(Context& context, const ParameterTable& parameters, const View<const float, 2>& x,
                const View<const float, 2>& dy, const View<float, 2>& dx) const {
    BackwardIn<float>(context, Fp32Call{parameters}, x, dy, dx);
  }

 private:
  struct Fp32Call {
    const ParameterTable& parameters;
  };

  std::string name_;
  ParameterId weight_ = kNoParameter, bias_ = kNoParameter;
  idx_t out_;
};

}  // namespace longspan
