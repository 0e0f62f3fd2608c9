// Vector code of tile_product.h: operands to tiles, and one task's products on the tile unit or its
// twin (simd/amx-inl.h).
//
// A step of a panel is 32 lines by 32 terms, two tiles for each part of its numbers: 2 KiB, or for
// the three parts of fp32 6 KiB. Of a (left) tile h has lines 16 h .. as rows; of b (right) tile h
// has columns 16 h .., line r terms 2 r and 2 r + 1. A block of c is 32 x 32, four tiles of sums. A
// step of bf16 adds four products to it, 65,536 flop in 64 cycles, for four tiles loaded in 32; one
// of fp32 24 products, for 20 tiles.
//
// Route of a task: for each panel of b, for each pass over its terms, all panels of a. The pass's
// part of b stays in the first cache, a's panels stream from the second past the first. Sums wait
// in the second cache between passes. Those of a finished block are stored while the next block
// begins, two products or more after their last one, because a tile that is stored right after its
// product makes the unit wait, and leave for c one block later.
//
// Edges: panels are padded with zeros, and only what exists of a block reaches c.
#if defined(LONGSPAN_GEMM_TILE_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_GEMM_TILE_PRODUCT_INL_H_
#undef LONGSPAN_GEMM_TILE_PRODUCT_INL_H_
#else
#define LONGSPAN_GEMM_TILE_PRODUCT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/bfloat16.h"
#include "base/math.h"
#include "gemm/load-inl.h"
#include "gemm/rows.h"
#include "gemm/tile_block.h"
#include "simd/amx-inl.h"
#include "simd/line-inl.h"
#include "simd/tile_pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan::gemm {
namespace HWY_NAMESPACE {

using longspan::HWY_NAMESPACE::FmaFloats;
using longspan::HWY_NAMESPACE::kTileBytes;
using longspan::HWY_NAMESPACE::kTileLine;
using longspan::HWY_NAMESPACE::LoadLine;
using longspan::HWY_NAMESPACE::StoreLine;
using longspan::HWY_NAMESPACE::TileSession;
using longspan::HWY_NAMESPACE::TransposeLines;
using longspan::HWY_NAMESPACE::TwinTiles;
using longspan::HWY_NAMESPACE::ZipFirstWords;
using longspan::HWY_NAMESPACE::ZipLastWords;
namespace hn = hwy::HWY_NAMESPACE;
#if HWY_TARGET == HWY_AVX3_DL
using longspan::HWY_NAMESPACE::AmxTiles;
#endif

// ---- packing ------------------------------------------------------------------------------------

// A block of words as it lies in memory, or as it was copied: 32 lines, `stride` bytes apart.
struct WordLines {
  const char* at;
  idx_t stride;
};

// (lines, count) of bf16: where they lie if they are a whole block, else copied into `room` between
// zeros.
HWY_INLINE WordLines WordsOf(const bfloat16* from, idx_t stride, idx_t lines, idx_t count,
                             char* room) {
  if (lines == kTileSide && count == kTileSide) {
    return {reinterpret_cast<const char*>(from), stride * 2};
  }
  std::memset(room, 0, kTileStepBytes);
  for (idx_t r = 0; r < lines; ++r) {
    std::memcpy(room + r * kTileLine, from + r * stride, static_cast<std::size_t>(count) * 2);
  }
  return {room, kTileLine};
}

// Two tiles of an operand from a block of words.
HWY_INLINE void PackWords(const TilePacking& p, const WordLines& x, char* to) {
  if (p.left && p.k_contiguous) {
    for (idx_t r = 0; r < kTileSide; ++r) {
      StoreLine(LoadLine(x.at + r * x.stride), to + r * kTileLine);
    }
  } else if (p.left) {
    longspan::HWY_NAMESPACE::TilesDown(x.at, x.stride, to);
  } else if (p.k_contiguous) {
    longspan::HWY_NAMESPACE::TilesAcross(x.at, x.stride, to);
  } else {
    longspan::HWY_NAMESPACE::TilesOfPairs(x.at, x.stride, to);
  }
}

// fp32 (lines, count) as three blocks of words, whose sum it is: the first part is the nearest
// bf16, the others are the nearest of what is left. Exact for numbers that FitParts takes.
HWY_INLINE void SplitWords(const float* from, idx_t stride, idx_t lines, idx_t count, char* room) {
  const auto minus = longspan::HWY_NAMESPACE::EachFloat(-1.0f);
  const auto zero = longspan::HWY_NAMESPACE::ZeroLine();
  alignas(64) float padded[kTileSide] = {};
  for (idx_t r = 0; r < kTileSide; ++r, from += stride, room += kTileLine) {
    const float* row = from;
    if (r >= lines || count < kTileSide) {
      std::fill_n(padded, kTileSide, 0.0f);
      if (r < lines) std::copy_n(from, count, padded);
      row = padded;
    }
    auto first = LoadLine(row), last = LoadLine(row + kTileSide / 2);
    for (idx_t part = 0; part < kTileParts; ++part) {
      const auto words = longspan::HWY_NAMESPACE::ToBf16Line(first, last);
      StoreLine(words, room + part * kTileStepBytes);
      // What a word says as a float, with the word in its upper half, is subtracted without error.
      first = FmaFloats(ZipFirstWords(zero, words), minus, first);
      last = FmaFloats(ZipLastWords(zero, words), minus, last);
    }
  }
}

void PackParts(const TilePacking& p) {
  alignas(64) char room[kTileParts * kTileStepBytes];
  const auto* from = static_cast<const float*>(p.from);
  char* to = p.to;
  for (idx_t line = 0; line < p.lines; line += kTileSide) {
    const idx_t lines = std::min(kTileSide, p.lines - line);
    for (idx_t term = 0; term < p.k; term += kTileSide) {
      const idx_t terms = std::min(kTileSide, p.k - term);
      if (p.k_contiguous) {
        SplitWords(from + line * p.stride + term, p.stride, lines, terms, room);
      } else {
        SplitWords(from + term * p.stride + line, p.stride, terms, lines, room);
      }
      for (idx_t part = 0; part < kTileParts; ++part, to += kTileStepBytes) {
        PackWords(p, {room + part * kTileStepBytes, kTileLine}, to);
      }
    }
  }
}

// Whether every number of `rows` rows of `count` is 0, or between kLeastSplit and kMostSplit in
// size: by its bits, which rise with it. NaN and infinities are above.
bool FitParts(const float* from, idx_t rows, idx_t count, idx_t stride) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  const auto one = hn::BitCast(di, hn::Set(d, 1.0f));
  const auto size = hn::Set(di, 0x7fffffff);
  auto least = one, most = one;
  const auto look = [&](hn::Vec<decltype(d)> x) HWY_ATTR {
    const auto bits = hn::And(hn::BitCast(di, x), size);
    const auto number = hn::IfThenElse(hn::Eq(bits, hn::Zero(di)), one, bits);
    least = hn::Min(least, number);
    most = hn::Max(most, number);
  };
  for (idx_t r = 0; r < rows; ++r, from += stride) {
    idx_t i = 0;
    for (; i + lanes <= count; i += lanes) look(hn::LoadU(d, from + i));
    for (; i < count; ++i) look(hn::Set(d, from[i]));
  }
  const auto bits_of = [](float x) {
    std::int32_t bits;
    std::memcpy(&bits, &x, 4);
    return bits;
  };
  return hn::GetLane(hn::MinOfLanes(di, least)) >= bits_of(kLeastSplit) &&
         hn::GetLane(hn::MaxOfLanes(di, most)) <= bits_of(kMostSplit);
}

void PackTiles(const TilePacking& p) {
  alignas(64) char room[kTileStepBytes];
  const auto* from = static_cast<const bfloat16*>(p.from);
  char* to = p.to;
  for (idx_t line = 0; line < p.lines; line += kTileSide) {
    const idx_t lines = std::min(kTileSide, p.lines - line);
    for (idx_t term = 0; term < p.k; term += kTileSide, to += kTileStepBytes) {
      const idx_t terms = std::min(kTileSide, p.k - term);
      const WordLines x =
          p.k_contiguous ? WordsOf(from + line * p.stride + term, p.stride, lines, terms, room)
                         : WordsOf(from + term * p.stride + line, p.stride, terms, lines, room);
      PackWords(p, x, to);
    }
  }
}

// ---- products -----------------------------------------------------------------------------------

inline constexpr idx_t kSumsLine = kTileSide * 4;  // bytes of a row of a block of sums

// The left operand of a block: where the halves of its first step lie, bytes from line to line and
// from step to step.
struct LeftPanel {
  const char* upper;
  const char* lower;
  idx_t line, step;
};

// kParts of each number: 1, or kTileParts.
template <class T, idx_t kParts>
class TileRun {
 public:
  explicit TileRun(const TileTask& task)
      : t_(task), blocks_(CeilDiv(task.rows, kTileSide)), panels_(CeilDiv(task.cols, kTileSide)) {}

  void Run() {
    for (idx_t panel = 0; panel < panels_; ++panel) {
      for (idx_t step = 0; step < t_.steps; step += t_.most_steps) Pass(panel, step);
    }
    StoreSums<0>();
    StoreSums<1>();
    StoreSums<2>();
    StoreSums<3>();
    Finish(held_);
  }

 private:
  // A block of c that is complete; panel -1: none.
  struct Leaving {
    idx_t panel = -1, block = 0;
  };
  // Where a block lies in c, and how much of it exists.
  struct Place {
    char* at;
    idx_t row, rows, col, cols, row_bytes;
  };

  idx_t ElementBytes() const { return t_.c_dtype == DType::kBF16 ? 2 : 4; }
  static constexpr idx_t kStepBytes = kParts * kTileStepBytes;

  idx_t PanelBytes() const { return t_.steps * kStepBytes; }
  float* Sums(idx_t block) const { return t_.sums + block * kTileSums; }

  LeftPanel Left(idx_t block, idx_t step) const {
    if (t_.a_row == 0 || (block + 1) * kTileSide > t_.rows) {
      const char* panel = t_.a_row == 0 ? t_.a + block * PanelBytes() : t_.last;
      const char* at = panel + step * kStepBytes;
      return {at, at + kTileBytes, kTileLine, kStepBytes};
    }
    const char* at = t_.a + block * kTileSide * t_.a_row + step * kTileLine;
    return {at, at + kTileSide / 2 * t_.a_row, t_.a_row, kTileLine};
  }

  Place PlaceOf(const Leaving& which) const {
    Place p{};
    p.row = which.block * kTileSide;
    p.col = which.panel * kTileSide;
    p.rows = std::min(kTileSide, t_.rows - p.row);
    p.cols = std::min(kTileSide, t_.cols - p.col);
    if (t_.flipped) {
      std::swap(p.row, p.col);
      std::swap(p.rows, p.cols);
    }
    p.row_bytes = t_.c_stride * ElementBytes();
    p.at = static_cast<char*>(t_.c) + p.row * p.row_bytes + p.col * ElementBytes();
    return p;
  }

  // Terms from step `first` on, as many as fit a pass, of a panel of b and of all panels of a.
  void Pass(idx_t panel, idx_t first) {
    const idx_t count = std::min(t_.most_steps, t_.steps - first);
    const bool begins = first == 0, ends = first + count == t_.steps;
    const char* b = t_.b + panel * PanelBytes() + first * kStepBytes;
    // What comes next follows it in memory, and is fetched slice by slice.
    const char* next = b + count * kStepBytes;
    const idx_t slice = RoundUp(CeilDiv(count * kStepBytes, blocks_), kTileLine);
    const bool last = panel + 1 == panels_ && ends;
    for (idx_t block = 0; block < blocks_; ++block, next += slice) {
      for (idx_t line = 0; line < slice && !last; line += kTileLine) PrefetchFar(next + line);
      if (ends) FetchPlace({panel, block});
      const bool fetch = panel == 0 && t_.a_row != 0 && (block + 2) * kTileSide <= t_.rows;
      const char* ahead = fetch ? Left(block + 1, first).upper : nullptr;
      Multiply(Left(block, first), b, count, begins ? nullptr : Sums(block), ahead);
      Finish(held_);
      held_ = ends ? Leaving{panel, block} : Leaving{};
      held_to_ = ends ? t_.room : Sums(block);
    }
  }

  // Sums tile I of the block before leaves for its place, and another one begins in its stead.
  template <int I>
  HWY_INLINE void Turn(const float* sums) {
    StoreSums<I>();
    if (sums != nullptr) {
      T::template Load<I>(Part<I>(sums), kSumsLine);
    } else {
      T::template Zero<I>();
    }
  }
  template <int I>
  HWY_INLINE void StoreSums() {
    if (held_to_ != nullptr) T::template Store<I>(Part<I>(held_to_), kSumsLine);
  }
  template <int I, class F>
  static F* Part(F* block) {
    return block + I / 2 * kTileSide * 16 + I % 2 * 16;
  }

  // The four tiles := what `sums` has, or 0, and the products of `count` steps. `ahead`: rows as
  // they lie of the next block, fetched meanwhile; null: they are near.
  HWY_INLINE void Multiply(LeftPanel a, const char* b, idx_t count, const float* sums,
                           const char* ahead) {
    Step<true>(a, b, sums);
    for (idx_t s = 1;; ++s) {
      if (ahead != nullptr) {
        for (idx_t r = 0; r < kTileSide; ++r) {
          PrefetchFar(ahead + r * t_.a_row + (s - 1) * kTileLine);
        }
      }
      if (s == count) break;
      a.upper += a.step;
      a.lower += a.step;
      b += kStepBytes;
      Step<false>(a, b, nullptr);
    }
  }

  // 32 terms. Of three parts six products count, each of four tiles; the smallest come first. The
  // three that are left out are at most 2^-23 of a term, and as a rule a sixteenth of that.
  template <bool kFirst>
  HWY_INLINE void Step(const LeftPanel& a, const char* b, const float* sums) {
    if constexpr (kParts == 1) {
      Four<kFirst, 0, 0>(a, b, sums);
    } else {
      Four<kFirst, 2, 0>(a, b, sums);
      Four<false, 1, 1>(a, b, nullptr);
      Four<false, 0, 2>(a, b, nullptr);
      Four<false, kLoaded, 1>(a, b, nullptr);
      Four<false, 1, 0>(a, b, nullptr);
      Four<false, 0, kLoaded>(a, b, nullptr);
    }
  }

  // Four products of one part of a and one of b, which tiles 4 to 7 may have loaded before.
  static constexpr idx_t kLoaded = -1;
  template <bool kFirst, idx_t kPartA, idx_t kPartB>
  HWY_INLINE void Four(const LeftPanel& a, const char* b, const float* sums) {
    constexpr bool kLoadsA = kPartA != kLoaded, kLoadsB = kPartB != kLoaded;
    constexpr idx_t kA = kPartA * kTileStepBytes, kB = kPartB * kTileStepBytes;
    if constexpr (kLoadsA) T::template Stream<4>(a.upper + kA, a.line);
    if constexpr (kLoadsB) T::template Load<6>(b + kB);
    if constexpr (kFirst) Turn<0>(sums);
    T::template Product<0, 4, 6>();
    if constexpr (kLoadsB) T::template Load<7>(b + kB + kTileBytes);
    if constexpr (kFirst) Turn<1>(sums);
    T::template Product<1, 4, 7>();
    if constexpr (kLoadsA) T::template Stream<5>(a.lower + kA, a.line);
    if constexpr (kFirst) Turn<2>(sums);
    T::template Product<2, 5, 6>();
    if constexpr (kFirst) Turn<3>(sums);
    T::template Product<3, 5, 7>();
  }

  void FetchPlace(const Leaving& which) const {
    const Place p = PlaceOf(which);
    for (idx_t r = 0; r < p.rows; ++r) {
      PrefetchFar(p.at + r * p.row_bytes);
      if (t_.c_dtype == DType::kF32) PrefetchFar(p.at + r * p.row_bytes + kTileLine);
    }
  }

  // The sums in the room leave for c.
  void Finish(const Leaving& which) const {
    if (which.panel < 0) return;
    const Place p = PlaceOf(which);
    const float* bias = t_.bias == nullptr ? nullptr : t_.bias + p.col;
    if (!t_.flipped) {
      StoreRows(t_.room, kTileSide, bias, t_.accumulate, p.rows, p.cols, p.at, t_.c_dtype,
                t_.c_stride);
      return;
    }
    // Halves of 16 columns, which were rows.
    float* turned = t_.room + kTileSums;
    for (idx_t col = 0; col < p.cols; col += 16) {
      const float* rows = t_.room + col * kTileSide;
      for (idx_t i = 0; i < 2; ++i) {
        TransposeLines(reinterpret_cast<const char*>(rows + 16 * i), kSumsLine,
                       reinterpret_cast<char*>(turned + 256 * i));
      }
      StoreRows(turned, 16, bias == nullptr ? nullptr : bias + col, t_.accumulate, p.rows,
                std::min(idx_t{16}, p.cols - col), p.at + col * ElementBytes(), t_.c_dtype,
                t_.c_stride);
    }
  }

  const TileTask& t_;
  const idx_t blocks_, panels_;
  Leaving held_;              // the block whose finished sums are in the tiles
  float* held_to_ = nullptr;  // where the tiles' sums go; null: there are none yet
};

template <class T>
void RunOn(const TileTask& task) {
  const TileSession<T> session;
  if (task.parts == 1) return TileRun<T, 1>(task).Run();
  TileRun<T, kTileParts>(task).Run();
}

void RunTiles(const TileTask& task, bool twin) {
#if HWY_TARGET == HWY_AVX3_DL
  if (!twin) return RunOn<AmxTiles>(task);
#endif
  (void)twin;
  RunOn<TwinTiles>(task);
}

}  // namespace HWY_NAMESPACE
}  // namespace longspan::gemm
HWY_AFTER_NAMESPACE();

#endif
