#include "model/generation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/errors.h"
#include "model/decoder.h"

namespace longspan {

// ---- sampling -----------------------------------------------------------------------------------

void CheckSampling(const SamplingOptions& options) {
  Check(options.temperature >= 0.0 && options.temperature <= 1e6, ErrorCode::kUsage,
        "temperature: {} is not from 0 to 1e6", options.temperature);
  Check(options.top_k >= 0, ErrorCode::kUsage, "top-k: {} is negative", options.top_k);
  Check(options.top_p > 0.0 && options.top_p <= 1.0, ErrorCode::kUsage,
        "top-p: {} is not above 0 and at most 1", options.top_p);
}

std::int32_t SampleToken(std::span<const float> logits, const SamplingOptions& options, Rng& rng) {
  CheckSampling(options);
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  const auto logit = [&](std::int32_t id) {
    return static_cast<double>(logits[static_cast<std::size_t>(id)]);
  };
  for (const float value : logits) {
    Check(!std::isnan(value) && value != INFINITY, ErrorCode::kNumeric,
          "generate: a logit is {}, not a finite number", value);
  }
  if (options.temperature == 0.0) return order.front();
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

// ---- the loop -----------------------------------------------------------------------------------

idx_t Generate(Context& context, Reformer& model, std::span<const std::int32_t> prompt,
               const GenerateOptions& options, const std::function<bool(std::int32_t)>& on_token) {
  Check(!prompt.empty(), ErrorCode::kUsage, "generate: the prompt is empty, need at least 1 token");
  Check(options.tokens >= 0, ErrorCode::kUsage, "tokens: {} is negative", options.tokens);
  CheckSampling(options.sampling);
  const idx_t longest = model.config().longest();
  const idx_t limit = options.context > 0 ? options.context : longest;
  const auto prompt_size = static_cast<idx_t>(prompt.size());
  // No more room than this text can need.
  ReformerDecoder decoder(model, std::min(limit, prompt_size + options.tokens));
  const auto half = static_cast<std::size_t>(std::max<idx_t>(1, decoder.capacity() / 2));
  std::vector<std::int32_t> text(prompt.begin(), prompt.end());
  const auto last = [&](std::size_t count) {
    return std::span<const std::int32_t>(text).last(std::min(count, text.size()));
  };
  decoder.Feed(context, prompt_size <= decoder.capacity()
                            ? std::span<const std::int32_t>(text)
                            : last(static_cast<std::size_t>(decoder.capacity())));
  Rng rng(DeriveKey(options.sampling.seed, 0));
  std::vector<float> logits;
  for (idx_t written = 0; written < options.tokens; ++written) {
    logits.assign(decoder.logits().begin(), decoder.logits().end());
    for (const std::int32_t id : options.banned) {
      if (id >= 0 && static_cast<std::size_t>(id) < logits.size()) {
        logits[static_cast<std::size_t>(id)] = -INFINITY;
      }
    }
    const std::int32_t id = SampleToken(logits, options.sampling, rng);
    if (id == model.config().eos_token) return written;
    text.push_back(id);
    if (!on_token(id)) return written + 1;
    if (decoder.position() == decoder.capacity()) {
      decoder.Reset();
      decoder.Feed(context, last(half));
    } else {
      decoder.Feed(context, last(1));
    }
  }
  return options.tokens;
}

}  // namespace longspan
