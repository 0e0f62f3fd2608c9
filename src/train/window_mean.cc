#include "train/window_mean.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/errors.h"
#include "tasks/scores.h"

namespace longspan {
namespace {

// -log sum_w shares[w] exp(-losses[w]). Of one window its own loss, bit for bit.
double LossOfMean(std::span<const double> losses, std::span<const double> shares) {
  const double least = *std::min_element(losses.begin(), losses.end());
  if (!std::isfinite(least)) return least;
  double mean = 0.0;
  for (std::size_t w = 0; w < losses.size(); ++w) mean += shares[w] * std::exp(least - losses[w]);
  return least - std::log(mean);
}

double ClassLoss(const SequenceTargets& targets, const ScoredWindows& text, float* dlogits) {
  const idx_t windows = text.logits.extent[0], labels = text.logits.extent[1];
  std::vector<double> normalisers, losses(static_cast<std::size_t>(windows));
  for (idx_t w = 0; w < windows; ++w) {
    normalisers.push_back(LogSumExp({&text.logits(w, 0), static_cast<std::size_t>(labels)}));
  }
  // Of each logit what its own target takes, and of each window what all targets give.
  std::vector<double> taken, given(losses.size(), 0.0);
  if (dlogits != nullptr) taken.assign(static_cast<std::size_t>(windows * labels), 0.0);
  double loss = 0.0;
  for (idx_t k = 0; k < labels; ++k) {
    const double target =
        SmoothedTarget(k, targets.labels.front(), labels, targets.weights, targets.smoothing);
    // A class without a share takes no part, even where its probability is 0.
    if (target == 0.0) continue;
    for (std::size_t w = 0; w < losses.size(); ++w) {
      const double logit = text.logits(static_cast<idx_t>(w), k);
      losses[w] = normalisers[w] - logit;
    }
    const double mean = LossOfMean(losses, text.shares);
    loss += target * mean;
    for (std::size_t w = 0; dlogits != nullptr && w < losses.size(); ++w) {
      const double part = target * text.shares[w] * std::exp(mean - losses[w]);
      given[w] += part;
      taken[w * static_cast<std::size_t>(labels) + static_cast<std::size_t>(k)] = part;
    }
  }
  for (std::size_t i = 0; i < taken.size(); ++i) {
    const std::size_t w = i / static_cast<std::size_t>(labels);
    const double logit = text.logits(static_cast<idx_t>(w), static_cast<idx_t>(i) % labels);
    dlogits[i] = static_cast<float>(given[w] * std::exp(logit - normalisers[w]) - taken[i]);
  }
  return loss;
}

// The part of one label of a set, whose value is from 0 to 1.
double LabelLoss(float value, idx_t label, const ScoredWindows& text, float* dlogits) {
  const idx_t windows = text.logits.extent[0], labels = text.logits.extent[1];
  const auto share = static_cast<double>(value);
  std::vector<double> losses(static_cast<std::size_t>(windows));
  std::vector<float> slopes(losses.size());
  double loss = 0.0;
  for (idx_t w = 0; dlogits != nullptr && w < windows; ++w) dlogits[w * labels + label] = 0.0f;
  for (const float target : {1.0f, 0.0f}) {
    const double weight = target == 1.0f ? share : 1.0 - share;
    if (weight == 0.0) continue;
    for (idx_t w = 0; w < windows; ++w) {
      const auto i = static_cast<std::size_t>(w);
      losses[i] = BinaryLoss({&text.logits(w, label), 1}, {&target, 1}, 1.0f, &slopes[i]);
    }
    const double mean = LossOfMean(losses, text.shares);
    loss += weight * mean;
    for (idx_t w = 0; dlogits != nullptr && w < windows; ++w) {
      const auto i = static_cast<std::size_t>(w);
      dlogits[w * labels + label] += static_cast<float>(
          weight * text.shares[i] * std::exp(mean - losses[i]) * static_cast<double>(slopes[i]));
    }
  }
  // The two parts of one window add up to its loss, but not to its last bit.
  if (windows > 1) return loss;
  return BinaryLoss({&text.logits(0, label), 1}, {&value, 1}, 0.0f, nullptr);
}

double NumberLoss(float value, idx_t label, const ScoredWindows& text, float* dlogits) {
  const idx_t windows = text.logits.extent[0], labels = text.logits.extent[1];
  double mean = 0.0;
  for (idx_t w = 0; w < windows; ++w) {
    mean += text.shares[static_cast<std::size_t>(w)] * static_cast<double>(text.logits(w, label));
  }
  const double difference = mean - static_cast<double>(value);
  for (idx_t w = 0; dlogits != nullptr && w < windows; ++w) {
    dlogits[w * labels + label] =
        static_cast<float>(2.0 * text.shares[static_cast<std::size_t>(w)] * difference);
  }
  return difference * difference;
}

}  // namespace

double LossOfWindowMean(const SequenceTargets& targets, const ScoredWindows& text, float* dlogits) {
  const idx_t labels = text.logits.extent[1];
  Check(std::ssize(text.shares) == text.logits.extent[0] && text.logits.extent[0] > 0,
        ErrorCode::kUsage, "windows: {} shares for {} windows, need one for each of at least one",
        text.shares.size(), text.logits.extent[0]);
  CheckSequenceTargets(targets, 1, labels);
  if (targets.problem == ProblemType::kSingleLabel) return ClassLoss(targets, text, dlogits);
  double loss = 0.0;
  for (idx_t k = 0; k < labels; ++k) {
    const float value = targets.values[static_cast<std::size_t>(k)];
    loss += targets.problem == ProblemType::kRegression ? NumberLoss(value, k, text, dlogits)
                                                        : LabelLoss(value, k, text, dlogits);
  }
  return loss;
}

}  // namespace longspan
