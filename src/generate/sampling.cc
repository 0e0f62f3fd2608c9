#include "generate/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/errors.h"

namespace longspan {

void CheckSampling(const SamplingOptions& options) {
  Check(options.temperature >= 0.0 && options.temperature <= 1e6, ErrorCode::kUsage,
        "temperature: {} is not from 0 to 1e6", options.temperature);
  Check(options.top_k >= 0, ErrorCode::kUsage, "top-k: {} is negative", options.top_k);
  Check(options.top_p > 0.0 && options.top_p <= 1.0, ErrorCode::kUsage,
        "top-p: {} is not above 0 and at most 1", options.top_p);
  Check(options.repetition_penalty >= 1e-3 && options.repetition_penalty <= 1e3, ErrorCode::kUsage,
        "repetition-penalty: {} is not from 0.001 to 1000; 1 switches it off",
        options.repetition_penalty);
}

std::int32_t SampleToken(std::span<const float> logits, const SamplingOptions& options, Rng& rng) {
  CheckSampling(options);
  for (const float value : logits) {
    Check(!std::isnan(value) && value != INFINITY, ErrorCode::kNumeric,
          "generate: a logit is {}, not a finite number", value);
  }
  const auto most = std::max_element(logits.begin(), logits.end());
  Check(most != logits.end() && *most != -INFINITY, ErrorCode::kUsage,
        "generate: every token is banned");
  if (options.temperature == 0.0) return static_cast<std::int32_t>(most - logits.begin());
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  const auto logit = [&](std::int32_t id) {
    return static_cast<double>(logits[static_cast<std::size_t>(id)]);
  };
  if (options.top_k > 0 && static_cast<std::size_t>(options.top_k) < order.size()) {
    order.resize(static_cast<std::size_t>(options.top_k));
  }
  std::vector<double> weights;
  double sum = 0.0;
  for (const std::int32_t id : order) {
    weights.push_back(std::exp((logit(id) - logit(order.front())) / options.temperature));
    sum += weights.back();
  }
  // The shortest head of the list that holds top_p of the mass; at least one token.
  double mass = 0.0;
  std::size_t kept = 0;
  while (kept < weights.size() && (kept == 0 || mass < options.top_p * sum)) {
    mass += weights[kept++];
  }
  double draw = rng.Uniform() * mass;
  for (std::size_t i = 0; i < kept; ++i) {
    draw -= weights[i];
    if (draw < 0.0) return order[i];
  }
  return order[kept - 1];
}

void PenaliseRepetition(std::span<const std::int32_t> ids, double penalty, std::vector<bool>* seen,
                        std::span<float> scores) {
  if (penalty == 1.0) return;
  seen->resize(std::max(seen->size(), scores.size()), false);
  const auto factor = static_cast<float>(penalty);
  for (const std::int32_t id : ids) {
    const auto i = static_cast<std::size_t>(id);
    if (id < 0 || i >= scores.size() || (*seen)[i]) continue;
    (*seen)[i] = true;
    scores[i] = scores[i] > 0.0f ? scores[i] / factor : scores[i] * factor;
  }
  for (const std::int32_t id : ids) {
    if (id >= 0 && static_cast<std::size_t>(id) < seen->size()) {
      (*seen)[static_cast<std::size_t>(id)] = false;
    }
  }
}

}  // namespace longspan
