// A stack of residual pairs in plain loops, on any scalar. The backward pass keeps every layer's
// streams, as an ordinary network does: it knows nothing of the inverse.
#pragma once

#include <utility>
#include <vector>

#include "longspan/types.h"

namespace longspan::ref {

template <class T>
struct Streams {
  std::vector<T> first, second;
};

// Layer is any type with f(x), g(x): vectors in, vectors out, and df(x, dy), dg(x, dy): the
// transposed Jacobian times dy.
// Returns the streams before every layer and behind the last.
template <class T, class Layer>
std::vector<Streams<T>> ReversibleForward(const std::vector<Layer>& layers, Streams<T> x) {
  std::vector<Streams<T>> all = {x};
  for (const Layer& layer : layers) {
    const std::vector<T> f = layer.f(x.second);
    for (std::size_t i = 0; i < f.size(); ++i) x.first[i] += f[i];
    const std::vector<T> g = layer.g(x.first);
    for (std::size_t i = 0; i < g.size(); ++i) x.second[i] += g[i];
    all.push_back(x);
  }
  return all;
}

// Gradients of the streams before the first layer, for `dy` behind the last.
template <class T, class Layer>
Streams<T> ReversibleBackward(const std::vector<Layer>& layers, const std::vector<Streams<T>>& all,
                              Streams<T> dy) {
  for (std::size_t l = layers.size(); l-- > 0;) {
    const std::vector<T> dg = layers[l].dg(all[l + 1].first, dy.second);
    for (std::size_t i = 0; i < dg.size(); ++i) dy.first[i] += dg[i];
    const std::vector<T> df = layers[l].df(all[l].second, dy.first);
    for (std::size_t i = 0; i < df.size(); ++i) dy.second[i] += df[i];
  }
  return dy;
}

}  // namespace longspan::ref
