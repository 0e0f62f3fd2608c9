// Shared queries and keys (Reformer): the key that belongs to a query, and its gradient.
//   k = x rho / sqrt(D),  rho = 1 / sqrt(mean(x^2) + 1e-6)

// Included once for every target.
#if defined(LONGSPAN_SIMD_SHARED_KEY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_SIMD_SHARED_KEY_INL_H_
#undef LONGSPAN_SIMD_SHARED_KEY_INL_H_
#else
#define LONGSPAN_SIMD_SHARED_KEY_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>

#include "longspan/types.h"
#include "simd/bf16-inl.h"
#include "simd/softmax-inl.h"
#include "simd/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr float kKeyEpsilon = 1e-6f;

// rho of a query x (D).
HWY_INLINE float InverseRootMeanSquare(const float* x, idx_t D) {
  return 1.0f / std::sqrt(DotRow(x, x, D) / static_cast<float>(D) + kKeyEpsilon);
}

// key / x, lane by lane, of queries whose x . x is `square`.
template <class Tag, class V>
HWY_INLINE V SharedKeyFactor(Tag d, V square, idx_t D) {
  const auto size = hn::Set(d, static_cast<float>(D));
  const auto mean = hn::Add(hn::Div(square, size), hn::Set(d, kKeyEpsilon));
  return hn::Div(hn::Div(hn::Set(d, 1.0f), hn::Sqrt(mean)), hn::Sqrt(size));
}

// key (D) of a query x (D).
HWY_INLINE void SharedKey(const float* HWY_RESTRICT x, idx_t D, float* HWY_RESTRICT key) {
  ScaleRow(x, InverseRootMeanSquare(x, D) / std::sqrt(static_cast<float>(D)), key, D);
}

// The same of fp32 or bf16.
HWY_INLINE void SharedKey(InRow x, idx_t D, float* HWY_RESTRICT key) {
  if (!x.bf16) return SharedKey(static_cast<const float*>(x.data), D, key);
  ScaleRow(x, 1.0f, key, D);
  ScaleRow(x, InverseRootMeanSquare(key, D) / std::sqrt(static_cast<float>(D)), key, D);
}

// dx += the gradient of SharedKey for d loss / d key = dkey:
//   g = dkey / sqrt(D);  dx = rho g - x rho^3 (g . x) / D
// Linear in dkey: parts of a key's gradient may come one after another.
HWY_INLINE void SharedKeyBackward(const float* HWY_RESTRICT x, const float* HWY_RESTRICT dkey,
                                  idx_t D, float* HWY_RESTRICT dx) {
  const TileTag d;
  const float size = static_cast<float>(D), rho = InverseRootMeanSquare(x, D);
  const float along = rho / std::sqrt(size);
  const auto f = hn::Set(d, along);
  const auto back = hn::Set(d, along * rho * rho * DotRow(x, dkey, D) / size);
  for (idx_t i = 0; i < D; i += kTileLanes) {
    const auto sum = hn::MulAdd(f, LoadTail(dkey + i, D - i), LoadTail(dx + i, D - i));
    StoreTail(hn::NegMulAdd(back, LoadTail(x + i, D - i), sum), dx + i, D - i);
  }
}

// The same for keys that are never computed: scores are (query . x) factor, factor = rho / sqrt(D),
// and g (D) = factor d loss / d key.
//   dx += g - x factor^2 (g . x),  factor^2 = 1 / (x . x + D epsilon);  `square` is x . x
HWY_INLINE void AddKeyGradient(InRow x, const float* HWY_RESTRICT g, float square, idx_t D,
                               float* HWY_RESTRICT dx) {
  const TileTag d;
  const float norm = square + static_cast<float>(D) * kKeyEpsilon;
  const auto along = hn::Set(d, DotRow(x, {g, false}, D) / norm);
  for (idx_t i = 0; i < D; i += kTileLanes) {
    const auto sum = hn::Add(LoadTail(dx + i, D - i), LoadTail(g + i, D - i));
    StoreTail(hn::NegMulAdd(along, LoadRow(x, i, D), sum), dx + i, D - i);
  }
}

// The weights' backward on one row of scores whose softmax is exp(s - max) / sum:
//   score := p = exp(score - max) inverse_sum,  dp := p (dp - delta).
// A lone token, which sees only itself, has a constant score: dp := 0.
HWY_INLINE void SharedSoftmaxBackwardRow(float* HWY_RESTRICT score, float* HWY_RESTRICT dp, idx_t n,
                                         float max, float inverse_sum, float delta, bool lone) {
  const TileTag d;
  const auto shift = hn::Set(d, max), inverse = hn::Set(d, inverse_sum);
  const auto vdelta = hn::Set(d, delta);
  for (idx_t i = 0; i < n; i += kTileLanes) {
    const auto e = ExpWeight(d, hn::Sub(hn::LoadU(d, score + i), shift));
    const auto p = hn::Mul(e, inverse);
    const auto ds = hn::Mul(p, hn::Sub(hn::LoadU(d, dp + i), vdelta));
    hn::StoreU(p, d, score + i);
    hn::StoreU(lone ? hn::Zero(d) : ds, d, dp + i);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_SIMD_SHARED_KEY_INL_H_
