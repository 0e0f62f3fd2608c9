// How fast the channels of a rotary embedding turn, and how that is stretched so that a model reads
// texts longer than those that it was pretrained with. Names and roundings are those of
// `transformers` (rope_type in a config).
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "longspan/types.h"

namespace longspan {

// With f_c = theta^(-2c/D), s = factor, and L = original_positions, channel c turns by
//   kDefault    f_c (Su et al. 2021, arXiv:2104.09864)
//   kLinear     f_c / s: positions are interpolated (Chen et al. 2023, arXiv:2306.15595)
//   kDynamic    f_c with a theta that grows with the text: theta (s n / P - s + 1)^(D/(D-2)) for a
//               text of n > P = max_positions tokens (NTK-aware scaling; section 3.3 of
//               arXiv:2309.00071)
//   kYarn       between f_c for channels that turn beta_fast times or more in L tokens, and f_c / s
//               for those that turn beta_slow times or less (Peng et al. 2023, arXiv:2309.00071)
//   kLlama3     the same between L / high_frequency and L / low_frequency tokens for a turn, by
//               another ramp (Grattafiori et al. 2024, arXiv:2407.21783)
//   kLongRope   f_c / short_factor[c] in texts of up to L tokens, and f_c / long_factor[c] in
//               longer ones (Ding et al. 2024, arXiv:2402.13753)
enum class RotaryKind { kDefault, kLinear, kDynamic, kYarn, kLlama3, kLongRope };

struct RotarySpec {
  double theta = 10000.0;
  RotaryKind kind = RotaryKind::kDefault;
  idx_t max_positions = 0;       // P: of kDynamic, and where there is no factor
  idx_t original_positions = 0;  // L: of kYarn, kLlama3 and kLongRope
  // s. Absent (kYarn, kLongRope): P / L.
  std::optional<double> factor = std::nullopt;
  // What cosines and sines are multiplied by (kYarn, kLongRope). Absent: it follows from s, and for
  // kYarn from mscale and mscale_all_dim where both are above 0.
  std::optional<double> attention_factor = std::nullopt;
  double beta_fast = 32.0, beta_slow = 1.0, mscale = 0.0, mscale_all_dim = 0.0;  // kYarn
  bool truncate = true;  // kYarn: the ramp begins and ends at whole channels
  double low_frequency = 1.0, high_frequency = 4.0;         // kLlama3
  std::vector<double> short_factor = {}, long_factor = {};  // kLongRope: D / 2 each

  bool operator==(const RotarySpec&) const = default;
};

// Texts of which this is the same number have the same frequencies, and it is a text's length that
// has them.
idx_t RotaryLength(const RotarySpec& spec, idx_t tokens);
// Writes the D / 2 frequencies of a text of so many tokens, rounded at each step as the original
// rounds them. kUsage for a theta that is not above 0 and finite.
void RotaryFrequencies(const RotarySpec& spec, idx_t tokens, std::span<float> frequencies);
// What cosines and sines are multiplied by: 1 for most kinds.
double RotaryAttentionFactor(const RotarySpec& spec);

}  // namespace longspan
