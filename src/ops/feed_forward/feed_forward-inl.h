// The passes between the products of the feed-forward block: as few as there can be.

// Included once for every target.
#if defined(LONGSPAN_OPS_FEED_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_FEED_FORWARD_INL_H_
#undef LONGSPAN_OPS_FEED_FORWARD_INL_H_
#else
#define LONGSPAN_OPS_FEED_FORWARD_INL_H_
#endif

#include <hwy/highway.h>

#include "ops/feed_forward/activation-inl.h"
#include "ops/feed_forward/feed_forward.h"
#include "simd/bf16-inl.h"
#include "simd/lanes-inl.h"
#include "simd/philox-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Dropout and activation of elements [0, count); factors may be null (dropout off). `pre` and
// `value` or `pre` and `slope` may be the same memory.
template <class Act, bool kSlope>
HWY_INLINE void ActivatePiece(const float* factors, idx_t count, const float* pre, float* value,
                              float* slope) {
  ForLanes(count, [=](auto d, idx_t i) HWY_ATTR {
    auto h = hn::LoadU(d, pre + i), s = h;
    if (factors != nullptr) h = hn::Mul(h, hn::LoadU(d, factors + i));
    const auto a = Act::template Apply<kSlope>(d, h, s);
    if (kSlope) {
      if (factors != nullptr) s = hn::Mul(s, hn::LoadU(d, factors + i));
      hn::StoreU(s, d, slope + i);
    }
    hn::StoreU(a, d, value + i);
  });
}

template <class Act, bool kSlope>
HWY_INLINE void ActivateElements(const Dropout& dropout, idx_t first, idx_t count, const float* pre,
                                 float* value, float* slope) {
  if (!dropout.active()) {
    ActivatePiece<Act, kSlope>(nullptr, count, pre, value, slope);
    return;
  }
  ForDropoutFactors(dropout, first, count,
                    [=](idx_t offset, idx_t n, const float* factors) HWY_ATTR {
                      ActivatePiece<Act, kSlope>(factors, n, pre + offset, value + offset,
                                                 kSlope ? slope + offset : nullptr);
                    });
}

template <class Act>
HWY_INLINE void ActivateWith(const Dropout& dropout, idx_t first, idx_t count, const float* pre,
                             float* value, float* slope) {
  if (slope == nullptr) {
    ActivateElements<Act, false>(dropout, first, count, pre, value, slope);
  } else {
    ActivateElements<Act, true>(dropout, first, count, pre, value, slope);
  }
}

// value = act(m pre) and, where slope is not null, slope = d value / d pre = act'(m pre) m, with m
// the dropout factor of element first + i: the backward needs no second look at either.
void ActivateRun(Activation activation, const Dropout& dropout, idx_t first, idx_t count,
                 const float* pre, float* value, float* slope) {
  WithActivation(activation, [=](auto act) HWY_ATTR {
    ActivateWith<decltype(act)>(dropout, first, count, pre, value, slope);
  });
}

// The same of bf16, a piece in fp32 at a time. value or slope may be pre.
void ActivateHalvesRun(Activation activation, const Dropout& dropout, idx_t first, idx_t count,
                       const bfloat16* pre, bfloat16* value, bfloat16* slope) {
  constexpr idx_t kPiece = 16 * kDropoutGroup;  // stays in the first cache
  alignas(64) float values[kPiece], slopes[kPiece];
  for (idx_t i = 0; i < count; i += kPiece) {
    const idx_t n = std::min(kPiece, count - i);
    ScaleRow(InRow{pre + i, true}, 1.0f, values, n);
    ActivateRun(activation, dropout, first + i, n, values, values,
                slope != nullptr ? slopes : nullptr);
    ScaleRow(values, 1.0f, OutRow{value + i, true}, n);
    if (slope != nullptr) ScaleRow(slopes, 1.0f, OutRow{slope + i, true}, n);
  }
}

// act(u) g m of elements [0, count), and its derivatives after u and g; factors may be null. du may
// be u, and dg may be g.
template <class Act, bool kSlope>
HWY_INLINE void GatePiece(const float* factors, idx_t count, const float* u, const float* g,
                          float* value, float* du, float* dg) {
  ForLanes(count, [=](auto d, idx_t i) HWY_ATTR {
    const auto h = hn::LoadU(d, u + i);
    auto gate = hn::LoadU(d, g + i), s = h;
    auto a = Act::template Apply<kSlope>(d, h, s);
    if (factors != nullptr) {
      const auto m = hn::LoadU(d, factors + i);
      gate = hn::Mul(gate, m);
      if (kSlope) hn::StoreU(hn::Mul(a, m), d, dg + i);
    } else if (kSlope) {
      hn::StoreU(a, d, dg + i);
    }
    if (kSlope) hn::StoreU(hn::Mul(s, gate), d, du + i);
    hn::StoreU(hn::Mul(a, gate), d, value + i);
  });
}

template <class Act>
HWY_INLINE void GateWith(const Dropout& dropout, idx_t first, idx_t count, const float* u,
                         const float* g, float* value, float* du, float* dg) {
  const auto piece = [=](idx_t at, idx_t n, const float* factors) HWY_ATTR {
    if (du == nullptr) {
      GatePiece<Act, false>(factors, n, u + at, g + at, value + at, nullptr, nullptr);
    } else {
      GatePiece<Act, true>(factors, n, u + at, g + at, value + at, du + at, dg + at);
    }
  };
  if (!dropout.active()) return piece(0, count, nullptr);
  ForDropoutFactors(dropout, first, count, piece);
}

// A row of F = count: value = act(u) g m, m the dropout factor of element first + i. Where du is
// not null, du = act'(u) g m and dg = act(u) m.
HWY_INLINE void GateElements(Activation activation, const Dropout& dropout, idx_t first,
                             idx_t count, const float* u, const float* g, float* value, float* du,
                             float* dg) {
  WithActivation(activation, [=](auto act) HWY_ATTR {
    GateWith<decltype(act)>(dropout, first, count, u, g, value, du, dg);
  });
}

// The same of pre = [u | g] and slope = [du | dg], side by side; slope is null or may be pre.
void GateRow(Activation activation, const Dropout& dropout, idx_t first, idx_t count,
             const float* pre, float* value, float* slope) {
  GateElements(activation, dropout, first, count, pre, pre + count, value, slope,
               slope != nullptr ? slope + count : nullptr);
}

// The same of bf16, a piece in fp32 at a time.
void GateHalvesRow(Activation activation, const Dropout& dropout, idx_t first, idx_t count,
                   const bfloat16* pre, bfloat16* value, bfloat16* slope) {
  constexpr idx_t kPiece = 8 * kDropoutGroup;
  alignas(64) float u[kPiece], g[kPiece], values[kPiece];
  for (idx_t i = 0; i < count; i += kPiece) {
    const idx_t n = std::min(kPiece, count - i);
    ScaleRow(InRow{pre + i, true}, 1.0f, u, n);
    ScaleRow(InRow{pre + count + i, true}, 1.0f, g, n);
    const bool slopes = slope != nullptr;
    GateElements(activation, dropout, first + i, n, u, g, values, slopes ? u : nullptr,
                 slopes ? g : nullptr);
    ScaleRow(values, 1.0f, OutRow{value + i, true}, n);
    if (!slopes) continue;
    ScaleRow(u, 1.0f, OutRow{slope + i, true}, n);
    ScaleRow(g, 1.0f, OutRow{slope + count + i, true}, n);
  }
}

// dh[i] *= slope[i] of bf16, multiplied in fp32.
void MultiplyHalvesRun(idx_t count, const bfloat16* slope, bfloat16* dh) {
  const InRow factors{slope, true};
  const OutRow row{dh, true};
  for (idx_t i = 0; i < count; i += kTileLanes) {
    StoreRow(hn::Mul(LoadRow(row, i, count), LoadRow(factors, i, count)), row, i, count);
  }
}

// dh[i] *= slope[i].
void MultiplyRun(idx_t count, const float* HWY_RESTRICT slope, float* HWY_RESTRICT dh) {
  ForLanes(count, [=](auto d, idx_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, dh + i), hn::LoadU(d, slope + i)), d, dh + i);
  });
}

// masked[i] = x[i] m, m the dropout factor of element first + i. masked may be x.
void MaskRun(const Dropout& dropout, idx_t first, idx_t count, const float* x, float* masked) {
  const auto mask = [=](idx_t offset, idx_t n, const float* factors) HWY_ATTR {
    const float* from = x + offset;
    float* to = masked + offset;
    ForLanes(n, [=](auto d, idx_t i) HWY_ATTR {
      hn::StoreU(hn::Mul(hn::LoadU(d, from + i), hn::LoadU(d, factors + i)), d, to + i);
    });
  };
  ForDropoutFactors(dropout, first, count, mask);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_FEED_FORWARD_INL_H_
