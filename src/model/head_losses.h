// Losses over a few logits, in double, for the small heads. Gradients are written, not added: scale
// times the derivative of the sum.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "longspan/tensor.h"
#include "model/label_fields.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace longspan {

// sum / counted, or NaN.
double MeanLoss(double sum, idx_t counted);
// Losses of tokens.
HeadLoss FromCrossEntropy(const CrossEntropyResult& result);
// The factor of the sum in the differentiated loss: a given scale, or 1 / `counted` (Hugging Face's
// mean).
float LossScale(const std::optional<float>& scale, idx_t counted);
// The same for rows that count by weights, of which this is the sum.
float WeightScale(const std::optional<float>& scale, double weight);

// The logits of one decision: `count` floats, `stride` apart.
struct LogitRow {
  const float* data;
  idx_t count, stride;
  float operator[](idx_t i) const { return data[i * stride]; }
};

// logsumexp(logits) - logits[label]. dlogits has the logits' layout, or is null.
double SoftmaxLoss(const LogitRow& logits, idx_t label, float scale, float* dlogits);
// With w the weights (labels; empty: 1 each) and s the smoothing, over K labels, the target of
// class k: s / K w[k], and of `label` also (1 - s) w[label].
double SmoothedTarget(idx_t k, idx_t label, idx_t labels, std::span<const float> weights,
                      float smoothing);
// -(1 - s) w[label] log p[label] - s / K sum_k w[k] log p[k], p = softmax(logits).
double SmoothedLoss(const LogitRow& logits, idx_t label, std::span<const float> weights,
                    float smoothing, float scale, float* dlogits);
// The first of the largest.
idx_t LargestLogit(const LogitRow& logits);

// Sum of (logit - value)^2 over all elements.
double SquaredLoss(std::span<const float> logits, std::span<const float> values, float scale,
                   float* dlogits);
// Sum of -value log s(logit) - (1 - value) log(1 - s(logit)), s the logistic function.
double BinaryLoss(std::span<const float> logits, std::span<const float> values, float scale,
                  float* dlogits);

// ---- whole heads --------------------------------------------------------------------------------

// Targets of sequences: classes (B), where kIgnoreLabel means none, or values (B, labels); or none,
// but gradients.
struct SequenceTargets {
  ProblemType problem = ProblemType::kInferred;  // as the config says
  std::span<const std::int32_t> labels;
  std::span<const float> values;
  // Of classes, as BatchView has them.
  std::span<const float> weights = {};
  float smoothing = 0.0f;
  std::span<const float> dlogits = {};  // as BatchView has them
};

// What the mean of these targets' losses is over: labels that count, by their weights; or values;
// or gradients.
// `labels` is the number of logits of a row, `rows` how many there are.
double LossWeight(const SequenceTargets& targets, idx_t rows, idx_t labels);

// Throws kUsage unless the targets fit `rows` rows of `labels` logits and are in range, and weights
// and smoothing are those of classes.
void CheckSequenceTargets(const SequenceTargets& targets, idx_t rows, idx_t labels);
// `logits` is (B, labels). `dlogits`, if not null, has the same shape and must be zeroed.
HeadLoss SequenceLoss(const SequenceTargets& targets, const std::optional<float>& scale,
                      const View<const float, 2>& logits, float* dlogits);

// Starts and ends of answers, (B) each. A place after a text's end is ignored. A negative one
// counts as 0.
struct AnswerTargets {
  std::span<const std::int32_t> starts, ends;
};
// `logits` has two for each token of B texts of these lengths, one text after the other. `dlogits`,
// if not null, has the same shape and must be zeroed.
HeadLoss AnswerLoss(const AnswerTargets& targets, const std::optional<float>& scale,
                    std::span<const idx_t> lengths, const View<const float, 2>& logits,
                    float* dlogits);

}  // namespace longspan
