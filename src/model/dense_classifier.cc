#include "model/dense_classifier.h"

#include "base/arena.h"
#include "model/rows.h"
#include "ops/dropout/dropout.h"

namespace longspan {
void DenseClassifier::Logits(Context& context, const ParameterTable& parameters,
                             const View<const float, 2>& h, const View<float, 2>& logits) const {
  LogitsOf(context, parameters, {}, h, logits);
}

void DenseClassifier::LogitsInStep(Context& context, const ParameterTable& parameters,
                                   const Sites& sites, const View<float, 2>& h,
                                   const View<float, 2>& logits) const {
  ApplyDropout(context, sites.before, h);
  LogitsOf(context, parameters, sites.after, h, logits);
}

void DenseClassifier::LogitsOf(Context& context, const ParameterTable& parameters,
                               const Dropout& after, const View<const float, 2>& h,
                               const View<float, 2>& logits) const {
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(h.extent[0] * channels_));
  const View<float, 2> u = TakeRows(frame, h.extent[0], channels_);
  transform_.Forward(context, parameters, h, u, {}, u);
  ApplyDropout(context, after, u);
  out_.Forward(context, parameters, u, logits);
}

HeadLoss DenseClassifier::Loss(Context& context, const ParameterTable& parameters,
                               const View<const float, 2>& h, const LossOf& loss_of) const {
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(h.extent[0] * outputs_));
  const View<float, 2> logits = TakeRows(frame, h.extent[0], outputs_);
  Logits(context, parameters, h, logits);
  return loss_of(logits, nullptr);
}

HeadLoss DenseClassifier::LossAndGradients(Context& context, const ParameterTable& parameters,
                                           const Sites& sites, const View<float, 2>& h,
                                           const LossOf& loss_of) const {
  const idx_t rows = h.extent[0];
  const bool normed = transform_.normed();
  Arena::Frame frame(context.arena(), (normed ? 4 : 3) * Arena::Bytes<float>(rows * channels_) +
                                          2 * Arena::Bytes<float>(rows * outputs_) +
                                          Arena::Bytes<float>(rows * in_));
  const View<float, 2> u = TakeRows(frame, rows, channels_);
  const View<float, 2> slope = TakeRows(frame, rows, channels_);
  const View<float, 2> dv = TakeRows(frame, rows, channels_);
  const View<float, 2> v = normed ? TakeRows(frame, rows, channels_) : u;
  const View<float, 2> logits = TakeRows(frame, rows, outputs_);
  const View<float, 2> dlogits = TakeRows(frame, rows, outputs_);
  const View<float, 2> input = TakeRows(frame, rows, in_);
  ApplyDropout(context, sites.before, h);
  CopyRows(context, h, input);
  transform_.Forward(context, parameters, input, u, slope, v);
  ApplyDropout(context, sites.after, v);
  out_.Forward(context, parameters, v, logits);
  ZeroRows(context, dlogits);
  const HeadLoss loss = loss_of(logits, dlogits.data);
  out_.Backward(context, parameters, v, dlogits, dv);
  ApplyDropout(context, sites.after, dv);
  transform_.Backward(context, parameters, input, u, slope, dv, normed ? v : dv, h);
  ApplyDropout(context, sites.before, h);
  return loss;
}

}  // namespace longspan
