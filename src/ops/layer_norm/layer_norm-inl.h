// Layer normalisation of single rows: statistics in two passes over a row that is in the first
// cache, each backward below its forward.

// Included once for every target.
#if defined(LONGSPAN_OPS_LAYER_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_LAYER_NORM_INL_H_
#undef LONGSPAN_OPS_LAYER_NORM_INL_H_
#else
#define LONGSPAN_OPS_LAYER_NORM_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "ops/layer_norm/layer_norm.h"
#include "simd/bf16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using LayerNormTag = hn::ScalableTag<float>;
using LayerNormLane = hn::CappedTag<float, 1>;  // the same arithmetic for what no vector fills

// Calls body(tag, accumulator, c) over channels [0, C): four vectors in flight, which hides the
// latency of the additions, then single vectors, then single channels. Accumulators start at zero.
// Returns their sum, added in a fixed order.
template <class Body>
HWY_INLINE float SumOverChannels(idx_t C, const Body& body) {
  const LayerNormTag d;
  const LayerNormLane lane;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  auto sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  idx_t c = 0;
  for (; c + 4 * lanes <= C; c += 4 * lanes) {
    sum0 = body(d, sum0, c);
    sum1 = body(d, sum1, c + lanes);
    sum2 = body(d, sum2, c + 2 * lanes);
    sum3 = body(d, sum3, c + 3 * lanes);
  }
  for (; c + lanes <= C; c += lanes) sum0 = body(d, sum0, c);
  auto rest = hn::Zero(lane);
  for (; c < C; ++c) rest = body(lane, rest, c);
  const auto sum = hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3));
  return hn::GetLane(hn::SumOfLanes(d, sum)) + hn::GetLane(rest);
}

// Calls body(tag, c) over channels [0, C): whole vectors, then single channels.
template <class Body>
HWY_INLINE void ForChannels(idx_t C, const Body& body) {
  const LayerNormTag d;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  idx_t c = 0;
  for (; c + lanes <= C; c += lanes) body(d, c);
  for (; c < C; ++c) body(LayerNormLane(), c);
}

// The row's mean is `mean` + `rest`: rounding of the mean itself would, in a row of equal values,
// be divided by a standard deviation of almost nothing.
struct LayerNormStatistics {
  float mean, rest;
  float inverse;  // 1 / sqrt(variance + eps)
};

HWY_INLINE LayerNormStatistics RowStatistics(const float* HWY_RESTRICT x, idx_t C, float eps) {
  const float inverse_count = 1.0f / static_cast<float>(C);
  const float mean = inverse_count * SumOverChannels(C, [=](auto d, auto sum, idx_t c) HWY_ATTR {
                       return hn::Add(sum, hn::LoadU(d, x + c));
                     });
  const float rest = inverse_count * SumOverChannels(C, [=](auto d, auto sum, idx_t c) HWY_ATTR {
                       return hn::Add(sum, hn::Sub(hn::LoadU(d, x + c), hn::Set(d, mean)));
                     });
  const float squares = SumOverChannels(C, [=](auto d, auto sum, idx_t c) HWY_ATTR {
    const auto centred = hn::Sub(hn::Sub(hn::LoadU(d, x + c), hn::Set(d, mean)), hn::Set(d, rest));
    return hn::MulAdd(centred, centred, sum);
  });
  return {mean, rest, 1.0f / std::sqrt(squares * inverse_count + eps)};
}

// (x - mean) / sqrt(variance + eps) of the channels from x on.
template <class D>
HWY_INLINE hn::Vec<D> Normalised(D d, const float* x, const LayerNormStatistics& row) {
  const auto centred =
      hn::Sub(hn::Sub(hn::LoadU(d, x), hn::Set(d, row.mean)), hn::Set(d, row.rest));
  return hn::Mul(centred, hn::Set(d, row.inverse));
}

// The row where it lies, or widened in `room` (C).
HWY_INLINE const float* FloatRow(InRow row, idx_t C, float* room) {
  if (!row.bf16) return static_cast<const float*>(row.data);
  ScaleRow(row, 1.0f, room, C);
  return room;
}

// Rows [begin, end). y may be x. room (C) is there where x or y is bf16.
void LayerNormForwardRows(const LayerNormWeights& weights, const InMatrix& x, const OutMatrix& y,
                          const OutMatrix& copy, float* room, idx_t begin, idx_t end) {
  const idx_t C = x.extent[1];
  const float *gamma = weights.gamma.data, *beta = weights.beta.data;
  for (idx_t t = begin; t < end; ++t) {
    const float* in = FloatRow(x(t), C, room);
    float* out = y.bf16 ? room : static_cast<float*>(y(t).data);
    const LayerNormStatistics row = RowStatistics(in, C, weights.eps);
    if (beta == nullptr) {
      ForChannels(C, [=](auto d, idx_t c) HWY_ATTR {
        hn::StoreU(hn::Mul(Normalised(d, in + c, row), hn::LoadU(d, gamma + c)), d, out + c);
      });
    } else {
      ForChannels(C, [=](auto d, idx_t c) HWY_ATTR {
        const auto scaled =
            hn::MulAdd(Normalised(d, in + c, row), hn::LoadU(d, gamma + c), hn::LoadU(d, beta + c));
        hn::StoreU(scaled, d, out + c);
      });
    }
    if (y.bf16) ScaleRow(out, 1.0f, y(t), C);
    if (!copy.empty()) ScaleRow(out, 1.0f, copy(t), C);
  }
}

// Rows [begin, end) of dx; room (C) is there where x is bf16. With kGamma dgamma and, with kBeta,
// dbeta (C) become the sums over these rows. With n the normalised row and g = dy gamma:
// dx = (g - mean(g) - n mean(g n)) / sqrt(var + eps).
template <bool kGamma, bool kBeta>
HWY_INLINE void BackwardRowsWith(const LayerNormWeights& weights, const InMatrix& x,
                                 const View<const float, 2>& dy, const View<float, 2>& dx,
                                 float* room, idx_t begin, idx_t end, float* HWY_RESTRICT dgamma,
                                 float* HWY_RESTRICT dbeta) {
  const idx_t C = x.extent[1];
  const float inverse_count = 1.0f / static_cast<float>(C);
  const float* HWY_RESTRICT gamma = weights.gamma.data;
  if (kGamma) std::fill_n(dgamma, C, 0.0f);
  if (kBeta) std::fill_n(dbeta, C, 0.0f);
  for (idx_t t = begin; t < end; ++t) {
    const float* HWY_RESTRICT in = FloatRow(x(t), C, room);
    const float* HWY_RESTRICT dout = dy.data + t * dy.stride[0];
    float* HWY_RESTRICT din = dx.data + t * dx.stride[0];
    const LayerNormStatistics row = RowStatistics(in, C, weights.eps);
    const auto scaled = [=](auto d, idx_t c) HWY_ATTR {
      return hn::Mul(hn::LoadU(d, dout + c), hn::LoadU(d, gamma + c));
    };
    const float mean_g =
        inverse_count * SumOverChannels(C, [&](auto d, auto sum, idx_t c)
                                               HWY_ATTR { return hn::Add(sum, scaled(d, c)); });
    const float mean_gn =
        inverse_count * SumOverChannels(C, [&](auto d, auto sum, idx_t c) HWY_ATTR {
          return hn::MulAdd(scaled(d, c), Normalised(d, in + c, row), sum);
        });
    ForChannels(C, [&](auto d, idx_t c) HWY_ATTR {
      const auto n = Normalised(d, in + c, row);
      const auto dy_c = hn::LoadU(d, dout + c);
      if (kGamma) hn::StoreU(hn::MulAdd(dy_c, n, hn::LoadU(d, dgamma + c)), d, dgamma + c);
      if (kBeta) hn::StoreU(hn::Add(dy_c, hn::LoadU(d, dbeta + c)), d, dbeta + c);
      const auto centred =
          hn::NegMulAdd(n, hn::Set(d, mean_gn), hn::Sub(scaled(d, c), hn::Set(d, mean_g)));
      hn::StoreU(hn::MulAdd(centred, hn::Set(d, row.inverse), hn::LoadU(d, din + c)), d, din + c);
    });
  }
}

// dbeta is null where there is no beta; dgamma too where neither is wanted.
void LayerNormBackwardRows(const LayerNormWeights& weights, const InMatrix& x,
                           const View<const float, 2>& dy, const View<float, 2>& dx, float* room,
                           idx_t begin, idx_t end, float* dgamma, float* dbeta) {
  if (dgamma == nullptr) {
    BackwardRowsWith<false, false>(weights, x, dy, dx, room, begin, end, nullptr, nullptr);
  } else if (dbeta == nullptr) {
    BackwardRowsWith<true, false>(weights, x, dy, dx, room, begin, end, dgamma, nullptr);
  } else {
    BackwardRowsWith<true, true>(weights, x, dy, dx, room, begin, end, dgamma, dbeta);
  }
}

// total[c] += partial[0][c] + partial[1][c] + ..., in this order; rows lie `stride` apart.
void LayerNormAddPartials(const float* HWY_RESTRICT partial, idx_t rows, idx_t stride, idx_t count,
                          float* HWY_RESTRICT total) {
  ForChannels(count, [=](auto d, idx_t c) HWY_ATTR {
    auto sum = hn::Zero(d);
    for (idx_t r = 0; r < rows; ++r) sum = hn::Add(sum, hn::LoadU(d, partial + r * stride + c));
    hn::StoreU(hn::Add(hn::LoadU(d, total + c), sum), d, total + c);
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_LAYER_NORM_INL_H_
