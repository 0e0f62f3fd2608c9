// bf16 in kernels: rows of either type (tensor/mixed_view.h), and pairs of bf16 that lie in a
// float's place, which AVX512_BF16 multiplies and adds at twice the rate of fp32.
//
//   ScaleRow, DotRow, ...   rows of fp32 or bf16, any length
//   HalfTerms               what tiles of bf16 data multiply: pairs on AVX-512, floats elsewhere
//   PairRow, PackPairs      rows of bf16 -> pairs along the row, or across two rows
//   RoundRow, RoundRows     fp32 -> pairs along a row, or across two rows
//
// A pair along a row is two neighbouring elements: row (n) fills (n + 1) / 2 floats. Sums are fp32.
// Without bf16 hardware rows are widened on their way into panels, and all else is fp32.

// Included once for every target.
#if defined(LONGSPAN_SIMD_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_SIMD_BF16_INL_H_
#undef LONGSPAN_SIMD_BF16_INL_H_
#else
#define LONGSPAN_SIMD_BF16_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/math.h"
#include "simd/math-inl.h"
#include "simd/softmax-inl.h"
#include "simd/tile-inl.h"
#include "tensor/mixed_view.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// As many bf16 as a vector has floats.
using Bf16Tag = hn::Rebind<std::uint16_t, TileTag>;

// ---- vectors ------------------------------------------------------------------------------------

HWY_INLINE hn::Vec<TileTag> ToFloats(hn::Vec<Bf16Tag> bits) {
  const hn::RebindToUnsigned<TileTag> du;
  return hn::BitCast(TileTag(), hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
}

// To nearest, ties to even; NaN stays NaN.
HWY_INLINE hn::Vec<Bf16Tag> ToBf16(hn::Vec<TileTag> v) {
  const hn::RebindToUnsigned<TileTag> du;
  const hn::RebindToSigned<TileTag> di;
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fff)));
  const auto quiet = hn::Or(bits, hn::Set(du, 0x400000));
  const auto number = hn::RebindMask(du, hn::Eq(v, v));
  const auto high = hn::ShiftRight<16>(hn::IfThenElse(number, rounded, quiet));
  return hn::DemoteTo(Bf16Tag(), hn::BitCast(di, high));
}

// A vector of row[0 .. n), zero beyond; n >= 1.
HWY_INLINE hn::Vec<Bf16Tag> LoadBf16(const std::uint16_t* row, idx_t n) {
  const Bf16Tag d;
  if (n >= kTileLanes) return hn::LoadU(d, row);
  alignas(64) std::uint16_t lanes[kTileLanes] = {};
  std::copy_n(row, n, lanes);
  return hn::Load(d, lanes);
}
HWY_INLINE void StoreBf16(hn::Vec<Bf16Tag> v, std::uint16_t* row, idx_t n) {
  const Bf16Tag d;
  if (n >= kTileLanes) return hn::StoreU(v, d, row);
  alignas(64) std::uint16_t lanes[kTileLanes];
  hn::Store(v, d, lanes);
  std::copy_n(lanes, n, row);
}

// ---- rows of either type ------------------------------------------------------------------------

// Elements [i, i + lanes) of a row of n, zero beyond.
HWY_INLINE hn::Vec<TileTag> LoadRow(InRow row, idx_t i, idx_t n) {
  if (row.bf16) return ToFloats(LoadBf16(static_cast<const std::uint16_t*>(row.data) + i, n - i));
  return LoadTail(static_cast<const float*>(row.data) + i, n - i);
}
HWY_INLINE void StoreRow(hn::Vec<TileTag> v, OutRow row, idx_t i, idx_t n) {
  if (row.bf16) return StoreBf16(ToBf16(v), static_cast<std::uint16_t*>(row.data) + i, n - i);
  StoreTail(v, static_cast<float*>(row.data) + i, n - i);
}

// y = factor * x
HWY_INLINE void ScaleRow(InRow x, float factor, float* HWY_RESTRICT y, idx_t n) {
  const TileTag d;
  const auto f = hn::Set(d, factor);
  for (idx_t i = 0; i < n; i += kTileLanes) {
    StoreTail(hn::Mul(f, LoadRow(x, i, n)), y + i, n - i);
  }
}
HWY_INLINE void ScaleRow(const float* HWY_RESTRICT x, float factor, OutRow y, idx_t n) {
  const TileTag d;
  const auto f = hn::Set(d, factor);
  for (idx_t i = 0; i < n; i += kTileLanes) StoreRow(hn::Mul(f, LoadTail(x + i, n - i)), y, i, n);
}
HWY_INLINE void ClearRow(OutRow y, idx_t n) {
  std::memset(y.data, 0, static_cast<std::size_t>(n) * (y.bf16 ? 2 : 4));
}

// y += factor * x
HWY_INLINE void AddScaledRow(InRow x, float factor, float* HWY_RESTRICT y, idx_t n) {
  const TileTag d;
  const auto f = hn::Set(d, factor);
  for (idx_t i = 0; i < n; i += kTileLanes) {
    StoreTail(hn::MulAdd(f, LoadRow(x, i, n), LoadTail(y + i, n - i)), y + i, n - i);
  }
}

// a . b
HWY_INLINE float DotRow(InRow a, InRow b, idx_t n) {
  const TileTag d;
  auto sum = hn::Zero(d);
  for (idx_t i = 0; i < n; i += kTileLanes) {
    sum = hn::MulAdd(LoadRow(a, i, n), LoadRow(b, i, n), sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// ---- pairs --------------------------------------------------------------------------------------

// Floats that n elements take as terms of a product.
template <class Terms>
constexpr idx_t TermCount(idx_t n) {
  return CeilDiv(n, Terms::kWidth);
}

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
// Highway 1.0.3 knows no target with AVX512_BF16, so its instructions stand here as assembly. Only
// where Bf16Path() (base/isa.h) says so are they run.
struct PairTerms {
  static constexpr idx_t kWidth = 2;
  // sum + a.low b.low + a.high b.high in every lane; subnormals count as 0.
  static HWY_INLINE hn::Vec<TileTag> MulAdd(hn::Vec<TileTag> a, hn::Vec<TileTag> b,
                                            hn::Vec<TileTag> sum) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
    return sum;
  }
  // Stores 32 bf16: those of `first`, then those of `second`.
  static HWY_INLINE void StoreAlong(hn::Vec<TileTag> first, hn::Vec<TileTag> second,
                                    std::uint16_t* to) {
    _mm512_storeu_si512(to, Both(first, second));
  }
  // Stores (first[i], second[i]) in lane i.
  static HWY_INLINE void StoreAcross(hn::Vec<TileTag> first, hn::Vec<TileTag> second, float* to) {
    alignas(64) static constexpr std::uint16_t kOrder[32] = {
        0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i across = _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), Both(first, second));
    _mm512_storeu_si512(to, across);
  }

 private:
  static HWY_INLINE __m512i Both(hn::Vec<TileTag> first, hn::Vec<TileTag> second) {
    __m512i both;
    asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(first.raw), "v"(second.raw));
    return both;
  }
};
using HalfTerms = PairTerms;
#else
using HalfTerms = F32Terms;
#endif

// x (n) of bf16, times a factor, as pairs along the row: fills y up to `whole` floats with zeros.
HWY_INLINE void PairRow(InRow x, float factor, idx_t n, idx_t whole, float* HWY_RESTRICT y) {
  const TileTag d;
  const auto* from = static_cast<const std::uint16_t*>(x.data);
  auto* to = reinterpret_cast<std::uint16_t*>(y);
  if (factor == 1.0f) {
    std::memcpy(to, from, static_cast<std::size_t>(n) * 2);
  } else {
    const auto f = hn::Set(d, factor);
    for (idx_t i = 0; i < n; i += kTileLanes) {
      StoreBf16(ToBf16(hn::Mul(f, ToFloats(LoadBf16(from + i, n - i)))), to + i, n - i);
    }
  }
  std::memset(to + n, 0, static_cast<std::size_t>(2 * whole - n) * 2);
}

// to = factor * from (n) or zeros, as the terms of a product: `whole` elements are written.
template <class Terms>
HWY_INLINE void GatherRow(InRow from, bool exists, float factor, idx_t n, idx_t whole, float* to) {
  if (!exists) {
    std::memset(to, 0, static_cast<std::size_t>(TermCount<Terms>(whole)) * 4);
  } else if constexpr (Terms::kWidth == 2) {
    PairRow(from, factor, n, whole / 2, to);
  } else {
    ScaleRow(from, factor, to, n);
  }
}

// Panels of pairs across two rows: x (rows, columns) of bf16, `stride` floats from row to row, the
// rows readable in whole vectors. Panel p: [(rows + 1) / 2][kPanel].
HWY_INLINE void PackPairs(const float* HWY_RESTRICT x, idx_t stride, idx_t rows, idx_t columns,
                          idx_t panel_rows, float* HWY_RESTRICT panels) {
  const Bf16Tag dh;
  const hn::RebindToUnsigned<TileTag> du;
  for (idx_t first = 0; first < columns; first += kPanel, panels += panel_rows * kPanel) {
    for (idx_t r = 0; r < rows; r += 2) {
      const auto* low = reinterpret_cast<const std::uint16_t*>(x + r * stride) + first;
      const auto* high = reinterpret_cast<const std::uint16_t*>(x + (r + 1) * stride) + first;
      for (idx_t j = 0; j < kPanel; j += kTileLanes) {
        auto pair = hn::Zero(du);
        if (first + j < columns) {
          pair = hn::PromoteTo(du, hn::LoadU(dh, low + j));
          if (r + 1 < rows) {
            pair = hn::Or(pair, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(dh, high + j))));
          }
        }
        hn::Store(hn::BitCast(TileTag(), pair), TileTag(), panels + r / 2 * kPanel + j);
      }
    }
  }
}

// Panels of channels for products over rows, of gathered rows (GatherRow) or, as floats, any rows
// `stride` floats apart. Panel p begins p * panel_rows * kPanel floats behind `panels`.
template <class Terms>
HWY_INLINE void PackRows(const float* x, idx_t stride, idx_t rows, idx_t columns, idx_t panel_rows,
                         float* panels) {
  if constexpr (Terms::kWidth == 2) {
    PackPairs(x, stride, rows, columns, panel_rows, panels);
  } else {
    for (idx_t first = 0; first < columns; first += kPanel, panels += panel_rows * kPanel) {
      PackPanels(x + first, stride, rows, std::min(kPanel, columns - first), panels);
    }
  }
}

// `count` rows of an array from row t on, as the terms of a product: where they are, if those are
// floats, else gathered in `room` (count, row) times a factor. `stride`: floats from row to row.
template <class Terms>
HWY_INLINE const float* RowsOf(const InView& array, idx_t b, idx_t h, idx_t t, idx_t count,
                               float factor, idx_t row, float* room, idx_t* stride) {
  if (!array.bf16) {
    *stride = array.stride[2];
    return static_cast<const float*>(array(b, h, t).data);
  }
  *stride = row / Terms::kWidth;
  for (idx_t i = 0; i < count; ++i) {
    GatherRow<Terms>(array(b, h, t + i), true, factor, array.extent[3], row, room + i * *stride);
  }
  return room;
}

// row (n) of floats -> pairs along it, to a place that may be the row's own beginning or before.
template <class Pairs>
HWY_INLINE void RoundRow(const float* row, idx_t n, std::uint16_t* to) {
  const TileTag d;
  idx_t i = 0;
  for (; i + 2 * kTileLanes <= n; i += 2 * kTileLanes) {
    Pairs::StoreAlong(hn::LoadU(d, row + i), hn::LoadU(d, row + i + kTileLanes), to + i);
  }
  if (i < n) hn::StoreU(ToBf16(hn::LoadU(d, row + i)), Bf16Tag(), to + i);
}

// first, second (n) -> pairs across them, to a place that may be that of `first`.
template <class Pairs>
HWY_INLINE void RoundRows(const float* first, const float* second, idx_t n, float* to) {
  const TileTag d;
  for (idx_t i = 0; i < n; i += kTileLanes) {
    const auto high = second != nullptr ? hn::LoadU(d, second + i) : hn::Zero(d);
    Pairs::StoreAcross(hn::LoadU(d, first + i), high, to + i);
  }
}

// exp(row - offset) as pairs along the row, as ExpRow does it; returns the sum before rounding.
// `to` may begin with the row.
template <class Pairs>
HWY_INLINE float ExpRowToPairs(const float* row, idx_t n, float offset, std::uint16_t* to) {
  const TileTag d;
  const auto shift = hn::Set(d, offset);
  auto even = hn::Zero(d), odd = even;
  idx_t i = 0;
  for (; i + 2 * kTileLanes <= n; i += 2 * kTileLanes) {
    const auto e0 = ExpWeight(d, hn::Sub(hn::LoadU(d, row + i), shift));
    const auto e1 = ExpWeight(d, hn::Sub(hn::LoadU(d, row + i + kTileLanes), shift));
    Pairs::StoreAlong(e0, e1, to + i);
    even = hn::Add(even, e0);
    odd = hn::Add(odd, e1);
  }
  if (i < n) {
    const auto e = ExpWeight(d, hn::Sub(hn::LoadU(d, row + i), shift));
    hn::StoreU(ToBf16(e), Bf16Tag(), to + i);
    even = hn::Add(even, e);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
}

// ---- rows of weights ----------------------------------------------------------------------------
// A row of scores becomes a row of weights in place. As pairs along it, element c of the row lies
// where bf16 number c of the row's memory is, so the row's columns need half of their place.

// Columns [begin, end) := exp(score - offset); returns their sum. Whole vectors.
template <class Terms, class Scores = NaturalScores>
HWY_INLINE float ExpColumns(float* row, idx_t begin, idx_t end, float offset) {
  if constexpr (Terms::kWidth == 2) {
    return ExpRowToPairs<Terms>(row + begin, end - begin, offset,
                                reinterpret_cast<std::uint16_t*>(row) + begin);
  } else {
    return ExpRow<Scores>(row + begin, end - begin, offset);
  }
}

// Columns [begin, end) of a row of weights := 0. Whole vectors.
template <class Terms>
HWY_INLINE void ClearWeights(float* row, idx_t begin, idx_t end) {
  if (begin >= end) return;
  std::memset(reinterpret_cast<std::byte*>(row) + begin * 4 / Terms::kWidth, 0,
              static_cast<std::size_t>(end - begin) * 4 / Terms::kWidth);
}

// Columns [begin, end) of fp32 weights, in place. Whole vectors.
template <class Terms>
HWY_INLINE void RoundColumns(float* row, idx_t begin, idx_t end) {
  if constexpr (Terms::kWidth == 2) {
    RoundRow<Terms>(row + begin, end - begin, reinterpret_cast<std::uint16_t*>(row) + begin);
  } else {
    (void)row, (void)begin, (void)end;
  }
}

// Backward: rows of weights and of score gradients (rows, stride) of fp32 become pairs across two
// rows in place, and the gradients pairs along rows in `along` (rows, stride / 2) too. Columns
// [begin, end) are whole vectors. Without pairs nothing is to be done.
template <class Terms>
HWY_INLINE void RoundBlock(float* weights, float* gradients, idx_t rows, idx_t stride, idx_t begin,
                           idx_t end, float* along) {
  if constexpr (Terms::kWidth == 2) {
    const idx_t n = end - begin;
    for (idx_t r = 0; r < rows; r += 2) {
      float *w = weights + r * stride + begin, *g = gradients + r * stride + begin;
      const bool two = r + 1 < rows;
      const auto line = [&](idx_t i) {
        return reinterpret_cast<std::uint16_t*>(along + (r + i) * stride / 2) + begin;
      };
      RoundRow<Terms>(g, n, line(0));
      if (two) RoundRow<Terms>(g + stride, n, line(1));
      RoundRows<Terms>(w, two ? w + stride : nullptr, n, w);
      RoundRows<Terms>(g, two ? g + stride : nullptr, n, g);
    }
  } else {
    (void)weights, (void)gradients, (void)rows, (void)stride, (void)begin, (void)end, (void)along;
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_SIMD_BF16_INL_H_
