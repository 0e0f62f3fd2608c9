// The layers of an encoder in one pass over its residual stream (N, C), forward and back, whatever
// the layers are. A Layer has, for an operand type T (float or bfloat16), a struct Tensors<T> and
//   Bytes<T>(call), Take<T>(frame, call)             the memory of its tensors
//   Forward<T>(context, call, x, tensors, stream)    x: the stream as products take it
//   Backward<T>(context, call, x, tensors, d)        d: the gradient of the stream, in place
// A last layer of which few rows are read (model/last_rows.h) writes them as the first rows of the
// stream, and their gradient is in the first rows of d.
#pragma once

#include <array>
#include <vector>

#include "base/arena.h"
#include "model/parameters.h"
#include "model/rows.h"

namespace longspan {

// The first layer with a backward, if it ends at `first_stage`.
inline std::size_t FirstTrainedLayer(std::size_t first_stage) {
  return first_stage == 0 ? 0 : first_stage - 1;
}

// call(i) is layer i's call; enter(i) is called each time before the layer runs.
template <class Layer, class CallOf, class Enter>
class LayerStack {
 public:
  LayerStack(Context& context, const std::vector<Layer>& layers, CallOf call, Enter enter)
      : context_(context), layers_(layers), call_(std::move(call)), enter_(std::move(enter)) {}

  // Evaluation: the stream goes through all layers. show(i) is called before layer i.
  template <class T, class Show>
  void Encode(const View<float, 2>& stream, const Show& show) const {
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      show(i);
      const auto call = call_(i);
      const idx_t rounded = sizeof(T) == 2 ? stream.size() : 0;
      Arena::Frame frame(context_.arena(),
                         layers_[i].template Bytes<T>(call) + Arena::Bytes<T>(rounded));
      const auto tensors = layers_[i].template Take<T>(frame, call);
      enter_(i);
      if constexpr (sizeof(T) == 2) {
        const View<T, 2> x(frame.Take<T>(rounded), stream.extent);
        StoreRows(context_, stream, x);
        layers_[i].template Forward<T>(context_, call, x, tensors, stream);
      } else {
        layers_[i].template Forward<T>(context_, call, stream, tensors, stream);
      }
    }
  }

  // Forward, gradient, backward. begin(stream) writes x_0; turn(stream, d) is given x_L and
  // overwrites its gradient, and maybe it; end(d) is given the gradient of x_0. Layers of
  // `recompute` save only their fp32 input; the others save it in T, and their tensors. The
  // backward ends at the first stage that is trained (ParameterTable::first_stage; layer i is stage
  // i + 1): layers below it run as in an evaluation, whose call_(i) they have to have, and save
  // nothing, and end is called for stage 0 only. `parameters` hears of each stage that has ended:
  // the head, which is the turn's, is stage L + 1.
  template <class T, class Begin, class Turn, class End>
  void Differentiate(const std::array<idx_t, 2>& shape, const std::vector<bool>& recompute,
                     const ParameterTable& parameters, const Begin& begin, const Turn& turn,
                     const End& end) const {
    const idx_t size = shape[0] * shape[1];
    const std::size_t first_stage = parameters.first_stage();
    const std::size_t first = FirstTrainedLayer(first_stage);
    const auto again = [&](std::size_t i) { return !recompute.empty() && recompute[i]; };
    std::size_t bytes = 2 * Arena::Bytes<float>(size);
    for (std::size_t i = first; i < layers_.size(); ++i) {
      bytes += again(i) ? Arena::Bytes<float>(size)
                        : Arena::Bytes<T>(size) + layers_[i].template Bytes<T>(call_(i));
    }
    Arena::Frame frame(context_.arena(), bytes);
    const View<float, 2> stream(frame.Take<float>(size), shape);
    const View<float, 2> d(frame.Take<float>(size), shape);
    std::vector<View<float, 2>> streams(layers_.size());
    std::vector<View<T, 2>> x(layers_.size());
    std::vector<typename Layer::template Tensors<T>> kept(layers_.size());
    begin(stream);
    for (std::size_t i = 0; i < first; ++i) RunOnce<T>(i, stream, nullptr);
    for (std::size_t i = first; i < layers_.size(); ++i) {
      if (again(i)) {
        streams[i] = {frame.Take<float>(size), shape};
        CopyRows(context_, stream, streams[i]);
        RunOnce<T>(i, stream, nullptr);
        continue;
      }
      x[i] = {frame.Take<T>(size), shape};
      kept[i] = layers_[i].template Take<T>(frame, call_(i));
      StoreRows(context_, stream, x[i]);
      enter_(i);
      layers_[i].template Forward<T>(context_, call_(i), x[i], kept[i], stream);
    }
    turn(stream, d);
    parameters.EndStage(context_, layers_.size() + 1);
    for (std::size_t i = layers_.size(); i-- > first;) {
      if (again(i)) {
        CopyRows(context_, streams[i], stream);
        RunOnce<T>(i, stream, &d);
      } else {
        enter_(i);
        layers_[i].template Backward<T>(context_, call_(i), x[i], kept[i], d);
      }
      parameters.EndStage(context_, i + 1);
    }
    if (first_stage > 0) return;
    end(d);
    parameters.EndStage(context_, 0);
  }

 private:
  // Layer i from the stream, in memory of its own that is gone afterwards; and back to *d, unless
  // it is null.
  template <class T>
  void RunOnce(std::size_t i, const View<float, 2>& stream, const View<float, 2>* d) const {
    const auto call = call_(i);
    Arena::Frame once(context_.arena(),
                      layers_[i].template Bytes<T>(call) + Arena::Bytes<T>(stream.size()));
    const auto tensors = layers_[i].template Take<T>(once, call);
    const View<T, 2> input(once.Take<T>(stream.size()), stream.extent);
    StoreRows(context_, stream, input);
    enter_(i);
    layers_[i].template Forward<T>(context_, call, input, tensors, stream);
    if (d != nullptr) layers_[i].template Backward<T>(context_, call, input, tensors, *d);
  }

  Context& context_;
  const std::vector<Layer>& layers_;
  CallOf call_;
  Enter enter_;
};

}  // namespace longspan
