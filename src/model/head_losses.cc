#include "model/head_losses.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "base/errors.h"

namespace longspan {

double MeanLoss(double sum, idx_t counted) {
  return counted == 0 ? std::numeric_limits<double>::quiet_NaN()
                      : sum / static_cast<double>(counted);
}

HeadLoss FromCrossEntropy(const CrossEntropyResult& result) {
  return {result.sum, result.counted, result.correct, MeanLoss(result.sum, result.counted)};
}

float WeightScale(const std::optional<float>& scale, double weight) {
  if (scale) return *scale;
  return weight == 0.0 ? 0.0f : 1.0f / static_cast<float>(weight);
}

float LossScale(const std::optional<float>& scale, idx_t counted) {
  return WeightScale(scale, static_cast<double>(counted));
}

double SoftmaxLoss(const LogitRow& logits, idx_t label, float scale, float* dlogits) {
  const auto max = static_cast<double>(logits[LargestLogit(logits)]);
  double sum = 0.0;
  for (idx_t i = 0; i < logits.count; ++i) sum += std::exp(static_cast<double>(logits[i]) - max);
  for (idx_t i = 0; dlogits != nullptr && i < logits.count; ++i) {
    const double p = std::exp(static_cast<double>(logits[i]) - max) / sum;
    dlogits[i * logits.stride] =
        static_cast<float>(static_cast<double>(scale) * (p - (i == label ? 1.0 : 0.0)));
  }
  return max + std::log(sum) - static_cast<double>(logits[label]);
}

double SmoothedTarget(idx_t k, idx_t label, idx_t labels, std::span<const float> weights,
                      float smoothing) {
  const double weight =
      weights.empty() ? 1.0 : static_cast<double>(weights[static_cast<std::size_t>(k)]);
  const double share = static_cast<double>(smoothing);
  return share / static_cast<double>(labels) * weight + (k == label ? (1.0 - share) * weight : 0.0);
}

double SmoothedLoss(const LogitRow& logits, idx_t label, std::span<const float> weights,
                    float smoothing, float scale, float* dlogits) {
  const auto max = static_cast<double>(logits[LargestLogit(logits)]);
  // The loss is sum_k target[k] (log sum exp - logit[k]).
  const auto target = [&](idx_t k) {
    return SmoothedTarget(k, label, logits.count, weights, smoothing);
  };
  double sum = 0.0, targets = 0.0;
  for (idx_t k = 0; k < logits.count; ++k) {
    sum += std::exp(static_cast<double>(logits[k]) - max);
    targets += target(k);
  }
  double loss = 0.0;
  for (idx_t k = 0; k < logits.count; ++k) {
    const double centred = static_cast<double>(logits[k]) - max;
    // A class without a share takes no part, even where its probability is 0.
    if (target(k) > 0.0) loss += target(k) * (std::log(sum) - centred);
    if (dlogits == nullptr) continue;
    const double p = std::exp(centred) / sum;
    dlogits[k * logits.stride] =
        static_cast<float>(static_cast<double>(scale) * (targets * p - target(k)));
  }
  return loss;
}

idx_t LargestLogit(const LogitRow& logits) {
  idx_t best = 0;
  for (idx_t i = 1; i < logits.count; ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return best;
}

double SquaredLoss(std::span<const float> logits, std::span<const float> values, float scale,
                   float* dlogits) {
  double sum = 0.0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double difference = static_cast<double>(logits[i]) - static_cast<double>(values[i]);
    sum += difference * difference;
    if (dlogits != nullptr) dlogits[i] = static_cast<float>(2.0 * scale * difference);
  }
  return sum;
}

double BinaryLoss(std::span<const float> logits, std::span<const float> values, float scale,
                  float* dlogits) {
  double sum = 0.0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto z = static_cast<double>(logits[i]), value = static_cast<double>(values[i]);
    const double small = std::exp(-std::abs(z));
    sum += std::max(z, 0.0) - z * value + std::log1p(small);
    if (dlogits == nullptr) continue;
    const double logistic = (z >= 0.0 ? 1.0 : small) / (1.0 + small);
    dlogits[i] = static_cast<float>(scale * (logistic - value));
  }
  return sum;
}

// ---- whole heads --------------------------------------------------------------------------------

namespace {

ProblemType ProblemOf(const SequenceTargets& targets, idx_t labels) {
  return longspan::ProblemOf(targets.problem, labels, !targets.labels.empty());
}

void CheckRows(const char* what, std::size_t given, idx_t needed, idx_t rows) {
  Check(static_cast<idx_t>(given) == needed, ErrorCode::kUsage, "batch: {} {} for {} rows, need {}",
        given, what, rows, needed);
}

// The sum of logits times gradients.
HeadLoss LinearLoss(std::span<const float> gradients, const std::optional<float>& scale,
                    const View<const float, 2>& logits, float* dlogits) {
  HeadLoss loss;
  loss.counted = logits.size();
  const float factor = LossScale(scale, loss.counted);
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    loss.sum += static_cast<double>(gradients[i]) * static_cast<double>(logits.data[i]);
    if (dlogits != nullptr) dlogits[i] = factor * gradients[i];
  }
  loss.mean = MeanLoss(loss.sum, loss.counted);
  return loss;
}

}  // namespace

void CheckSequenceTargets(const SequenceTargets& targets, idx_t rows, idx_t labels) {
  if (!targets.dlogits.empty()) {
    Check(
        targets.labels.empty() && targets.values.empty() && targets.weights.empty() &&
            targets.smoothing == 0.0f,
        ErrorCode::kUsage,
        "batch: gradients of logits stand in the place of labels, values, class weights and label "
        "smoothing; give either");
    return CheckRows("gradients of logits", targets.dlogits.size(), rows * labels, rows);
  }
  const bool single = ProblemOf(targets, labels) == ProblemType::kSingleLabel;
  Check(single || (targets.weights.empty() && targets.smoothing == 0.0f), ErrorCode::kUsage,
        "batch: class weights and label smoothing are for one class of several, not for sets of "
        "labels or numbers");
  Check(targets.weights.empty() || static_cast<idx_t>(targets.weights.size()) == labels,
        ErrorCode::kUsage, "batch: {} class weights for {} labels", targets.weights.size(), labels);
  for (const float weight : targets.weights) {
    Check(std::isfinite(weight) && weight > 0.0f, ErrorCode::kUsage,
          "batch: class weight {} is not finite and above 0", weight);
  }
  Check(targets.smoothing >= 0.0f && targets.smoothing < 1.0f, ErrorCode::kUsage,
        "batch: label smoothing {} is not from 0 to below 1", targets.smoothing);
  if (!single) {
    return CheckRows("values", targets.values.size(), rows * labels, rows);
  }
  CheckRows("labels", targets.labels.size(), rows, rows);
  for (const std::int32_t label : targets.labels) {
    Check(label == kIgnoreLabel || (label >= 0 && label < labels), ErrorCode::kUsage,
          "batch: label {} is not one of {}", label, labels);
  }
}

double LossWeight(const SequenceTargets& targets, idx_t rows, idx_t labels) {
  if (!targets.dlogits.empty() || ProblemOf(targets, labels) != ProblemType::kSingleLabel) {
    return static_cast<double>(rows * labels);
  }
  double weight = 0.0;
  for (const std::int32_t label : targets.labels) {
    if (label == kIgnoreLabel) continue;
    weight += targets.weights.empty()
                  ? 1.0
                  : static_cast<double>(targets.weights[static_cast<std::size_t>(label)]);
  }
  return weight;
}

HeadLoss SequenceLoss(const SequenceTargets& targets, const std::optional<float>& scale,
                      const View<const float, 2>& logits, float* dlogits) {
  if (!targets.dlogits.empty()) return LinearLoss(targets.dlogits, scale, logits, dlogits);
  const idx_t outputs = logits.extent[1];
  const ProblemType problem = ProblemOf(targets, outputs);
  HeadLoss loss;
  const double weight = LossWeight(targets, logits.extent[0], outputs);
  const float factor = WeightScale(scale, weight);
  const bool plain = targets.weights.empty() && targets.smoothing == 0.0f;
  if (problem == ProblemType::kSingleLabel) {
    for (const std::int32_t label : targets.labels) loss.counted += label != kIgnoreLabel;
    for (idx_t b = 0; b < logits.extent[0]; ++b) {
      const idx_t label = targets.labels[static_cast<std::size_t>(b)];
      if (label == kIgnoreLabel) continue;
      const LogitRow row{&logits(b, 0), outputs, 1};
      float* const slope = dlogits == nullptr ? nullptr : dlogits + b * outputs;
      loss.sum += plain
                      ? SoftmaxLoss(row, label, factor, slope)
                      : SmoothedLoss(row, label, targets.weights, targets.smoothing, factor, slope);
      loss.correct += LargestLogit(row) == label ? 1 : 0;
    }
  } else {
    loss.counted = logits.size();
    const std::span<const float> all(logits.data, static_cast<std::size_t>(logits.size()));
    const bool squared = problem == ProblemType::kRegression;
    loss.sum = squared ? SquaredLoss(all, targets.values, factor, dlogits)
                       : BinaryLoss(all, targets.values, factor, dlogits);
    for (std::size_t i = 0; !squared && i < all.size(); ++i) {
      loss.correct += (all[i] > 0.0f) == (targets.values[i] > 0.5f) ? 1 : 0;
    }
  }
  loss.mean = loss.counted == 0 ? MeanLoss(loss.sum, 0) : loss.sum / weight;
  return loss;
}

HeadLoss AnswerLoss(const AnswerTargets& targets, const std::optional<float>& scale,
                    std::span<const idx_t> lengths, const View<const float, 2>& logits,
                    float* dlogits) {
  const std::size_t rows = lengths.size();
  HeadLoss loss;
  std::array<double, 2> sums{};
  std::array<idx_t, 2> counts{};
  std::vector<int> hits(rows, 0);
  for (const std::size_t side : {0, 1}) {
    const auto& places = side == 0 ? targets.starts : targets.ends;
    for (std::size_t b = 0; b < rows; ++b) counts[side] += places[b] < lengths[b];
    // Half of the gradient comes from each side, and each has a mean of its own.
    const float factor = 0.5f * LossScale(scale, counts[side]);
    idx_t at = static_cast<idx_t>(side);  // of the text's first token
    for (std::size_t b = 0; b < rows; at += 2 * lengths[b++]) {
      const idx_t target = std::max<idx_t>(0, places[b]);
      if (target >= lengths[b]) continue;  // outside of the window: ignored
      const LogitRow row{logits.data + at, lengths[b], 2};
      sums[side] += SoftmaxLoss(row, target, factor, dlogits == nullptr ? nullptr : dlogits + at);
      hits[b] += LargestLogit(row) == target ? 1 : 0;
    }
  }
  loss.sum = 0.5 * (sums[0] + sums[1]);
  loss.counted = std::max(counts[0], counts[1]);
  loss.correct = std::count(hits.begin(), hits.end(), 2);
  loss.mean = 0.5 * (MeanLoss(sums[0], counts[0]) + MeanLoss(sums[1], counts[1]));
  return loss;
}

}  // namespace longspan
