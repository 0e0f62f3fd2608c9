// Rows of bf16 -> operands of the tile unit, and who sees whom as bits.
//
// A block of 32 rows x K (D padded to a multiple of 32) fills K / 16 tiles of 1 KiB:
//   Rows    left operand: tile (half, k) has rows 16 half .., terms 32 k ..: as in memory
//   Across  right operand: tile (k, half), line r = terms 32 k + 2 r, + 1 of 16 rows: transposed
//   ints Pairs   right operand: tile (c), line r = rows (r, r + 16) of columns 16 c .. Down    left
//   operand: tile (c), line r = column 16 c + r, terms are rows 0 .. 31
// Pairs of keys are (r, r + 16), because joining two vectors of scores then is one shuffle. So a
// line of weights has key i in word 2 i and key i + 16 in word 2 i + 1, and so have the bits below.

// Included once for every target.
#if defined(LONGSPAN_OPS_AMX_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_AMX_PACK_INL_H_
#undef LONGSPAN_OPS_AMX_PACK_INL_H_
#else
#define LONGSPAN_OPS_AMX_PACK_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "ops/amx_attention/amx_attention.h"
#include "simd/amx-inl.h"
#include "simd/line-inl.h"
#include "simd/philox-inl.h"
#include "simd/tile_pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

inline constexpr std::uint32_t kAllRows = 0xffffffffu;

// ---- scratch ------------------------------------------------------------------------------------

// Hands out parts of a thread's scratch, or only counts them (from null).
class Carver {
 public:
  explicit Carver(void* from) : at_(static_cast<char*>(from)) {}
  template <class T>
  T* Take(idx_t count) {
    auto* taken = reinterpret_cast<T*>(at_);
    const idx_t bytes = RoundUp(count * static_cast<idx_t>(sizeof(T)), kTileLine);
    if (at_ != nullptr) at_ += bytes;
    bytes_ += bytes;
    return taken;
  }
  idx_t bytes() const { return bytes_; }

 private:
  char* at_;
  idx_t bytes_ = 0;
};

// ---- rows ---------------------------------------------------------------------------------------

// 32 rows of bf16, K elements each.
struct BlockRows {
  const std::uint16_t* at;
  idx_t stride;  // elements
  const std::uint16_t* Row(idx_t r) const { return at + r * stride; }
};

// Rows [first, first + 32) of a list: where they lie, if all of them are wanted, at equal distances
// and whole; else copied, those that are not wanted or do not exist as zeros. `copy`: (32, K).
inline BlockRows GatherBlock(const AmxPlan& plan, const InRows& from, idx_t first,
                             std::uint32_t wanted, std::uint16_t* copy) {
  const idx_t terms = plan.Terms();
  const auto* base = static_cast<const std::uint16_t*>(from.base);
  if (wanted == kAllRows && terms == plan.D && from.tokens.Regular(first, kAmxBlock)) {
    return {base + from.tokens(first) * from.stride, from.tokens.step * from.stride};
  }
  for (idx_t r = 0; r < kAmxBlock; ++r) {
    std::uint16_t* to = copy + r * terms;
    idx_t n = 0;
    if ((wanted >> r & 1) != 0) {
      n = plan.D;
      std::memcpy(to, base + from.tokens(first + r) * from.stride, static_cast<std::size_t>(n) * 2);
    }
    std::memset(to + n, 0, static_cast<std::size_t>(terms - n) * 2);
  }
  return {copy, terms};
}

inline void PackBlockRows(const BlockRows& x, idx_t tiles, char* to) {
  for (idx_t half = 0; half < 2; ++half) {
    for (idx_t k = 0; k < tiles; ++k) {
      for (idx_t r = 0; r < 16; ++r) {
        StoreLine(LoadLine(x.Row(16 * half + r) + 32 * k),
                  to + (half * tiles + k) * kTileBytes + r * kTileLine);
      }
    }
  }
}

inline void PackBlockAcross(const BlockRows& x, idx_t tiles, char* to) {
  for (idx_t k = 0; k < tiles; ++k) {
    TilesAcross(reinterpret_cast<const char*>(x.Row(0) + 32 * k), x.stride * 2,
                to + 2 * k * kTileBytes);
  }
}

inline void PackBlockPairs(const BlockRows& x, idx_t tiles, char* to) {
  for (idx_t k = 0; k < tiles; ++k) {
    for (idx_t r = 0; r < 16; ++r) {
      const Line low = LoadLine(x.Row(r) + 32 * k), high = LoadLine(x.Row(r + 16) + 32 * k);
      char* line = to + 2 * k * kTileBytes + r * kTileLine;
      StoreLine(ZipFirstWords(low, high), line);
      StoreLine(ZipLastWords(low, high), line + kTileBytes);
    }
  }
}

inline void PackBlockDown(const BlockRows& x, idx_t tiles, char* to) {
  for (idx_t k = 0; k < tiles; ++k) {
    TilesDown(reinterpret_cast<const char*>(x.Row(0) + 32 * k), x.stride * 2,
              to + 2 * k * kTileBytes);
  }
}

// sum[r] = the sum of 16 lanes of row r, for 32 rows.
inline void SumLanes(const float* lanes, float* sum) {
  alignas(64) float turned[16 * 16];
  for (idx_t half = 0; half < 2; ++half) {
    TransposeLines(reinterpret_cast<const char*>(lanes + half * 16 * 16), kTileLine,
                   reinterpret_cast<char*>(turned));
    Line s = LoadLine(turned);
    for (idx_t i = 1; i < 16; ++i) s = AddFloats(s, LoadLine(turned + i * 16));
    StoreLine(s, sum + half * 16);
  }
}

// squares (32): the squared norms of rows packed Across, and of rows.
inline void SquaresAcross(const char* across, idx_t tiles, float* squares) {
  for (idx_t half = 0; half < 2; ++half) {
    Line sum = ZeroLine();
    for (idx_t k = 0; k < tiles; ++k) {
      for (idx_t r = 0; r < 16; ++r) {
        const Line x = LoadLine(across + (2 * k + half) * kTileBytes + r * kTileLine);
        sum = AddPairs(sum, x, x);
      }
    }
    StoreLine(sum, squares + 16 * half);
  }
}
inline void SquaresOfRows(const BlockRows& x, idx_t tiles, float* squares) {
  alignas(64) float lanes[kAmxBlock * 16];
  for (idx_t r = 0; r < kAmxBlock; ++r) {
    Line sum = ZeroLine();
    for (idx_t k = 0; k < tiles; ++k) {
      const Line line = LoadLine(x.Row(r) + 32 * k);
      sum = AddPairs(sum, line, line);
    }
    StoreLine(sum, lanes + r * 16);
  }
  SumLanes(lanes, squares);
}

// The largest of 32 squares; NaN if one is.
inline float LargestSquare(const float* squares) {
  // All are 0 or more, so a NaN survives the addition, where a maximum might drop it.
  const Line low = LoadLine(squares), high = LoadLine(squares + 16);
  const float sum = SumOfLine(AddFloats(low, high));
  return sum == sum ? MaxOfLine(MaxFloats(low, high)) : sum;
}

// ---- who sees whom ------------------------------------------------------------------------------

// Row numbers [low, high) of a block as bits.
inline std::uint32_t RangeBits(idx_t low, idx_t high) {
  low = std::clamp<idx_t>(low, 0, kAmxBlock);
  high = std::clamp<idx_t>(high, low, kAmxBlock);
  return static_cast<std::uint32_t>((std::uint64_t{1} << high) - (std::uint64_t{1} << low));
}

// Bit i -> bit 2 i, bit i + 16 -> bit 2 i + 1: the order of a line of weights.
inline std::uint32_t SpreadBits(std::uint32_t x) {
#if HWY_TARGET == HWY_AVX3_DL
  return _pdep_u32(x & 0xffff, 0x55555555u) | _pdep_u32(x >> 16, 0xaaaaaaaau);
#else
  for (int shift = 8; shift > 0; shift /= 2) {
    // Swaps the two middle quarters of each group of 4 shift bits.
    constexpr std::uint32_t kSecond[] = {0, 0x22222222u, 0x0c0c0c0cu, 0,          0x00f000f0u,
                                         0, 0,           0,           0x0000ff00u};
    const std::uint32_t swapped = (x >> shift ^ x) & kSecond[shift];
    x ^= swapped | swapped << shift;
  }
  return x;
#endif
}

// y[j] has bit i where x[i] has bit j.
inline void TransposeBits(const std::uint32_t* x, std::uint32_t* y) {
  std::copy_n(x, kAmxBlock, y);
  std::uint32_t mask = 0x0000ffffu;
  for (int j = 16; j != 0; j /= 2, mask ^= mask << j) {
    for (int k = 0; k < 32; k = (k + j + 1) & ~j) {
      const std::uint32_t swapped = (y[k] >> j ^ y[k + j]) & mask;
      y[k + j] ^= swapped;
      y[k] ^= swapped << j;
    }
  }
}

// Which of queries [first, first + 32) see no key, and which take part.
inline std::uint32_t BlindBits(const BlindQueries& blind, idx_t first, idx_t rows) {
  std::uint32_t bits = RangeBits(0, std::min(rows, blind.first - first));
  for (idx_t r = 0; blind.marks != nullptr && r < rows; ++r) {
    if (blind.marks[first + r] != 0) bits |= 1u << r;
  }
  return bits;
}
inline std::uint32_t PartBits(const QueryRows& queries, idx_t first, std::uint32_t blind) {
  const idx_t rows = std::min(kAmxBlock, queries.count - first);
  if (queries.roles == nullptr) return RangeBits(0, rows);
  std::uint32_t part = blind;
  for (idx_t r = 0; r < rows; ++r) {
    if (queries.TakesPart(first + r)) part |= 1u << r;
  }
  return part;
}

// Queries [first, first + 32) of a list and the keys [low, high) that each sees.
struct SeenKeys {
  idx_t first = 0, rows = 0;  // rows that exist
  std::uint32_t blind = 0;    // of them, rows that see no key: they weigh [low, high)
  std::uint32_t part = 0;     // rows that take part
  idx_t low[kAmxBlock], high[kAmxBlock];
  idx_t begin = 0, end = 0;          // what some row sees
  idx_t all_begin = 0, all_end = 0;  // what all see
  idx_t own = 0;                     // the key that row 0 is; that of row r is r more
  // Causal windows that go around the end of the text: rows do not see keys that lie behind their
  // own and before `turn`.
  idx_t turn = 0;

  bool Blind(idx_t r) const { return (blind >> r & 1) != 0; }
};

// Keys that are chunks: rows of a block walk from chunk to chunk, without a division each.
inline void FindSeenChunks(const KeyRows& keys, SeenKeys* seen) {
  const ChunkWindows& x = keys.chunks;
  idx_t begin = x.Begin(seen->first), next = begin + x.chunk;
  seen->own = x.Own(seen->first);
  for (idx_t r = 0; r < seen->rows; ++r) {
    if (seen->first + r == next) {
      begin = next;
      next += x.chunk;
    }
    seen->low[r] = begin;
    seen->high[r] = begin + x.parts * x.chunk;
    if (!keys.causal || seen->Blind(r)) continue;
    seen->low[r] = std::max(begin, x.First());
    if (x.Turn() < seen->high[r]) {
      seen->turn = x.Turn();
    } else {
      seen->high[r] = seen->own + r + 1;
    }
  }
}

inline void FindSeenKeys(const QueryRows& queries, const KeyRows& keys, idx_t first,
                         const BlindQueries& blind, SeenKeys* seen) {
  seen->first = first;
  seen->rows = std::min(kAmxBlock, queries.count - first);
  seen->blind = BlindBits(blind, first, seen->rows);
  seen->part = PartBits(queries, first, seen->blind);
  if (keys.chunks.chunk > 0) {
    FindSeenChunks(keys, seen);
  } else {
    seen->own = first;  // in the shared form
    for (idx_t r = 0; r < seen->rows; ++r) {
      const bool all = seen->Blind(r);
      seen->low[r] = all ? 0 : keys.Low(first + r);
      seen->high[r] = all ? keys.count : keys.High(first + r, queries.tokens(first + r));
    }
  }
  const auto [begin, all_begin] = std::minmax_element(seen->low, seen->low + seen->rows);
  const auto [all_end, end] = std::minmax_element(seen->high, seen->high + seen->rows);
  seen->begin = *begin;
  seen->end = *end;
  seen->all_begin = *all_begin;
  seen->all_end = *all_end;
}

// Which of keys [32 block, + 32) exist, and which of them are shown.
inline std::uint32_t ExistBits(const KeyRows& keys, idx_t block) {
  const idx_t first = block * kAmxBlock, n = std::min(kAmxBlock, keys.count - first);
  if (keys.bounds == nullptr && keys.chunks.tokens == keys.chunks.circle) return RangeBits(0, n);
  std::uint32_t exist = 0;
  for (idx_t j = 0; j < n; ++j) {
    if (keys.Exists(first + j)) exist |= 1u << j;
  }
  return exist;
}
inline std::uint32_t ShownBits(const KeyRows& keys, idx_t block) {
  if (keys.roles == nullptr && keys.bounds == nullptr) return ExistBits(keys, block);
  const idx_t first = block * kAmxBlock, n = std::min(kAmxBlock, keys.count - first);
  std::uint32_t shown = 0;
  for (idx_t j = 0; j < n; ++j) {
    if (keys.Shown(first + j)) shown |= 1u << j;
  }
  return shown;
}

enum class Sight { kNone, kAll, kSome };

// What the block of queries sees of a block of keys, by place; `shown`: keys that are not hidden.
// kNone follows from places alone, so blocks that are seen follow one another.
inline bool OfOneRound(const KeyRows& keys, idx_t first) {
  return keys.round <= first && first + kAmxBlock <= keys.round_end;
}
inline Sight SightOf(const SeenKeys& seen, const KeyRows& keys, idx_t block, std::uint32_t shown) {
  const idx_t first = block * kAmxBlock, end = std::min(first + kAmxBlock, keys.count);
  if (seen.begin >= end || seen.end <= first) return Sight::kNone;
  const bool everybody =
      seen.all_begin <= first && seen.all_end >= first + kAmxBlock && seen.turn == 0;
  if (keys.shared) {
    // Somebody's own key is among them, or may be, or later ones are not seen.
    const bool own = seen.own < first + kAmxBlock && seen.own + seen.rows > first;
    if (own || (keys.bounds != nullptr && (keys.later || !OfOneRound(keys, first)))) {
      return Sight::kSome;
    }
  }
  return everybody && shown == kAllRows ? Sight::kAll : Sight::kSome;
}

// LSH attention: entries from `first` on that the token sees, as far as it is up to bounds and to
// whose tokens they are.
inline std::uint32_t BoundBits(const KeyRows& keys, idx_t first, std::int32_t token) {
  const hn::CappedTag<std::int32_t, 16> d;
  const auto query = hn::Set(d, token);
  std::uint32_t bits = 0;
  for (idx_t j = 0; j < kAmxBlock; j += static_cast<idx_t>(hn::Lanes(d))) {
    const auto later = hn::Gt(hn::LoadU(d, keys.bounds + first + j), query);
    const auto itself = hn::Eq(hn::LoadU(d, keys.tokens.narrow + first + j), query);
    std::uint8_t unseen[8] = {};
    hn::StoreMaskBits(d, hn::Or(later, itself), unseen);
    bits |= static_cast<std::uint32_t>(unseen[0] | unseen[1] << 8) << j;
  }
  return ~bits;
}

// bits[r]: the keys of the block that row r sees, in their own order.
inline void SeenBits(const SeenKeys& seen, const QueryRows& queries, const KeyRows& keys,
                     idx_t block, std::uint32_t shown, std::uint32_t* bits) {
  const idx_t first = block * kAmxBlock;
  const std::uint32_t exist = ExistBits(keys, block);
  const bool by_bounds = keys.bounds != nullptr && (keys.later || !OfOneRound(keys, first));
  for (idx_t r = 0; r < kAmxBlock; ++r) {
    bits[r] = 0;
    if ((seen.part >> r & 1) == 0) continue;
    const bool blind = seen.Blind(r);
    bits[r] = RangeBits(seen.low[r] - first, seen.high[r] - first) & (blind ? exist : shown);
    if (seen.turn > 0 && !blind) {
      bits[r] &= ~RangeBits(seen.own + r + 1 - first, seen.turn - first);
    }
    if (!keys.shared) continue;
    const idx_t own = seen.own + r - first;
    bits[r] &= by_bounds ? BoundBits(keys, first,
                                     static_cast<std::int32_t>(queries.tokens(seen.first + r)))
                         : ~RangeBits(own, own + 1);
  }
}

// bits[r]: the keys of the block whose weights dropout keeps, for the rows that exist.
inline void KeptBits(const AmxPlan& plan, const QueryRows& queries, const KeyRows& keys,
                     const SeenKeys& seen, idx_t block, std::uint32_t* bits) {
  const idx_t first = block * kAmxBlock, n = std::min(kAmxBlock, keys.count - first);
  float factors[kAmxBlock];
  std::fill_n(bits, kAmxBlock, 0u);
  for (idx_t r = 0; r < seen.rows; ++r) {
    const idx_t query = seen.first + r;
    // Slots of keys that a window does not reach may be negative; their weights are 0 anyway.
    const idx_t low = std::max<idx_t>(0, seen.low[r] - first);
    if (low >= n) continue;
    const idx_t row = (queries.head_row + queries.tokens(query)) * plan.slots;
    DropoutFactors(plan.dropout, row + keys.Slot(query) + first + low, n - low, factors);
    for (idx_t j = low; j < n; ++j) {
      if (factors[j - low] != 0.0f) bits[r] |= 1u << j;
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_AMX_PACK_INL_H_
