// Register tiles: C (m x n) = A (m x k) B (k x n), or C += A B, for the small products of
// attention.
//
// A is read by broadcasts, so its rows may lie along memory or across it (a transposed A costs
// nothing). B is packed into panels of kPanel columns, [k][kPanel], zero beyond its last column:
// one panel is one stream of whole vectors, and stays in the L1 cache while the rows of A pass by.
// C is row-major and its rows have room for whole vectors.
//
//   TileMultiply           one tile, up to kTileRows rows by one panel, over a list of terms
//   PackPanels             rows -> panels (B as it is)
//   PackTransposedPanels   rows -> panels of the transposed matrix, perhaps times a factor
//   DotRow, AddRow, ...    row helpers that take any length
//
// Products multiply floats, or bf16 pairs in the place of a float (simd/bf16-inl.h): the same tiles
// with half the terms.
//
// On AVX2 a 6 x 16 tile has 12 accumulators for 8 multiply-adds in flight; on AVX-512 12 x 32 has
// 24. 6 x 64 has as many, but its panels of B (16 KB for 64 terms) leave no room in the L1 cache
// for the rows of A and C.

// Included once for every target.
#if defined(LONGSPAN_SIMD_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_SIMD_TILE_INL_H_
#undef LONGSPAN_SIMD_TILE_INL_H_
#else
#define LONGSPAN_SIMD_TILE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "longspan/types.h"
#include "simd/row_prefetcher.h"
#include "simd/tile_extents.h"
#include "simd/unroll.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using TileTag = hn::CappedTag<float, 16>;
inline constexpr idx_t kTileLanes = static_cast<idx_t>(hn::MaxLanes(TileTag()));
// Rows of a tile: 6 x 2 accumulators, 2 vectors of B and a broadcast fit 16 registers.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
inline constexpr idx_t kTileRows = 12;
inline constexpr idx_t kPanelVectors = 2;
#else
inline constexpr idx_t kTileRows = 6;
inline constexpr idx_t kPanelVectors = 2;
#endif
static_assert(kMostTileRows % kTileRows == 0);
// Columns of a panel: at most 64 on any target.
inline constexpr idx_t kPanel = kPanelVectors * kTileLanes;

// Terms of a product between two lines of memory that a tile asks for on the way: 24 cycles at two
// multiply-adds each, about what a core takes to bring one.
inline constexpr idx_t kTermsPerLine = 48 / (kTileRows * kPanelVectors);

// What a product multiplies: one float by another.
struct F32Terms {
  static constexpr idx_t kWidth = 1;  // elements in a float's place
  static HWY_INLINE hn::Vec<TileTag> MulAdd(hn::Vec<TileTag> a, hn::Vec<TileTag> b,
                                            hn::Vec<TileTag> sum) {
    return hn::MulAdd(a, b, sum);
  }
};

// One term of a sum of products: k columns of A times k rows of a panel of B.
struct TileTerm {
  const float* a = nullptr;  // (m, k) with row stride lda; transposed: (k, m) with row stride lda
  const float* b = nullptr;  // [k][kPanel], aligned to a vector
  idx_t k = 0;
};

// ---- one tile -------------------------------------------------------------------------------

// sum (MR, NV) += a column of A times a row of B.
template <class Terms, bool kTransposedA, int MR, int NV>
HWY_INLINE void TileStep(const float* HWY_RESTRICT a, idx_t lda, const float* HWY_RESTRICT b,
                         hn::Vec<TileTag> (&sum)[MR][NV]) {
  const TileTag d;
  hn::Vec<TileTag> row[NV];
  LONGSPAN_UNROLL
  for (int j = 0; j < NV; ++j) row[j] = hn::Load(d, b + j * kTileLanes);
  LONGSPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    const auto x = hn::Set(d, kTransposedA ? a[i] : a[i * lda]);
    LONGSPAN_UNROLL
    for (int j = 0; j < NV; ++j) sum[i][j] = Terms::MulAdd(x, row[j], sum[i][j]);
  }
}

// Asks for the lines, if there are any, every kTermsPerLine terms.
template <class Terms, bool kTransposedA, int MR, int NV>
HWY_NOINLINE void Tile(const TileTerm* terms, idx_t count, idx_t lda, bool accumulate,
                       float* HWY_RESTRICT c, idx_t ldc, const float* const* line = nullptr,
                       const float* const* last_line = nullptr) {
  const TileTag d;
  hn::Vec<TileTag> sum[MR][NV];
  LONGSPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    LONGSPAN_UNROLL
    for (int j = 0; j < NV; ++j) {
      sum[i][j] = accumulate ? hn::LoadU(d, c + i * ldc + j * kTileLanes) : hn::Zero(d);
    }
  }
  for (idx_t t = 0; t < count; ++t) {
    const float* HWY_RESTRICT a = terms[t].a;
    const float* HWY_RESTRICT b = terms[t].b;
    idx_t k = terms[t].k;
    for (; k >= kTermsPerLine && line != last_line; k -= kTermsPerLine) {
      __builtin_prefetch(*line++, 0, 2);
      for (idx_t i = 0; i < kTermsPerLine; ++i, a += kTransposedA ? lda : 1, b += kPanel) {
        TileStep<Terms, kTransposedA>(a, lda, b, sum);
      }
    }
    for (; k > 0; --k, a += kTransposedA ? lda : 1, b += kPanel) {
      TileStep<Terms, kTransposedA>(a, lda, b, sum);
    }
  }
  // Keeps the addresses of the first loop from living, spilled, through the second.
  asm("" : "+r"(c), "+r"(ldc));
  LONGSPAN_UNROLL
  for (int i = 0; i < MR; ++i) {
    LONGSPAN_UNROLL
    for (int j = 0; j < NV; ++j) hn::StoreU(sum[i][j], d, c + i * ldc + j * kTileLanes);
  }
}

// The tile of m rows, found by counting down: whole tiles come first.
template <class Terms, bool kTransposedA, int NV, int MR = static_cast<int>(kTileRows)>
HWY_INLINE void TileRows(idx_t m, const TileTerm* terms, idx_t count, idx_t lda, bool accumulate,
                         float* c, idx_t ldc) {
  if constexpr (MR > 1) {
    if (m < MR) {
      return TileRows<Terms, kTransposedA, NV, MR - 1>(m, terms, count, lda, accumulate, c, ldc);
    }
  }
  Tile<Terms, kTransposedA, MR, NV>(terms, count, lda, accumulate, c, ldc);
}

// C (m x n) = or += the sum over `count` terms of A B, for 1 <= m <= kTileRows, 1 <= n <= kPanel.
// C is written in whole vectors: columns [n, next multiple of kTileLanes) too.
template <bool kTransposedA, class Terms = F32Terms>
HWY_INLINE void TileMultiply(idx_t m, idx_t n, const TileTerm* terms, idx_t count, idx_t lda,
                             bool accumulate, float* c, idx_t ldc) {
  const idx_t vectors = (n + kTileLanes - 1) / kTileLanes;
  if (vectors == kPanelVectors) {
    return TileRows<Terms, kTransposedA, kPanelVectors>(m, terms, count, lda, accumulate, c, ldc);
  }
  return TileRows<Terms, kTransposedA, 1>(m, terms, count, lda, accumulate, c, ldc);
}

// The same, asking for rows that will be needed soon on the way.
template <bool kTransposedA, class Terms = F32Terms>
HWY_INLINE void TileMultiply(idx_t m, idx_t n, const TileTerm* terms, idx_t count, idx_t lda,
                             bool accumulate, float* c, idx_t ldc, RowPrefetcher& coming) {
  if (coming.empty() || m < kTileRows || n <= kPanel - kTileLanes) {
    return TileMultiply<kTransposedA, Terms>(m, n, terms, count, lda, accumulate, c, ldc);
  }
  idx_t lines = 0;
  for (idx_t t = 0; t < count; ++t) lines += terms[t].k / kTermsPerLine;
  RowPrefetcher::Lines line;
  const idx_t taken = coming.Take(lines, line);
  Tile<Terms, kTransposedA, static_cast<int>(kTileRows), static_cast<int>(kPanelVectors)>(
      terms, count, lda, accumulate, c, ldc, line.data(), line.data() + taken);
}

// ---- packing --------------------------------------------------------------------------------

// Floats that the panels of a (rows x columns) matrix take.
constexpr idx_t PanelFloats(idx_t rows, idx_t columns) {
  return (columns + kPanel - 1) / kPanel * kPanel * rows;
}

// A vector of row[0 .. n), zero beyond; n >= 1. Reads nothing beyond.
HWY_INLINE hn::Vec<TileTag> LoadTail(const float* row, idx_t n) {
  const TileTag d;
  if (n >= kTileLanes) return hn::LoadU(d, row);
#if HWY_TARGET <= HWY_AVX2  // true masked moves; elsewhere Highway's would touch the whole vector
  return hn::MaskedLoad(hn::FirstN(d, static_cast<std::size_t>(n)), d, row);
#else
  alignas(64) float lanes[kTileLanes] = {};
  for (idx_t i = 0; i < n; ++i) lanes[i] = row[i];
  return hn::Load(d, lanes);
#endif
}

// Stores the first n lanes, n >= 1, and touches nothing beyond.
HWY_INLINE void StoreTail(hn::Vec<TileTag> v, float* row, idx_t n) {
  const TileTag d;
  if (n >= kTileLanes) return hn::StoreU(v, d, row);
#if HWY_TARGET <= HWY_AVX2
  hn::BlendedStore(v, hn::FirstN(d, static_cast<std::size_t>(n)), d, row);
#else
  alignas(64) float lanes[kTileLanes];
  hn::Store(v, d, lanes);
  for (idx_t i = 0; i < n; ++i) row[i] = lanes[i];
#endif
}

// Panel p of `panels` gets columns [p kPanel, (p+1) kPanel) of x (rows, columns): [rows][kPanel].
HWY_INLINE void PackPanels(const float* HWY_RESTRICT x, idx_t stride, idx_t rows, idx_t columns,
                           float* HWY_RESTRICT panels) {
  const TileTag d;
  for (idx_t first = 0; first < columns; first += kPanel, panels += rows * kPanel) {
    const idx_t n = std::min(kPanel, columns - first);
    for (idx_t r = 0; r < rows; ++r) {
      for (idx_t j = 0; j < kPanel; j += kTileLanes) {
        const auto v = j < n ? LoadTail(x + r * stride + first + j, n - j) : hn::Zero(d);
        hn::Store(v, d, panels + r * kPanel + j);
      }
    }
  }
}

#if HWY_TARGET == HWY_SCALAR
using BlockTag = hn::ScalableTag<float>;
#else
using BlockTag = hn::FixedTag<float, 4>;

// Columns [0, 4) of every fourth row from x on, a row in each block of four lanes.
template <class D>
HWY_INLINE hn::Vec<D> FourthRows(D d, const float* HWY_RESTRICT x, idx_t stride) {
  constexpr idx_t kLanes = static_cast<idx_t>(hn::MaxLanes(D()));
  if constexpr (kLanes == 4) {
    return hn::LoadU(d, x);
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, FourthRows(half, x + kLanes / 2 * stride, stride),
                       FourthRows(half, x, stride));
  }
}
#endif

#if HWY_TARGET != HWY_SCALAR
// The sum of the blocks of four lanes.
template <class D>
HWY_INLINE hn::Vec<BlockTag> AddBlocks(D /*d*/, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return AddBlocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}
#endif

// out[j * kPanel + i] = x[i * stride + j], as `change` makes of every vector, for 4 columns j of as
// many rows i as D has lanes: 4, or kTileLanes.
template <class D, class Change>
HWY_INLINE void TransposeBlock(D d, const float* HWY_RESTRICT x, idx_t stride, const Change& change,
                               float* HWY_RESTRICT out) {
#if HWY_TARGET == HWY_SCALAR
  for (idx_t i = 0; i < 4; ++i) {
    for (idx_t j = 0; j < 4; ++j) {
      hn::Store(change(d, hn::Load(d, x + i * stride + j)), d, out + j * kPanel + i);
    }
  }
#else
  const hn::RepartitionToWide<D> dw;
  const auto x0 = change(d, FourthRows(d, x, stride));
  const auto x1 = change(d, FourthRows(d, x + stride, stride));
  const auto x2 = change(d, FourthRows(d, x + 2 * stride, stride));
  const auto x3 = change(d, FourthRows(d, x + 3 * stride, stride));
  const auto low01 = hn::BitCast(dw, hn::InterleaveLower(d, x0, x1));
  const auto low23 = hn::BitCast(dw, hn::InterleaveLower(d, x2, x3));
  const auto high01 = hn::BitCast(dw, hn::InterleaveUpper(d, x0, x1));
  const auto high23 = hn::BitCast(dw, hn::InterleaveUpper(d, x2, x3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dw, low01, low23)), d, out);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dw, low01, low23)), d, out + kPanel);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dw, high01, high23)), d, out + 2 * kPanel);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dw, high01, high23)), d, out + 3 * kPanel);
#endif
}

struct Unchanged {  // moves bits: a pair of bf16 is no float
  template <class D, class V>
  HWY_INLINE V operator()(D, V v) const {
    return v;
  }
};
struct Multiplied {
  float factor;
  template <class D, class V>
  HWY_INLINE V operator()(D d, V v) const {
    return hn::Mul(hn::Set(d, factor), v);
  }
};

// The panels of x^T, changed, for x (rows, columns): panel p is [columns][kPanel] with rows
// [p kPanel, (p+1) kPanel) of x as its columns.
template <class Change>
HWY_INLINE void PackTransposedPanels(const float* HWY_RESTRICT x, idx_t stride, idx_t rows,
                                     idx_t columns, const Change& change,
                                     float* HWY_RESTRICT panels) {
  const hn::CappedTag<float, 1> d1;
  for (idx_t first = 0; first < rows; first += kPanel, panels += columns * kPanel) {
    const idx_t n = std::min(kPanel, rows - first);
    const float* block = x + first * stride;
    // Rows i: as many as a vector has lanes while there are so many, then 4, then one.
    for (idx_t i = 0, step = 0; i < kPanel; i += step) {
      const float* row = block + i * stride;
      step = n - i >= kTileLanes ? std::max<idx_t>(kTileLanes, 4) : 4;
      idx_t j = 0;
      for (; step > 4 && j + 4 <= columns; j += 4) {
        TransposeBlock(TileTag(), row + j, stride, change, panels + j * kPanel + i);
      }
      for (; step == 4 && i + 4 <= n && j + 4 <= columns; j += 4) {
        TransposeBlock(BlockTag(), row + j, stride, change, panels + j * kPanel + i);
      }
      for (; j < columns; ++j) {
        for (idx_t l = 0; l < std::min(step, kPanel - i); ++l) {
          const bool there = i + l < n;
          const auto v = there ? change(d1, hn::Load(d1, row + l * stride + j)) : hn::Zero(d1);
          hn::Store(v, d1, panels + j * kPanel + i + l);
        }
      }
    }
  }
}

// ---- rows of any length ---------------------------------------------------------------------

// a . b
HWY_INLINE float DotRow(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, idx_t n) {
  const TileTag d;
  auto sum = hn::Zero(d);
  for (idx_t i = 0; i < n; i += kTileLanes) {
    sum = hn::MulAdd(LoadTail(a + i, n - i), LoadTail(b + i, n - i), sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// The sums of the lanes of four vectors, to to[0 .. 4).
HWY_INLINE void StoreSums(hn::Vec<TileTag> a, hn::Vec<TileTag> b, hn::Vec<TileTag> c,
                          hn::Vec<TileTag> e, float* HWY_RESTRICT to) {
  const TileTag d;
#if HWY_TARGET == HWY_SCALAR
  const hn::Vec<TileTag> vectors[4] = {a, b, c, e};
  for (int i = 0; i < 4; ++i) hn::Store(vectors[i], d, to + i);
#else
  const hn::RepartitionToWide<TileTag> dw;
  const auto ab =
      hn::BitCast(dw, hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)));
  const auto ce =
      hn::BitCast(dw, hn::Add(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e)));
  const auto low = hn::BitCast(d, hn::InterleaveLower(dw, ab, ce));
  hn::StoreU(AddBlocks(d, hn::Add(low, hn::BitCast(d, hn::InterleaveUpper(dw, ab, ce)))),
             BlockTag(), to);
#endif
}

// dots[r] = row r of x (rows, stride) . b, n terms each. Writes up to the next multiple of 4.
template <class Terms>
HWY_INLINE void DotRows(const float* HWY_RESTRICT x, idx_t stride, idx_t rows,
                        const float* HWY_RESTRICT b, idx_t n, float* HWY_RESTRICT dots) {
  const TileTag d;
  const idx_t whole = n / kTileLanes * kTileLanes;
  for (idx_t r = 0; r < rows; r += 4) {
    const float* row[4];
    hn::Vec<TileTag> sum[4];
    LONGSPAN_UNROLL
    for (int i = 0; i < 4; ++i) {
      row[i] = x + std::min(r + i, rows - 1) * stride;
      sum[i] = hn::Zero(d);
    }
    for (idx_t k = 0; k < whole; k += kTileLanes) {
      const auto terms = hn::LoadU(d, b + k);
      LONGSPAN_UNROLL
      for (int i = 0; i < 4; ++i) sum[i] = Terms::MulAdd(hn::LoadU(d, row[i] + k), terms, sum[i]);
    }
    if (whole < n) {
      const auto terms = LoadTail(b + whole, n - whole);
      LONGSPAN_UNROLL
      for (int i = 0; i < 4; ++i) {
        sum[i] = Terms::MulAdd(LoadTail(row[i] + whole, n - whole), terms, sum[i]);
      }
    }
    StoreSums(sum[0], sum[1], sum[2], sum[3], dots + r);
  }
}

// No row of x (rows, columns) has a larger squared norm: the largest sum of squares in each lane,
// over the rows, added up. For normal numbers it is about one and a half times the largest norm.
HWY_INLINE float SquaredNormBound(const float* HWY_RESTRICT x, idx_t stride, idx_t rows,
                                  idx_t columns) {
  const TileTag d;
  auto most = hn::Zero(d);
  for (idx_t r = 0; r < rows; ++r, x += stride) {
    auto sum = hn::Zero(d);
    for (idx_t i = 0; i < columns; i += kTileLanes) {
      const auto v = LoadTail(x + i, columns - i);
      sum = hn::MulAdd(v, v, sum);
    }
    most = hn::Max(most, sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, most));
}

// y = factor * x
HWY_INLINE void ScaleRow(const float* HWY_RESTRICT x, float factor, float* HWY_RESTRICT y,
                         idx_t n) {
  const TileTag d;
  const auto f = hn::Set(d, factor);
  for (idx_t i = 0; i < n; i += kTileLanes) {
    StoreTail(hn::Mul(f, LoadTail(x + i, n - i)), y + i, n - i);
  }
}

// row *= factor in whole vectors: row is aligned to one, n is a multiple of kTileLanes.
HWY_INLINE void RescaleRow(float* row, idx_t n, float factor) {
  const TileTag d;
  const auto f = hn::Set(d, factor);
  for (idx_t i = 0; i < n; i += kTileLanes) {
    hn::Store(hn::Mul(f, hn::Load(d, row + i)), d, row + i);
  }
}

// y += factor * x
HWY_INLINE void AddScaledRow(const float* HWY_RESTRICT x, float factor, float* HWY_RESTRICT y,
                             idx_t n) {
  const TileTag d;
  const auto f = hn::Set(d, factor);
  for (idx_t i = 0; i < n; i += kTileLanes) {
    StoreTail(hn::MulAdd(f, LoadTail(x + i, n - i), LoadTail(y + i, n - i)), y + i, n - i);
  }
}

// y *= x
HWY_INLINE void MultiplyRow(const float* HWY_RESTRICT x, float* HWY_RESTRICT y, idx_t n) {
  for (idx_t i = 0; i < n; i += kTileLanes) {
    StoreTail(hn::Mul(LoadTail(y + i, n - i), LoadTail(x + i, n - i)), y + i, n - i);
  }
}

// y += x
HWY_INLINE void AddRow(const float* HWY_RESTRICT x, float* HWY_RESTRICT y, idx_t n) {
  for (idx_t i = 0; i < n; i += kTileLanes) {
    StoreTail(hn::Add(LoadTail(y + i, n - i), LoadTail(x + i, n - i)), y + i, n - i);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_SIMD_TILE_INL_H_
