// Blocks of 32 bf16 by 32 bf16 -> two tiles (simd/amx-inl.h), for matrices whose terms lie the
// other way than a tile wants them. A block is 32 lines of 64 bytes in memory, `stride` bytes
// apart.
//
//   TilesAcross   right operand from lines along the terms: tile h, line r = terms 2 r, 2 r + 1 of
//                 lines 16 h ..
//   TilesOfPairs  right operand from lines across the terms: tile h, line r = elements 16 h .. of
//                 lines 2 r and 2 r + 1
//   TilesDown     left operand from lines across the terms: tile h, line r = element 16 h + r of
//   all
//                 lines

// Included once for every target.
#if defined(LONGSPAN_SIMD_TILE_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_SIMD_TILE_PACK_INL_H_
#undef LONGSPAN_SIMD_TILE_PACK_INL_H_
#else
#define LONGSPAN_SIMD_TILE_PACK_INL_H_
#endif

#include <hwy/highway.h>

#include "longspan/types.h"
#include "simd/amx-inl.h"
#include "simd/line-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

HWY_INLINE void TilesAcross(const char* from, idx_t stride, char* to) {
  for (idx_t half = 0; half < 2; ++half) {
    TransposeLines(from + 16 * half * stride, stride, to + half * kTileBytes);
  }
}

HWY_INLINE void TilesOfPairs(const char* from, idx_t stride, char* to) {
  for (idx_t r = 0; r < 16; ++r) {
    const Line even = LoadLine(from + 2 * r * stride), odd = LoadLine(from + (2 * r + 1) * stride);
    StoreLine(ZipFirstWords(even, odd), to + r * kTileLine);
    StoreLine(ZipLastWords(even, odd), to + kTileBytes + r * kTileLine);
  }
}

HWY_INLINE void TilesDown(const char* from, idx_t stride, char* to) {
  alignas(64) char pairs[2 * kTileBytes];
  TilesOfPairs(from, stride, pairs);
  TransposeLines(pairs, kTileLine, to);
  TransposeLines(pairs + kTileBytes, kTileLine, to + kTileBytes);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_SIMD_TILE_PACK_INL_H_
