// Linear layer, softmax and cross-entropy in plain loops, on any scalar.
#pragma once

#include <cmath>
#include <complex>
#include <cstdint>
#include <vector>

#include "longspan/types.h"

namespace longspan::ref {

// Maxima are taken over the real part: on complex numbers a maximum has no derivative, and a shift
// of the logits cancels anyway.
template <class T>
double RealPart(const T& x) {
  if constexpr (requires { x.real(); }) {
    return static_cast<double>(x.real());
  } else {
    return static_cast<double>(x);
  }
}

template <class T>
struct Classifier {
  idx_t vocabulary, width;
  std::vector<T> w, b;  // (V, C), (V) or empty
};

template <class T>
std::vector<T> Logits(const Classifier<T>& classifier, const std::vector<T>& h, idx_t t) {
  std::vector<T> logits;
  for (idx_t v = 0; v < classifier.vocabulary; ++v) {
    T sum = classifier.b.empty() ? T(0) : classifier.b[static_cast<std::size_t>(v)];
    for (idx_t c = 0; c < classifier.width; ++c) {
      sum += classifier.w[static_cast<std::size_t>(v * classifier.width + c)] *
             h[static_cast<std::size_t>(t * classifier.width + c)];
    }
    logits.push_back(sum);
  }
  return logits;
}

// Softmax of logits; *lse becomes their logsumexp.
template <class T>
std::vector<T> Softmax(const std::vector<T>& logits, T* lse) {
  T largest = logits[0];
  for (const T& x : logits) {
    if (RealPart(x) > RealPart(largest)) largest = x;
  }
  T sum = T(0);
  std::vector<T> p;
  for (const T& x : logits) {
    p.push_back(std::exp(x - largest));
    sum += p.back();
  }
  for (T& x : p) x /= sum;
  *lse = largest + std::log(sum);
  return p;
}

// The weight of a label; `weights` (V) may be empty: 1 each.
template <class T>
T LabelWeight(const std::vector<float>& weights, std::int32_t label) {
  return weights.empty() ? T(1) : T(weights[static_cast<std::size_t>(label)]);
}

// Sum of the losses of tokens with labels >= 0, each times its label's weight.
template <class T>
T CrossEntropy(const Classifier<T>& classifier, const std::vector<T>& h,
               const std::vector<std::int32_t>& labels, const std::vector<float>& weights = {}) {
  T sum = T(0);
  for (std::size_t t = 0; t < labels.size(); ++t) {
    if (labels[t] < 0) continue;
    const std::vector<T> logits = Logits(classifier, h, static_cast<idx_t>(t));
    T lse;
    Softmax(logits, &lse);
    sum += LabelWeight<T>(weights, labels[t]) * (lse - logits[static_cast<std::size_t>(labels[t])]);
  }
  return sum;
}

template <class T>
struct CrossEntropyGradients {
  std::vector<T> dh, dw, db;
};

// scale * the gradient of CrossEntropy.
template <class T>
CrossEntropyGradients<T> CrossEntropyBackward(const Classifier<T>& classifier,
                                              const std::vector<T>& h,
                                              const std::vector<std::int32_t>& labels, T scale,
                                              const std::vector<float>& weights = {}) {
  CrossEntropyGradients<T> g{std::vector<T>(h.size()), std::vector<T>(classifier.w.size()),
                             std::vector<T>(static_cast<std::size_t>(classifier.vocabulary))};
  for (std::size_t t = 0; t < labels.size(); ++t) {
    if (labels[t] < 0) continue;
    T lse;
    const std::vector<T> p = Softmax(Logits(classifier, h, static_cast<idx_t>(t)), &lse);
    for (idx_t v = 0; v < classifier.vocabulary; ++v) {
      const T onehot = v == labels[t] ? T(1) : T(0);
      const T dlogit =
          scale * LabelWeight<T>(weights, labels[t]) * (p[static_cast<std::size_t>(v)] - onehot);
      g.db[static_cast<std::size_t>(v)] += dlogit;
      for (idx_t c = 0; c < classifier.width; ++c) {
        const auto wc = static_cast<std::size_t>(v * classifier.width + c);
        const std::size_t hc =
            t * static_cast<std::size_t>(classifier.width) + static_cast<std::size_t>(c);
        g.dh[hc] += dlogit * classifier.w[wc];
        g.dw[wc] += dlogit * h[hc];
      }
    }
  }
  return g;
}

}  // namespace longspan::ref
