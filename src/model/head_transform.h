// The layer between an encoder's hidden states and the last layer of a head:
// P(h) = LayerNorm(act(dense h)), the norm and the biases where there are some.
#pragma once

#include <optional>
#include <string>

#include "model/linear.h"
#include "model/norm_layer.h"
#include "ops/feed_forward/feed_forward.h"

namespace longspan {

struct HeadTransformSpec {
  std::string dense;  // "lm_head.dense."
  std::string norm;   // "lm_head.layer_norm."; empty: there is none
  Activation activation = Activation::kGelu;
  double eps = 1e-12;
  bool dense_bias = true, norm_bias = true;
};

class HeadTransform {
 public:
  // dense (width, in).
  HeadTransform(const HeadTransformSpec& spec, idx_t in, idx_t width, ParameterTable& parameters);

  const Linear& dense() const { return dense_; }
  bool normed() const { return norm_.has_value(); }

  // v (rows, width) = P(h) of h (rows, in). u (rows, width) becomes act(dense h) and, where it is
  // not empty, slope the derivative of act. Without a norm u and v are the same view; with one they
  // may be if no backward follows.
  void Forward(Context& context, const ParameterTable& parameters, const View<const float, 2>& h,
               const View<float, 2>& u, const View<float, 2>& slope, const View<float, 2>& v) const;
  // dh (rows, in) from dv, u and slope. du (rows, width) is scratch: dv itself without a norm,
  // memory apart from u and dv with one. dh may be the memory of u. The gradients of the parameters
  // accumulate.
  void Backward(Context& context, const ParameterTable& parameters, const View<const float, 2>& h,
                const View<float, 2>& u, const View<float, 2>& slope, const View<float, 2>& dv,
                const View<float, 2>& du, const View<float, 2>& dh) const;

 private:
  // In the order in which they are added.
  Linear dense_;
  std::optional<NormLayer> norm_;
  Activation activation_;
};

}  // namespace longspan
