// Vector code of few_rows.h.
#if defined(LONGSPAN_GEMM_FEW_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_GEMM_FEW_ROWS_INL_H_
#undef LONGSPAN_GEMM_FEW_ROWS_INL_H_
#else
#define LONGSPAN_GEMM_FEW_ROWS_INL_H_
#endif

#include <hwy/highway.h>

#include "simd/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan::gemm {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using longspan::HWY_NAMESPACE::kTileLanes;
using longspan::HWY_NAMESPACE::LoadTail;
using longspan::HWY_NAMESPACE::TileTag;

// Four rows of w by three of x: 12 sums, 3 vectors of x and 1 of w fit 16 registers.
inline constexpr int kWeightRows = 4, kTokenRows = 3;

// What a block of dot products reads and writes.
struct DotBlock {
  const float* x;
  idx_t x_stride;
  const float* w;
  idx_t w_stride;
  idx_t terms;
  const float* bias;  // of the block's first row of w, or null
  float* y;
  idx_t y_stride;
  bool accumulate;
};

template <int NW, int NX>
HWY_INLINE void Dots(const DotBlock& b) {
  const TileTag d;
  hn::Vec<TileTag> sum[NW][NX];
  LONGSPAN_UNROLL
  for (int n = 0; n < NW; ++n) {
    LONGSPAN_UNROLL
    for (int m = 0; m < NX; ++m) sum[n][m] = hn::Zero(d);
  }
  idx_t k = 0;
  for (; k + kTileLanes <= b.terms; k += kTileLanes) {
    hn::Vec<TileTag> x[NX];
    LONGSPAN_UNROLL
    for (int m = 0; m < NX; ++m) x[m] = hn::LoadU(d, b.x + m * b.x_stride + k);
    LONGSPAN_UNROLL
    for (int n = 0; n < NW; ++n) {
      const auto w = hn::LoadU(d, b.w + n * b.w_stride + k);
      LONGSPAN_UNROLL
      for (int m = 0; m < NX; ++m) sum[n][m] = hn::MulAdd(x[m], w, sum[n][m]);
    }
  }
  for (int n = 0; n < NW; ++n) {
    for (int m = 0; m < NX; ++m) {
      auto total = sum[n][m];
      if (k < b.terms) {
        total = hn::MulAdd(LoadTail(b.x + m * b.x_stride + k, b.terms - k),
                           LoadTail(b.w + n * b.w_stride + k, b.terms - k), total);
      }
      float value = hn::GetLane(hn::SumOfLanes(d, total));
      if (b.bias != nullptr) value += b.bias[n];
      float& y = b.y[m * b.y_stride + n];
      y = b.accumulate ? y + value : value;
    }
  }
}

template <int NW>
HWY_INLINE void DotsOfTokens(DotBlock b, idx_t tokens) {
  for (; tokens >= kTokenRows; tokens -= kTokenRows) {
    Dots<NW, kTokenRows>(b);
    b.x += kTokenRows * b.x_stride;
    b.y += kTokenRows * b.y_stride;
  }
  if (tokens == 2) Dots<NW, 2>(b);
  if (tokens == 1) Dots<NW, 1>(b);
}

// `rows` rows of w by `tokens` rows of x.
inline void FewRowsTask(const float* x, idx_t x_stride, const float* w, idx_t w_stride, idx_t terms,
                        const float* bias, float* y, idx_t y_stride, bool accumulate, idx_t rows,
                        idx_t tokens) {
  DotBlock b{x, x_stride, w, w_stride, terms, bias, y, y_stride, accumulate};
  const auto advance = [&b](idx_t n) {
    b.w += n * b.w_stride;
    b.y += n;
    if (b.bias != nullptr) b.bias += n;
  };
  for (; rows >= kWeightRows; rows -= kWeightRows) {
    DotsOfTokens<kWeightRows>(b, tokens);
    advance(kWeightRows);
  }
  for (; rows > 0; --rows) {
    DotsOfTokens<1>(b, tokens);
    advance(1);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace longspan::gemm
HWY_AFTER_NAMESPACE();

#endif
