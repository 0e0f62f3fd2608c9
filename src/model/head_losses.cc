#include "model/head_losses.h"

#include <algorithm>
#include <cmath>

namespace longspan {

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

}  // namespace longspan
