// The random numbers of one training step.
#pragma once

#include <cstdint>

#include "base/rng.h"

namespace longspan {

// Dropout, and the random draws of attention mechanisms. Sites draw from keys derived from `key`,
// so recomputed layers see the masks of the forward pass. key 0 with active = false: evaluation,
// which is always the same.
struct StepDropout {
  bool active = false;
  std::uint64_t key = 0;
};

inline Dropout SiteOf(const StepDropout& step, double p, std::uint64_t site) {
  if (!step.active) return {};
  return {static_cast<float>(p), DeriveKey(step.key, site)};
}

}  // namespace longspan
