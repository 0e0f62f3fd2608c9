#include "train/mask_tokens.h"

#include "base/rng.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace longspan {
namespace {

double Uniform(std::uint32_t word) { return static_cast<double>(word) * 0x1p-32; }

// The new token of a chosen position. `words` are its random words; the first one is used already.
std::int32_t Replacement(const MaskRule& rule, const std::array<std::uint32_t, 4>& words,
                         std::int32_t id) {
  const double u = Uniform(words[1]);
  if (u < rule.with_mask) return rule.mask_id;
  if (u >= rule.with_mask + rule.with_random) return id;
  const std::uint64_t wide = std::uint64_t{words[2]} * static_cast<std::uint64_t>(rule.vocabulary);
  return static_cast<std::int32_t>(wide >> 32);
}

}  // namespace

idx_t MaskTokens(const MaskRule& rule, std::uint64_t key, std::span<const std::uint8_t> fixed,
                 std::span<std::int32_t> ids, std::span<std::int32_t> labels) {
  const auto choose = [&](std::size_t t) {
    labels[t] = ids[t];
    ids[t] = Replacement(rule, Philox(key, t), ids[t]);
  };
  idx_t chosen = 0;
  std::size_t closest = ids.size();
  double least = 1.0;
  for (std::size_t t = 0; t < ids.size(); ++t) {
    labels[t] = kIgnoreLabel;
    if (fixed[t] != 0) continue;
    const double u = Uniform(Philox(key, t)[0]);
    if (u < least) {
      least = u;
      closest = t;
    }
    if (u >= rule.share) continue;
    choose(t);
    ++chosen;
  }
  if (chosen > 0 || closest == ids.size()) return chosen;
  choose(closest);
  return 1;
}

}  // namespace longspan
