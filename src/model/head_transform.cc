#include "model/head_transform.h"

#include "model/rows.h"

namespace longspan {

HeadTransform::HeadTransform(const HeadTransformSpec& spec, idx_t in, idx_t width,
                             ParameterTable& parameters)
    : dense_(spec.dense, width, in, parameters, spec.dense_bias), activation_(spec.activation) {
  if (!spec.norm.empty()) norm_.emplace(spec.norm, width, spec.eps, parameters, spec.norm_bias);
}

void HeadTransform::Forward(Context& context, const ParameterTable& parameters,
                            const View<const float, 2>& h, const View<float, 2>& u,
                            const View<float, 2>& slope, const View<float, 2>& v) const {
  dense_.Forward(context, parameters, h, u);
  Activate(context, activation_, u, slope);
  if (norm_) LayerNormForward(context, norm_->Weights(parameters), u, v);
}

void HeadTransform::Backward(Context& context, const ParameterTable& parameters,
                             const View<const float, 2>& h, const View<float, 2>& u,
                             const View<float, 2>& slope, const View<float, 2>& dv,
                             const View<float, 2>& du, const View<float, 2>& dh) const {
  if (norm_) {
    ZeroRows(context, du);
    LayerNormBackward(context, norm_->Weights(parameters), u, dv, du, norm_->Gradients(parameters));
  }
  MultiplyBySlope(context, slope, du);
  dense_.Backward(context, parameters, h, du, dh);
}

}  // namespace longspan
