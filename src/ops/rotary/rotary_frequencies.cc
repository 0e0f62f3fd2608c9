#include "ops/rotary/rotary_frequencies.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/errors.h"

namespace longspan {
namespace {

// base^(2c/D) in fp32.
float RotaryPower(float base, idx_t c, idx_t half) {
  const float exponent = static_cast<float>(2 * c) / static_cast<float>(2 * half);
  return static_cast<float>(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
}

double FactorOf(const RotarySpec& spec) {
  return spec.factor ? *spec.factor
                     : static_cast<double>(spec.max_positions) /
                           static_cast<double>(spec.original_positions);
}

// The theta of a text that is longer than the model's positions. The original has the length in a
// tensor, so each of these steps is one of fp32.
float DynamicBase(const RotarySpec& spec, idx_t tokens, idx_t half) {
  const double factor = FactorOf(spec), width = 2.0 * static_cast<double>(half);
  const auto stretched = static_cast<float>(factor) * static_cast<float>(tokens) /
                         static_cast<float>(spec.max_positions);
  const float grown = stretched - static_cast<float>(factor - 1.0);
  const auto exponent = static_cast<double>(static_cast<float>(width / (width - 2.0)));
  return static_cast<float>(spec.theta) *
         static_cast<float>(std::pow(static_cast<double>(grown), exponent));
}

// The channel that turns so often in the original positions.
double CorrectionChannel(const RotarySpec& spec, double turns, idx_t half) {
  return 2.0 * static_cast<double>(half) *
         std::log(static_cast<double>(spec.original_positions) / (turns * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(spec.theta));
}

void YarnFrequencies(const RotarySpec& spec, std::span<float> frequencies) {
  const auto half = static_cast<idx_t>(frequencies.size());
  double low = CorrectionChannel(spec, spec.beta_fast, half);
  double high = CorrectionChannel(spec, spec.beta_slow, half);
  if (spec.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(2 * half - 1));
  if (low == high) high += 0.001;
  const auto factor = static_cast<float>(FactorOf(spec));
  for (idx_t c = 0; c < half; ++c) {
    const float power = RotaryPower(static_cast<float>(spec.theta), c, half);
    const float ramp =
        (static_cast<float>(c) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float kept = 1.0f - std::clamp(ramp, 0.0f, 1.0f);
    const float stretched = 1.0f / (factor * power) * (1.0f - kept);
    frequencies[static_cast<std::size_t>(c)] = stretched + 1.0f / power * kept;
  }
}

float Llama3Frequency(const RotarySpec& spec, float frequency) {
  const auto factor = static_cast<float>(FactorOf(spec));
  const auto length = static_cast<double>(spec.original_positions);
  const float turn = static_cast<float>(2.0 * std::numbers::pi) / frequency;  // tokens
  if (turn > static_cast<float>(length / spec.low_frequency)) return frequency / factor;
  if (turn < static_cast<float>(length / spec.high_frequency)) return frequency;
  const float share = (static_cast<float>(length) / turn - static_cast<float>(spec.low_frequency)) /
                      static_cast<float>(spec.high_frequency - spec.low_frequency);
  return (1.0f - share) * frequency / factor + share * frequency;
}

// m of "0.1 m log(s) + 1".
double YarnScale(double factor, double m) {
  return factor <= 1.0 ? 1.0 : 0.1 * m * std::log(factor) + 1.0;
}

}  // namespace

idx_t RotaryLength(const RotarySpec& spec, idx_t tokens) {
  if (spec.kind == RotaryKind::kDynamic) return std::max(tokens, spec.max_positions);
  if (spec.kind != RotaryKind::kLongRope) return 1;
  return tokens > spec.original_positions ? spec.original_positions + 1 : 1;
}

void RotaryFrequencies(const RotarySpec& spec, idx_t tokens, std::span<float> frequencies) {
  Check(std::isfinite(spec.theta) && spec.theta > 0.0, ErrorCode::kUsage,
        "rotary: theta {} is not above 0 and finite", spec.theta);
  if (spec.kind == RotaryKind::kYarn) return YarnFrequencies(spec, frequencies);
  const auto half = static_cast<idx_t>(frequencies.size());
  const bool longer = tokens > spec.max_positions;
  const float base = spec.kind == RotaryKind::kDynamic && longer ? DynamicBase(spec, tokens, half)
                                                                 : static_cast<float>(spec.theta);
  const auto& factors = tokens > spec.original_positions ? spec.long_factor : spec.short_factor;
  for (std::size_t c = 0; c < frequencies.size(); ++c) {
    const float power = RotaryPower(base, static_cast<idx_t>(c), half);
    float& frequency = frequencies[c];
    frequency = 1.0f / power;
    if (spec.kind == RotaryKind::kLinear) frequency /= static_cast<float>(FactorOf(spec));
    if (spec.kind == RotaryKind::kLlama3) frequency = Llama3Frequency(spec, frequency);
    if (spec.kind == RotaryKind::kLongRope) {
      frequency = 1.0f / (static_cast<float>(factors[c]) * power);
    }
  }
}

double RotaryAttentionFactor(const RotarySpec& spec) {
  if (spec.kind != RotaryKind::kYarn && spec.kind != RotaryKind::kLongRope) return 1.0;
  if (spec.attention_factor) return *spec.attention_factor;
  const double factor = FactorOf(spec);
  if (spec.kind == RotaryKind::kLongRope) {
    const auto length = static_cast<double>(spec.original_positions);
    return factor <= 1.0 ? 1.0 : std::sqrt(1.0 + std::log(factor) / std::log(length));
  }
  if (spec.mscale == 0.0 || spec.mscale_all_dim == 0.0) return YarnScale(factor, 1.0);
  return YarnScale(factor, spec.mscale) / YarnScale(factor, spec.mscale_all_dim);
}

}  // namespace longspan
