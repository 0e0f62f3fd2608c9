#include "base/rng.h"

#include <cmath>
#include <numbers>

#include "base/cancel.h"

namespace longspan {
namespace {

// Elements between two looks at whether the caller still wants them: some milliseconds. A multiple
// of 4.
constexpr idx_t kDrawnBetweenChecks = idx_t{1} << 18;

}  // namespace

idx_t Rng::Below(idx_t n) {
  const auto wide = static_cast<unsigned __int128>(Bits64()) * static_cast<std::uint64_t>(n);
  return static_cast<idx_t>(wide >> 64);
}

void FillNormal(std::uint64_t key, float stddev, float* out, idx_t count) {
  for (idx_t i = 0; i < count; i += 4) {
    if (i % kDrawnBetweenChecks == 0) CancelScope::Check();
    const auto words = Philox(key, static_cast<std::uint64_t>(i / 4));
    for (idx_t pair = 0; pair < 2; ++pair) {
      const double u = (static_cast<double>(words[2 * pair]) + 0.5) * 0x1p-32;
      const double angle =
          2.0 * std::numbers::pi * static_cast<double>(words[2 * pair + 1]) * 0x1p-32;
      const double radius = std::sqrt(-2.0 * std::log(u)) * stddev;
      const double values[2] = {radius * std::cos(angle), radius * std::sin(angle)};
      for (idx_t j = 0; j < 2 && i + 2 * pair + j < count; ++j) {
        out[i + 2 * pair + j] = static_cast<float>(values[j]);
      }
    }
  }
}

void FillTruncatedNormal(std::uint64_t key, float stddev, float cutoff, float* out, idx_t count) {
  FillNormal(key, 1.0f, out, count);
  for (idx_t i = 0; i < count; ++i) {
    if (i % kDrawnBetweenChecks == 0) CancelScope::Check();
    for (std::uint64_t attempt = 1; std::abs(out[i]) > cutoff; ++attempt) {
      FillNormal(DeriveKey(DeriveKey(key, attempt), static_cast<std::uint64_t>(i)), 1.0f, out + i,
                 1);
    }
    out[i] *= stddev;
  }
}

}  // namespace longspan
