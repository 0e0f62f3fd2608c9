// Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3", SC'11). A number depends only on its key and its counter, so any thread can draw
// any element, and a recomputation sees the same mask as the forward pass did.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "longspan/types.h"

namespace longspan {

// 128 random bits for a 64-bit key and a 128-bit counter given as (low, high).
inline std::array<std::uint32_t, 4> Philox(std::uint64_t key, std::uint64_t low,
                                           std::uint64_t high = 0) {
  std::uint32_t c0 = static_cast<std::uint32_t>(low), c1 = static_cast<std::uint32_t>(low >> 32);
  std::uint32_t c2 = static_cast<std::uint32_t>(high), c3 = static_cast<std::uint32_t>(high >> 32);
  std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c0;
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c2;
    const auto n0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const auto n2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(p1);
    c3 = static_cast<std::uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

// A key for one purpose, derived from a parent key: seed -> step -> layer -> site.
inline std::uint64_t DeriveKey(std::uint64_t parent, std::uint64_t purpose) {
  const auto r = Philox(parent, purpose, 0x6c6f6e677370616eull);
  return (static_cast<std::uint64_t>(r[1]) << 32) | r[0];
}

// Uniform in [0, 1): 24 bits.
inline float ToUniform(std::uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

// A sequential view on the counter-based stream, for code that draws one number after another.
// Its whole state is (key, next): both go into a checkpoint.
class Rng {
 public:
  explicit Rng(std::uint64_t key, std::uint64_t next = 0) : key_(key), next_(next) {}
  std::uint64_t key() const { return key_; }
  std::uint64_t next() const { return next_; }

  std::uint64_t Bits64() {
    const auto r = Philox(key_, next_++);
    return (static_cast<std::uint64_t>(r[1]) << 32) | r[0];
  }
  double Uniform() { return static_cast<double>(Bits64() >> 11) * 0x1p-53; }  // [0, 1)
  // Unbiased enough for data order: multiply-shift over 64 bits, bias below 2^-32 for n < 2^32.
  idx_t Below(idx_t n);

 private:
  std::uint64_t key_, next_;
};

// Fills `count` floats with N(0, stddev): element i depends on (key, i) only. Box-Muller. The
// thread's CancelScope ends it.
void FillNormal(std::uint64_t key, float stddev, float* out, idx_t count);
// The same, cut at +-cutoff * stddev: what lies beyond is drawn again. cutoff is above 0; the
// smaller it is, the longer this takes.
void FillTruncatedNormal(std::uint64_t key, float stddev, float cutoff, float* out, idx_t count);

// An element-wise dropout site. Element i of the site is kept when its 32 random bits are at
// least threshold; kept values are scaled by 1 / (1 - p).
// Layout of the random words, the same on every ISA: elements come in groups of 64; element
// e = 64 g + 16 w + l takes word w of Philox(key, 16 g + l).
struct Dropout {
  float p = 0.0f;  // 0 switches the site off
  std::uint64_t key = 0;

  bool active() const { return p > 0.0f; }
  std::uint32_t threshold() const {
    const double words = static_cast<double>(p) * 4294967296.0;
    return words < 4294967295.0 ? static_cast<std::uint32_t>(words) : 0xffffffffu;
  }
  float scale() const { return 1.0f / (1.0f - p); }
  // 0 or scale(): the factor of element i. The vector kernels equal this bit for bit.
  float Factor(idx_t i) const {
    const auto e = static_cast<std::uint64_t>(i);
    const auto words = Philox(key, (e / 64) * 16 + e % 16);
    return words[(e / 16) % 4] >= threshold() ? scale() : 0.0f;
  }
};

// The numbers that the rows of a matrix have where a site's elements are counted: element c of row
// t, C wide, is number(t) * C + c.
struct RowNumbers {
  idx_t first = 0;                            // first, first + 1, ...
  std::span<const std::int32_t> listed = {};  // or, unless it is empty, these

  idx_t operator()(idx_t t) const {
    return listed.empty() ? first + t : listed[static_cast<std::size_t>(t)];
  }
};

}  // namespace longspan
