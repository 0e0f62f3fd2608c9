// Vector code of packed_product.h. A packed block of a (m, k) is panels of kPanelRows rows, element
// (r, k) of a panel at k * kPanelRows + r; one of b (k, n) is panels of PanelCols() columns,
// element (k, j) at k * PanelCols() + j. What is missing from a last panel is zeros.
#if defined(LONGSPAN_GEMM_PACKED_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_GEMM_PACKED_PRODUCT_INL_H_
#undef LONGSPAN_GEMM_PACKED_PRODUCT_INL_H_
#else
#define LONGSPAN_GEMM_PACKED_PRODUCT_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>

#include "base/math.h"
#include "gemm/load-inl.h"
#include "gemm/packed_block.h"
#include "longspan/types.h"

HWY_BEFORE_NAMESPACE();
namespace longspan::gemm {
namespace HWY_NAMESPACE {

using V32 = hn::Vec<F32>;

// Three vectors.
constexpr idx_t kLanes = hn::MaxLanes(F32());
constexpr idx_t kPanelCols = 3 * kLanes;
idx_t PanelCols() { return kPanelCols; }

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

// Panels of kPanelRows from k rows of m elements each. Four rows at a time fill a cache line.
template <class T>
HWY_INLINE void PackRowPanels(const T* HWY_RESTRICT from, idx_t stride, idx_t m, idx_t k,
                              float* HWY_RESTRICT to, idx_t panel_stride) {
  static_assert(kPanelRows == 4);
  const idx_t whole = m / 4 * 4, fours = k / 4 * 4;
  for (idx_t i = 0; i < fours; i += 4) {
    const T* row = from + i * stride;
    float* target = to + i * 4;
    for (idx_t r = 0; r < whole; r += 4, target += panel_stride) {
      CopyFour(row + r, target);
      CopyFour(row + r + stride, target + 4);
      CopyFour(row + r + 2 * stride, target + 8);
      CopyFour(row + r + 3 * stride, target + 12);
    }
  }
  for (idx_t i = 0; i < k; ++i) {
    const T* row = from + i * stride;
    for (idx_t r = i < fours ? whole : 0; r < m; r += 4) {
      float* target = to + r / 4 * panel_stride + i * 4;
      for (idx_t j = 0; j < 4; ++j) target[j] = r + j < m ? LoadOne(row + r + j) : 0.0f;
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

// The sums of one micro-tile, in registers.
struct Sums {
  V32 r00, r01, r02, r10, r11, r12, r20, r21, r22, r30, r31, r32;
};

HWY_INLINE void AddOuterProduct(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, Sums& s) {
  const F32 d;
  const V32 b0 = hn::Load(d, b), b1 = hn::Load(d, b + kLanes), b2 = hn::Load(d, b + 2 * kLanes);
  const V32 a0 = hn::Set(d, a[0]);
  s.r00 = hn::MulAdd(a0, b0, s.r00);
  s.r01 = hn::MulAdd(a0, b1, s.r01);
  s.r02 = hn::MulAdd(a0, b2, s.r02);
  const V32 a1 = hn::Set(d, a[1]);
  s.r10 = hn::MulAdd(a1, b0, s.r10);
  s.r11 = hn::MulAdd(a1, b1, s.r11);
  s.r12 = hn::MulAdd(a1, b2, s.r12);
  const V32 a2 = hn::Set(d, a[2]);
  s.r20 = hn::MulAdd(a2, b0, s.r20);
  s.r21 = hn::MulAdd(a2, b1, s.r21);
  s.r22 = hn::MulAdd(a2, b2, s.r22);
  const V32 a3 = hn::Set(d, a[3]);
  s.r30 = hn::MulAdd(a3, b0, s.r30);
  s.r31 = hn::MulAdd(a3, b1, s.r31);
  s.r32 = hn::MulAdd(a3, b2, s.r32);
}

// c = [c +] s [+ bias], one vector.
HWY_INLINE void StoreSum(V32 s, const float* bias, bool accumulate, float* c) {
  const F32 d;
  if (bias != nullptr) s = hn::Add(s, hn::LoadU(d, bias));
  if (accumulate) s = hn::Add(s, hn::LoadU(d, c));
  hn::StoreU(s, d, c);
}

HWY_INLINE void StoreSums(V32 s0, V32 s1, V32 s2, const float* bias, bool accumulate, float* c) {
  StoreSum(s0, bias, accumulate, c);
  StoreSum(s1, bias == nullptr ? nullptr : bias + kLanes, accumulate, c + kLanes);
  StoreSum(s2, bias == nullptr ? nullptr : bias + 2 * kLanes, accumulate, c + 2 * kLanes);
}

// c (kPanelRows, kPanelCols) = [c +] a panel times b panel [+ bias].
HWY_INLINE void MicroTile(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, idx_t k,
                          const float* bias, bool accumulate, float* c, idx_t stride) {
  constexpr idx_t A = kPanelRows, B = kPanelCols;
  const V32 zero = hn::Zero(F32());
  Sums s{zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, zero};
  for (idx_t r = 0; r < kPanelRows; ++r) {
    hwy::Prefetch(c + r * stride);
    hwy::Prefetch(c + r * stride + kPanelCols - 1);
  }
  for (; k >= 4; k -= 4, a += 4 * A, b += 4 * B) {
    hwy::Prefetch(a + 16 * A);  // from the second cache, or the next panel
    AddOuterProduct(a, b, s);
    AddOuterProduct(a + A, b + B, s);
    AddOuterProduct(a + 2 * A, b + 2 * B, s);
    AddOuterProduct(a + 3 * A, b + 3 * B, s);
  }
  for (; k > 0; --k, a += A, b += B) AddOuterProduct(a, b, s);
  StoreSums(s.r00, s.r01, s.r02, bias, accumulate, c);
  StoreSums(s.r10, s.r11, s.r12, bias, accumulate, c + stride);
  StoreSums(s.r20, s.r21, s.r22, bias, accumulate, c + 2 * stride);
  StoreSums(s.r30, s.r31, s.r32, bias, accumulate, c + 3 * stride);
}

// A micro-tile of which only (rows, cols) lie in c.
HWY_NOINLINE void EdgeTile(const float* a, const float* b, idx_t k, const float* bias,
                           bool accumulate, idx_t rows, idx_t cols, float* c, idx_t stride) {
  HWY_ALIGN float tile[kPanelRows * kPanelCols];
  MicroTile(a, b, k, nullptr, false, tile, kPanelCols);
  for (idx_t r = 0; r < rows; ++r) {
    for (idx_t j = 0; j < cols; ++j) {
      float value = tile[r * kPanelCols + j];
      if (bias != nullptr) value += bias[j];
      if (accumulate) value += c[r * stride + j];
      c[r * stride + j] = value;
    }
  }
}

// To the second cache; Highway's Prefetch knows the first only.
HWY_INLINE void PrefetchFar(const float* from) { __builtin_prefetch(from, 0, 2); }

// A panel of b stays in the first cache while all panels of a, in the second, pass by. Meanwhile
// the next panel of b comes slice by slice from the last cache to the second.
void MultiplyBlock(const Block& block) {
  constexpr idx_t kLine = 16;  // floats
  const idx_t slice =
      RoundUp(CeilDiv(block.k * kPanelCols * kPanelRows, std::max(block.rows, idx_t{1})), kLine);
  for (idx_t j = 0; j < block.cols; j += kPanelCols) {
    const float* b = block.b + j / kPanelCols * block.b_panel;
    const float* next = b + block.b_panel;
    const float* bias = block.bias == nullptr ? nullptr : block.bias + j;
    const idx_t cols = std::min(kPanelCols, block.cols - j);
    const bool last = j + kPanelCols >= block.cols;
    for (idx_t i = 0; i < block.rows; i += kPanelRows, next += slice) {
      const float* a = block.a + i / kPanelRows * block.a_panel;
      float* c = block.c + i * block.c_stride + j;
      const idx_t rows = std::min(kPanelRows, block.rows - i);
      for (idx_t line = 0; line < slice && !last; line += kLine) PrefetchFar(next + line);
      if (rows == kPanelRows && cols == kPanelCols) {
        MicroTile(a, b, block.k, bias, block.accumulate, c, block.c_stride);
      } else {
        EdgeTile(a, b, block.k, bias, block.accumulate, rows, cols, c, block.c_stride);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace longspan::gemm
HWY_AFTER_NAMESPACE();

#endif
