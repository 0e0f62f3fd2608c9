// Vector code of packed_product.h. A packed block of a (m, k) is panels of kPanelRows rows, element
// (r, k) of a panel at k * kPanelRows + r; one of b (k, n) is panels of kPanelCols columns,
// element (k, j) at k * kPanelCols + j. What is missing from a last panel is zeros.
#if defined(LONGSPAN_GEMM_PACKED_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_GEMM_PACKED_PRODUCT_INL_H_
#undef LONGSPAN_GEMM_PACKED_PRODUCT_INL_H_
#else
#define LONGSPAN_GEMM_PACKED_PRODUCT_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

#include "base/math.h"
#include "gemm/load-inl.h"
#include "gemm/packed_block.h"
#include "longspan/types.h"
#include "simd/unroll.h"

HWY_BEFORE_NAMESPACE();
namespace longspan::gemm {
namespace HWY_NAMESPACE {

using V32 = hn::Vec<F32>;

constexpr idx_t kLanes = hn::MaxLanes(F32());
// A micro-tile is kPanelRows rows by three vectors. With 16 registers 12 sums, three vectors of b
// and one of a fill them: 7 loads a term for 12 multiply-adds, where 6 rows of two vectors load 8
// times, take more of a from the second cache, and ran 10 % slower. With 32 registers 24 sums, 11
// loads for 24 multiply-adds.
constexpr bool kManyRegisters = kLanes >= 16;
constexpr idx_t kPanelRows = kManyRegisters ? 8 : 4;
constexpr idx_t kPanelVectors = 3;
constexpr idx_t kPanelCols = kPanelVectors * kLanes;

BlockShape ShapeOfBlocks() {
  return {kPanelRows, kPanelCols, kManyRegisters ? 384 : 256, kManyRegisters ? 192 : 128,
          kManyRegisters};
}

#if HWY_TARGET == HWY_SCALAR
template <class T>
HWY_INLINE void CopyFour(const T* from, float* to) {
  for (idx_t i = 0; i < 4; ++i) to[i] = LoadOne(from + i);
}

template <class T>
HWY_INLINE void TransposeFour(const T* from, idx_t stride, float* to, idx_t to_stride) {
  for (idx_t i = 0; i < 4; ++i) {
    for (idx_t j = 0; j < 4; ++j) to[i * to_stride + j] = LoadOne(from + j * stride + i);
  }
}
#else
using F128 = hn::CappedTag<float, 4>;
using V128 = hn::Vec<F128>;

HWY_INLINE V128 LoadFour(const float* from) { return hn::LoadU(F128(), from); }
HWY_INLINE V128 LoadFour(const bfloat16* from) {
  const hn::RebindToUnsigned<F128> d32;
  const hn::Rebind<std::uint16_t, F128> d16;
  return hn::BitCast(F128(), hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, &from->bits))));
}

template <class T>
HWY_INLINE void CopyFour(const T* from, float* to) {
  hn::StoreU(LoadFour(from), F128(), to);
}

// Columns [0, 4) of four rows that lie `stride` apart become four rows of `to`.
template <class T>
HWY_INLINE void TransposeFour(const T* from, idx_t stride, float* to, idx_t to_stride) {
  const F128 d;
  const hn::Repartition<std::uint64_t, F128> d64;
  const V128 r0 = LoadFour(from), r1 = LoadFour(from + stride);
  const V128 r2 = LoadFour(from + 2 * stride), r3 = LoadFour(from + 3 * stride);
  const auto a = hn::BitCast(d64, hn::InterleaveLower(d, r0, r1));
  const auto b = hn::BitCast(d64, hn::InterleaveLower(d, r2, r3));
  const auto e = hn::BitCast(d64, hn::InterleaveUpper(d, r0, r1));
  const auto f = hn::BitCast(d64, hn::InterleaveUpper(d, r2, r3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, a, b)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, a, b)), d, to + to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(d64, e, f)), d, to + 2 * to_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(d64, e, f)), d, to + 3 * to_stride);
}
#endif

// One panel of kWidth out of `lines` (<= kWidth) lines of k terms, each contiguous in memory.
template <idx_t kWidth, class T>
HWY_INLINE void PackTransposed(const T* HWY_RESTRICT from, idx_t stride, idx_t lines, idx_t k,
                               float* HWY_RESTRICT to) {
  idx_t i = 0;
  if (kWidth % 4 == 0 && lines == kWidth) {
    for (; i + 4 <= k; i += 4) {
      for (idx_t line = 0; line < kWidth; line += 4) {
        TransposeFour(from + line * stride + i, stride, to + i * kWidth + line, kWidth);
      }
    }
  }
  for (; i < k; ++i) {
    for (idx_t line = 0; line < kWidth; ++line) {
      to[i * kWidth + line] = line < lines ? LoadOne(from + line * stride + i) : 0.0f;
    }
  }
}

// Panels of kPanelRows from k rows of m elements each. Several rows at a time fill a cache line.
template <class T>
HWY_INLINE void PackRowPanels(const T* HWY_RESTRICT from, idx_t stride, idx_t m, idx_t k,
                              float* HWY_RESTRICT to, idx_t panel_stride) {
  constexpr idx_t kRows = kPanelRows, kTerms = 16 / kRows;  // a cache line
  const idx_t whole = m / kRows * kRows, lines = k / kTerms * kTerms;
  for (idx_t i = 0; i < lines; i += kTerms) {
    const T* row = from + i * stride;
    float* target = to + i * kRows;
    for (idx_t r = 0; r < whole; r += kRows, target += panel_stride) {
      LONGSPAN_UNROLL
      for (idx_t j = 0; j < 16; j += 4) {
        CopyFour(row + r + j % kRows + j / kRows * stride, target + j);
      }
    }
  }
  for (idx_t i = 0; i < k; ++i) {
    const T* row = from + i * stride;
    for (idx_t r = i < lines ? whole : 0; r < m; r += kRows) {
      float* target = to + r / kRows * panel_stride + i * kRows;
      for (idx_t j = 0; j < kRows; ++j) target[j] = r + j < m ? LoadOne(row + r + j) : 0.0f;
    }
  }
}

// Panels of kPanelCols from k rows of n elements each.
template <class T>
HWY_INLINE void PackColPanels(const T* HWY_RESTRICT from, idx_t stride, idx_t n, idx_t k,
                              float* HWY_RESTRICT to, idx_t panel_stride) {
  const F32 d;
  const idx_t whole = n / kPanelCols * kPanelCols;
  for (idx_t i = 0; i < k; ++i) {
    const T* row = from + i * stride;
    float* target = to + i * kPanelCols;
    idx_t c = 0;
    for (; c < whole; c += kPanelCols, target += panel_stride) {
      hn::Store(LoadRow(d, row + c), d, target);
      hn::Store(LoadRow(d, row + c + kLanes), d, target + kLanes);
      hn::Store(LoadRow(d, row + c + 2 * kLanes), d, target + 2 * kLanes);
    }
    if (c == n) continue;
    for (idx_t j = 0; j < kPanelCols; ++j) target[j] = c + j < n ? LoadOne(row + c + j) : 0.0f;
  }
}

template <class T>
HWY_INLINE void PackA(const T* from, const Packing& p) {
  if (!p.k_contiguous) {
    PackRowPanels(from, p.stride, p.lines, p.k, p.to, p.panel_stride);
    return;
  }
  for (idx_t r = 0; r < p.lines; r += kPanelRows) {
    PackTransposed<kPanelRows>(from + r * p.stride, p.stride, std::min(kPanelRows, p.lines - r),
                               p.k, p.to + r / kPanelRows * p.panel_stride);
  }
}

template <class T>
HWY_INLINE void PackB(const T* from, const Packing& p) {
  if (!p.k_contiguous) {
    PackColPanels(from, p.stride, p.lines, p.k, p.to, p.panel_stride);
    return;
  }
  for (idx_t c = 0; c < p.lines; c += kPanelCols) {
    PackTransposed<kPanelCols>(from + c * p.stride, p.stride, std::min(kPanelCols, p.lines - c),
                               p.k, p.to + c / kPanelCols * p.panel_stride);
  }
}

void PackAF32(const float* from, const Packing& p) { PackA(from, p); }
void PackABf16(const bfloat16* from, const Packing& p) { PackA(from, p); }
void PackBF32(const float* from, const Packing& p) { PackB(from, p); }
void PackBBf16(const bfloat16* from, const Packing& p) { PackB(from, p); }

// c = [c +] s [+ bias], one vector.
HWY_INLINE void StoreSum(V32 s, const float* bias, bool accumulate, float* c) {
  const F32 d;
  if (bias != nullptr) s = hn::Add(s, hn::LoadU(d, bias));
  if (accumulate) s = hn::Add(s, hn::LoadU(d, c));
  hn::StoreU(s, d, c);
}

// c (kPanelRows, kVectors vectors) = [c +] kPanelRows rows of a times a panel of b [+ bias].
// Element (r, k) of a is at k * kPanelRows + r when it is packed, else at r * a_row + k.
template <bool kPacked, idx_t kVectors>
HWY_INLINE void MicroTile(const float* HWY_RESTRICT a, idx_t a_row, const float* HWY_RESTRICT b,
                          idx_t k, const float* bias, bool accumulate, float* c, idx_t stride) {
  constexpr idx_t kAhead = 8;  // terms
  const F32 d;
  const idx_t row = kPacked ? 1 : a_row, term = kPacked ? kPanelRows : 1;
  V32 s[kPanelRows][kVectors];
  LONGSPAN_UNROLL
  for (idx_t r = 0; r < kPanelRows; ++r) {
    LONGSPAN_UNROLL
    for (idx_t v = 0; v < kVectors; ++v) s[r][v] = hn::Zero(d);
    hwy::Prefetch(c + r * stride);
    hwy::Prefetch(c + r * stride + kVectors * kLanes - 1);
  }
  HWY_UNROLL(4)
  for (idx_t i = 0; i < k; ++i, a += term, b += kPanelCols) {
    V32 columns[kVectors];
    LONGSPAN_UNROLL
    for (idx_t v = 0; v < kVectors; ++v) {
      columns[v] = hn::Load(d, b + v * kLanes);
      // From the second cache, where wide panels of b stay.
      if (kManyRegisters) hwy::Prefetch(b + kAhead * kPanelCols + v * kLanes);
    }
    if (!kManyRegisters && i % 4 == 0) hwy::Prefetch(a + 16 * kPanelRows);
    LONGSPAN_UNROLL
    for (idx_t r = 0; r < kPanelRows; ++r) {
      const V32 each = hn::Set(d, a[r * row]);
      LONGSPAN_UNROLL
      for (idx_t v = 0; v < kVectors; ++v) s[r][v] = hn::MulAdd(each, columns[v], s[r][v]);
    }
  }
  LONGSPAN_UNROLL
  for (idx_t r = 0; r < kPanelRows; ++r) {
    LONGSPAN_UNROLL
    for (idx_t v = 0; v < kVectors; ++v) {
      StoreSum(s[r][v], bias == nullptr ? nullptr : bias + v * kLanes, accumulate,
               c + r * stride + v * kLanes);
    }
  }
}

// A micro-tile of which only (rows, cols) lie in c.
template <bool kPacked>
HWY_NOINLINE void EdgeTile(const Block& block, const float* a, const float* b, const float* bias,
                           idx_t rows, idx_t cols, float* c) {
  HWY_ALIGN float tile[kPanelRows * kPanelCols];
  MicroTile<kPacked, kPanelVectors>(a, block.a_row, b, block.k, nullptr, false, tile, kPanelCols);
  for (idx_t r = 0; r < rows; ++r) {
    for (idx_t j = 0; j < cols; ++j) {
      float value = tile[r * kPanelCols + j];
      if (bias != nullptr) value += bias[j];
      if (block.accumulate) value += c[r * block.c_stride + j];
      c[r * block.c_stride + j] = value;
    }
  }
}

// `rows` (<= kPanelRows) rows of a by `cols` (<= kPanelCols) columns.
template <bool kPacked>
HWY_INLINE void Tile(const Block& block, const float* a, const float* b, const float* bias,
                     idx_t rows, idx_t cols, float* c) {
  const auto whole = [&](auto vectors) {
    MicroTile<kPacked, decltype(vectors)::value>(a, block.a_row, b, block.k, bias, block.accumulate,
                                                 c, block.c_stride);
  };
  if (rows == kPanelRows && cols == kPanelCols) {
    whole(std::integral_constant<idx_t, kPanelVectors>());
  } else if (rows == kPanelRows && cols == 2 * kLanes) {
    whole(std::integral_constant<idx_t, 2>());
  } else if (rows == kPanelRows && cols == kLanes) {
    whole(std::integral_constant<idx_t, 1>());
  } else {
    EdgeTile<kPacked>(block, a, b, bias, rows, cols, c);
  }
}

// A panel of b stays in the first or second cache while all rows of a, in the second, pass by.
// Meanwhile the next panel of b comes slice by slice from the last cache to the second.
void MultiplyBlock(const Block& block) {
  constexpr idx_t kLine = 16;  // floats
  const idx_t slice =
      RoundUp(CeilDiv(block.k * kPanelCols * kPanelRows, std::max(block.rows, idx_t{1})), kLine);
  const bool reads_rows = kManyRegisters && block.a_row != 0;
  for (idx_t j = 0; j < block.cols; j += kPanelCols) {
    const float* b = block.b + j / kPanelCols * block.b_panel;
    const float* next = b + block.b_panel;
    const float* bias = block.bias == nullptr ? nullptr : block.bias + j;
    const idx_t cols = std::min(kPanelCols, block.cols - j);
    const bool last = j + kPanelCols >= block.cols;
    for (idx_t i = 0; i < block.rows; i += kPanelRows, next += slice) {
      float* c = block.c + i * block.c_stride + j;
      const idx_t rows = std::min(kPanelRows, block.rows - i);
      for (idx_t line = 0; line < slice && !last; line += kLine) PrefetchFar(next + line);
      if (!reads_rows) {
        const float* a = block.a + i / kPanelRows * block.a_panel;
        Tile<true>(block, a, b, bias, rows, cols, c);
      } else if (rows < kPanelRows) {
        Tile<true>(block, block.last, b, bias, rows, cols, c);
      } else {
        Tile<!kManyRegisters>(block, block.a + i * block.a_row, b, bias, rows, cols, c);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace longspan::gemm
HWY_AFTER_NAMESPACE();

#endif
