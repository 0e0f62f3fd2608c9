// The losses of train/window_mean.h in plain loops on any scalar, from probabilities and not from
// losses. They share no code with what they check.
#pragma once

#include <cmath>
#include <complex>
#include <vector>

#include "longspan/types.h"

namespace longspan::ref {

// logits: of each window (labels). targets: of each class its target, of each label or number its
// value.
template <class T>
T LossOfWindowMean(ProblemType problem, const std::vector<std::vector<T>>& logits,
                   const std::vector<double>& shares, const std::vector<double>& targets) {
  T loss = T(0);
  for (std::size_t k = 0; k < targets.size(); ++k) {
    T mean = T(0);
    for (std::size_t w = 0; w < logits.size(); ++w) {
      T score = logits[w][k];
      if (problem == ProblemType::kSingleLabel) {
        T sum = T(0);
        for (const T& logit : logits[w]) sum += std::exp(logit);
        score = std::exp(score) / sum;
      } else if (problem == ProblemType::kMultiLabel) {
        score = T(1) / (T(1) + std::exp(-score));
      }
      mean += shares[w] * score;
    }
    if (problem == ProblemType::kRegression) {
      loss += (mean - targets[k]) * (mean - targets[k]);
    } else {
      loss -= targets[k] * std::log(mean);
      if (problem == ProblemType::kMultiLabel) loss -= (1.0 - targets[k]) * std::log(T(1) - mean);
    }
  }
  return loss;
}

}  // namespace longspan::ref
