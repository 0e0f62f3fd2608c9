// The loss of what a classifier says of a text in several windows: of the mean of their scores
// (MeanOfWindows of tasks/scores.h). Evaluations measure it, and trainings may learn from it.
#pragma once

#include <span>

#include "longspan/tensor.h"
#include "model/head_losses.h"

namespace longspan {

// The windows of one text.
struct ScoredWindows {
  View<const float, 2> logits;     // (windows, labels)
  std::span<const double> shares;  // (windows): SharesOfWindows
};

// With s the shares and z the logits, the loss of one text for its targets: a class, or values
// (labels). Gradients of logits are none of them, and the problem is not kInferred.
//   one class  sum_k -t[k] log P[k], P[k] = sum_w s[w] softmax(z[w])[k], t of SmoothedTarget
//   sets       sum_k -v[k] log P[k] - (1 - v[k]) log(1 - P[k]), P[k] = sum_w s[w] logistic(z[w][k])
//   numbers    sum_k (M[k] - v[k])^2, M[k] = sum_w s[w] z[w][k]
// Of one window it is that window's own loss, bit for bit. It is computed from the windows' losses
// l[w] = -log p[w], because a probability may be below all doubles: a window has the part
// r[w] = s[w] p[w] / P = s[w] exp(L - l[w]) in the gradient of L = -log P, dL/dz[w] = r[w]
// dl[w]/dz. Writes the gradients to dlogits (windows, labels), row after row, unless it is null. In
// double; cost: windows x labels exponentials, and as many for each further class with a target.
double LossOfWindowMean(const SequenceTargets& targets, const ScoredWindows& text, float* dlogits);

}  // namespace longspan
