// Forward of attention on the tile unit: a block of 32 queries meets blocks of 32 keys.
//
//   scores   2 x 2 tiles a block of keys, K / 8 products; of the block before the last, the weights
//            are computed meanwhile, straight into pairs of keys
//   out +=   P V of a few blocks (a piece), 32 columns at a time in 2 x 2 tiles; sums of the
//   weights
//            meanwhile. They are sums of the rounded weights, so rounding a large weight cancels.
// Pieces are short because weights must be found in the L1 cache by the unit's loads. A tile is
// stored two or more products after its last one (simd/amx-inl.h).
// Scores whose size |q| |k| bounds need no maxima: weights are 2^x as they are. Otherwise (wide) a
// pass over the scores finds each row's maximum first, and weights are relative to it, so that the
// largest is exactly 1; a score that is no number makes its row NaN.

// Included once for every target.
#if defined(LONGSPAN_OPS_AMX_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_AMX_FORWARD_INL_H_
#undef LONGSPAN_OPS_AMX_FORWARD_INL_H_
#else
#define LONGSPAN_OPS_AMX_FORWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "ops/amx_attention/amx_pack-inl.h"
#include "ops/amx_attention/amx_weights-inl.h"
#include "simd/amx-inl.h"
#include "simd/bf16-inl.h"
#include "simd/line-inl.h"
#include "simd/math-inl.h"
#include "simd/row_prefetcher.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Scores (times log2 e) up to this size need no maxima: no sum overflows, no weight vanishes.
inline constexpr float kSmallPowers = 43.0f;
// Key blocks of a piece: 12 KiB of weights beside the scores in flight.
inline constexpr idx_t kPieceBlocks = 6;
// Lines of coming rows that are asked for with each block: what a window of 16 blocks needs.
inline constexpr idx_t kLinesOfBlock = 16;
// Before a row has seen a key.
inline constexpr float kNothingSeen = -std::numeric_limits<float>::infinity();

// A block of keys for the kernel. Null bits: all are seen, or kept.
struct SeenBlock {
  const char* keys;           // packed Across
  const char* values;         // Pairs
  const float* factors;       // (32): scores of key r are multiples of the unit by this
  const std::uint32_t* seen;  // (32): of row r, spread
  const std::uint32_t* kept;  // (32): by dropout, spread
};

// What a block of queries has summed so far.
struct QuerySums {
  float* out;     // (2 K / 16) tiles (half, 16 columns): unnormalised
  float* total;   // (32, 16): sums of weights
  float* offset;  // (32): the score that weights are relative to; kNothingSeen at first
  float* poison;  // (32): 0, or NaN where a score is no number
};

// A thread's scratch for AmxForwardBlock.
struct ForwardScratch {
  char* query = nullptr;   // Rows, K / 16 tiles
  char* score = nullptr;   // 3 blocks of 4 tiles (query half, key half)
  char* weight = nullptr;  // kPieceBlocks blocks of 2 tiles (query half)
  float* shift = nullptr;  // (32): less the offsets of rows, wide

  static ForwardScratch Carve(const AmxPlan& plan, Carver* carver) {
    ForwardScratch s;
    s.query = carver->Take<char>(plan.BlockBytes());
    s.score = carver->Take<char>(3 * 4 * kTileBytes);
    s.weight = carver->Take<char>(kPieceBlocks * 2 * kTileBytes);
    s.shift = carver->Take<float>(kAmxBlock);
    return s;
  }
};

// One block of queries. kHold: K is 64, and the queries stay in tiles 4 to 7.
template <class T, bool kHold>
class AmxForwardBlock {
 public:
  AmxForwardBlock(const AmxPlan& plan, const ForwardScratch& scratch)
      : s_(scratch), tiles_(plan.Terms() / 32), drops_(plan.dropout.active()) {
    unit_ = kPerOctave * kLog2E * std::abs(plan.scale);
  }

  // Meets `count` blocks. `fresh`: sums hold nothing yet. `wide`: scores may be large.
  void Meet(const SeenBlock* blocks, idx_t count, bool fresh, bool wide, const QuerySums& sums) {
    blocks_ = blocks;
    count_ = count;
    sums_ = sums;
    wide_ = wide;
    if (fresh) {
      std::fill_n(sums.offset, kAmxBlock, kNothingSeen);
      std::fill_n(sums.poison, kAmxBlock, 0.0f);
      std::fill_n(sums.total, kAmxBlock * 16, 0.0f);
    }
    if (wide) {
      FindMaxima(fresh);
    } else {
      std::fill_n(sums.offset, kAmxBlock, 0.0f);
    }
    Pass(fresh);
  }

  // Rows that will be touched soon, asked for a few lines at a time while blocks pass.
  RowPrefetcher coming;

 private:
  char* Score(idx_t block) const { return s_.score + block % 3 * (4 * kTileBytes); }
  char* Weight(idx_t slot) const { return s_.weight + slot * (2 * kTileBytes); }
  // Step S of a block's scores is tile (query half S % 2, key half S / 2); where it stands.
  template <int S>
  static constexpr idx_t Place() {
    return (S % 2 * 2 + S / 2) * kTileBytes;
  }

  // ---- scores -----------------------------------------------------------------------------------

  void HoldQueries() {
    if constexpr (kHold) {
      T::template Load<4>(s_.query);
      T::template Load<5>(s_.query + kTileBytes);
      T::template Load<6>(s_.query + 2 * kTileBytes);
      T::template Load<7>(s_.query + 3 * kTileBytes);
    }
  }

  // Step S: stores what waits in its accumulator, then K / 32 products. With the queries in tiles a
  // tile of keys serves both halves and accumulators are 0 and 1; else they are 0 to 3.
  template <int S>
  HWY_INLINE void ScoreStep(const char* keys, char* waiting) {
    constexpr int kKeyHalf = S / 2, kQueryHalf = S % 2, kTile = kHold ? kQueryHalf : S;
    if constexpr (kHold) {
      if constexpr (kQueryHalf == 0) {
        T::template Stream<2>(keys + kKeyHalf * kTileBytes);
        T::template Stream<3>(keys + (2 + kKeyHalf) * kTileBytes);
      }
      if (waiting != nullptr) T::template Store<kTile>(waiting);
      T::template Zero<kTile>();
      T::template Product<kTile, 4 + 2 * kQueryHalf, 2>();
      T::template Product<kTile, 5 + 2 * kQueryHalf, 3>();
    } else {
      if (waiting != nullptr) T::template Store<kTile>(waiting);
      T::template Zero<kTile>();
      const char* query = s_.query + kQueryHalf * tiles_ * kTileBytes;
      const char* key = keys + kKeyHalf * kTileBytes;
      for (idx_t k = 0; k + 2 <= tiles_; k += 2) {
        T::template Load<4>(query + k * kTileBytes);
        T::template Load<6>(key + 2 * k * kTileBytes);
        T::template Product<kTile, 4, 6>();
        T::template Load<5>(query + (k + 1) * kTileBytes);
        T::template Load<7>(key + (2 * k + 2) * kTileBytes);
        T::template Product<kTile, 5, 7>();
      }
      if (tiles_ % 2 != 0) {
        T::template Load<4>(query + (tiles_ - 1) * kTileBytes);
        T::template Load<6>(key + 2 * (tiles_ - 1) * kTileBytes);
        T::template Product<kTile, 4, 6>();
      }
    }
  }

  // All steps of one block with rows(begin, end) of another one's weights between them. `before`:
  // the block whose last steps wait in accumulators, or null.
  template <class Rows>
  HWY_INLINE void ScoreSteps(const char* keys, char* before, char* now, const Rows& rows) {
    const auto waiting = [](char* block, idx_t place) {
      return block == nullptr ? nullptr : block + place;
    };
    if constexpr (kHold) {
      ScoreStep<0>(keys, waiting(before, Place<2>())), rows(0, 8);
      ScoreStep<1>(keys, waiting(before, Place<3>())), rows(8, 16);
      ScoreStep<2>(keys, now + Place<0>()), rows(16, 24);
      ScoreStep<3>(keys, now + Place<1>()), rows(24, 32);
    } else {
      ScoreStep<0>(keys, waiting(before, Place<0>())), rows(0, 8);
      ScoreStep<1>(keys, waiting(before, Place<1>())), rows(8, 16);
      ScoreStep<2>(keys, waiting(before, Place<2>())), rows(16, 24);
      ScoreStep<3>(keys, waiting(before, Place<3>())), rows(24, 32);
    }
  }

  // Stores the steps of a block that wait in accumulators.
  void Drain(char* block) {
    if constexpr (kHold) {
      T::template Store<0>(block + Place<2>());
      T::template Store<1>(block + Place<3>());
    } else {
      T::template Store<0>(block + Place<0>());
      T::template Store<1>(block + Place<1>());
      T::template Store<2>(block + Place<2>());
      T::template Store<3>(block + Place<3>());
    }
  }

  // ---- wide scores ------------------------------------------------------------------------------

  // Raises the rows' offsets to their maxima over all blocks, and rescales what they have.
  void FindMaxima(bool fresh) {
    alignas(64) float most[kAmxBlock * 16], wrong[kAmxBlock * 16];
    std::fill_n(most, kAmxBlock * 16, kNothingSeen);
    std::fill_n(wrong, kAmxBlock * 16, 0.0f);
    HoldQueries();
    for (idx_t b = 0; b < count_; ++b) {
      ScoreSteps(blocks_[b].keys, nullptr, s_.score, [](int, int) {});
      Drain(s_.score);
      for (idx_t r = 0; r < kAmxBlock; ++r) AddToMaximum(b, r, most + r * 16, wrong + r * 16);
    }
    for (idx_t r = 0; r < kAmxBlock; ++r) {
      sums_.poison[r] += SumOfLine(LoadLine(wrong + r * 16));
      const float top = MaxOfLine(LoadLine(most + r * 16));
      // A row that sees nothing keeps what it has; so does one that is NaN anyway.
      if (std::isfinite(top)) Raise(r, std::max(sums_.offset[r], top), fresh);
      s_.shift[r] = sums_.offset[r] == kNothingSeen ? 0.0f : -sums_.offset[r];
    }
  }

  void AddToMaximum(idx_t b, idx_t r, float* most, float* wrong) {
    const std::uint32_t* seen = blocks_[b].seen;
    const char* row = s_.score + r / 16 * (2 * kTileBytes) + r % 16 * kTileLine;
    for (int half = 0; half < 2; ++half) {
      // Of spread bits the even ones are the first 16 keys.
      std::uint32_t mask = 0;
      for (int i = 0; i < 16; ++i) {
        mask |= (seen == nullptr ? 1u : seen[r] >> (2 * i + half) & 1u) << i;
      }
      const Line factors = LoadLine(blocks_[b].factors + 16 * half);
      const Line score = MulFloats(LoadLine(row + half * kTileBytes), factors);
      const Line shown = ChooseFloats(score, mask, EachFloat(kNothingSeen));
      StoreLine(MaxFloats(shown, LoadLine(most)), most);
      const Line zero_or_nan = MulFloats(KeepFloats(score, mask), ZeroLine());
      StoreLine(AddFloats(LoadLine(wrong), zero_or_nan), wrong);
    }
  }

  void Raise(idx_t r, float offset, bool fresh) {
    const float before = sums_.offset[r];
    sums_.offset[r] = offset;
    if (fresh || before == kNothingSeen || before == offset) return;
    const Line factor = EachFloat(std::exp2((before - offset) * (unit_ / kPerOctave)));
    float* total = sums_.total + r * 16;
    StoreLine(MulFloats(LoadLine(total), factor), total);
    for (idx_t c = 0; c < 2 * tiles_; ++c) {
      float* out = OutTile(r / 16, c) + r % 16 * 16;
      StoreLine(MulFloats(LoadLine(out), factor), out);
    }
  }

  // ---- weights ----------------------------------------------------------------------------------

  // What scores of keys 0 .. 15 and 16 .. 31 of a block are multiplied by.
  struct Units {
    Line low, high;
  };
  HWY_INLINE Units UnitsOf(const SeenBlock& block) const {
    const Line unit = EachFloat(unit_);
    return {MulFloats(LoadLine(block.factors), unit),
            MulFloats(LoadLine(block.factors + 16), unit)};
  }

  // Rows [begin, end), of one half, of a block of scores that all keys of the block are seen by.
  static HWY_INLINE void PlainRows(const Units& units, const Line& excess, const char* score,
                                   char* weight, int begin, int end) {
    const Line magic = EachFloat(kMagic);
    const char* row = score + begin / 16 * (2 * kTileBytes) + begin % 16 * kTileLine;
    HWY_UNROLL(8)
    for (int r = begin; r < end; ++r, row += kTileLine) {
      const Line a = FmaFloats(LoadLine(row), units.low, magic);
      const Line b = FmaFloats(LoadLine(row + kTileBytes), units.high, magic);
      StoreLine(WeightsOf(a, b, excess), weight + r * kTileLine);
    }
  }

  // The same with hidden keys, wide scores, dropout. Sums are those before dropout.
  HWY_INLINE void AnyRows(const SeenBlock& block, const char* score, char* weight, int begin,
                          int end) const {
    const Line unit = EachFloat(unit_), magic = EachFloat(kMagic);
    const Line low = LoadLine(block.factors), high = LoadLine(block.factors + 16);
    const Units units = UnitsOf(block);
    const Line excess = LoadLine(kExcess), ones = EachInt(0x3f803f80u);
    for (int r = begin; r < end; ++r) {
      const char* row = score + r / 16 * (2 * kTileBytes) + r % 16 * kTileLine;
      Line a = LoadLine(row), b = LoadLine(row + kTileBytes);
      if (wide_) {
        // The largest score becomes exactly 0, and with it the largest weight 1.
        const Line shift = EachFloat(s_.shift[r]), least = EachFloat(kLeastScore);
        a = MaxFloats(FmaFloats(FmaFloats(a, low, shift), unit, magic), least);
        b = MaxFloats(FmaFloats(FmaFloats(b, high, shift), unit, magic), least);
      } else {
        a = FmaFloats(a, units.low, magic);
        b = FmaFloats(b, units.high, magic);
      }
      Line w = WeightsOf(a, b, excess);
      if (block.seen != nullptr) w = KeepWords(w, block.seen[r]);
      if (drops_) {
        float* total = sums_.total + r * 16;
        StoreLine(AddPairs(LoadLine(total), w, ones), total);
        w = KeepWords(w, block.kept[r]);
      }
      StoreLine(w, weight + r * kTileLine);
    }
  }

  // total[r] += the weights of row r of the piece's blocks, for rows [begin, begin + 16).
  HWY_INLINE void AddTotals(idx_t begin, idx_t slots) const {
    if (drops_) return;
    const Line ones = EachInt(0x3f803f80u);
    for (idx_t r = begin; r < begin + 16; ++r) {
      float* total = sums_.total + r * 16;
      Line sum = LoadLine(total);
      for (idx_t slot = 0; slot < slots; ++slot) {
        sum = AddPairs(sum, LoadLine(Weight(slot) + r * kTileLine), ones);
      }
      StoreLine(sum, total);
    }
  }

  // ---- out --------------------------------------------------------------------------------------

  float* OutTile(idx_t half, idx_t c) const { return sums_.out + (half * 2 * tiles_ + c) * 256; }

  template <int kTile>
  HWY_INLINE void Begin(float* out, bool fresh) {
    if (fresh) {
      T::template Zero<kTile>();
    } else {
      T::template Load<kTile>(out);
    }
  }

  // out (32, 32 columns from tile c on) += weights of a piece times values, in accumulators 4 to 7,
  // which hold them on return. Tiles 0 and 1, or 0 to 3, wait to be stored: at `waiting` (2 places
  // of scores, if not null) or, for c > 0, where columns c - 2 belong.
  HWY_INLINE void HighColumns(idx_t c, idx_t first, idx_t slots, bool fresh, char* const* waiting) {
    float *before0 = c > 0 ? OutTile(0, c - 2) : nullptr,
          *before1 = c > 0 ? OutTile(1, c - 2) : nullptr;
    const char* v = blocks_[first].values + c * kTileBytes;
    if (c > 0) T::template Store<2>(before1);
    T::template Load<2>(Weight(0));
    if (c > 0) T::template Store<3>(before1 + 256);
    T::template Stream<3>(v);
    Begin<4>(OutTile(0, c), fresh);
    T::template Product<4, 2, 3>();
    if (c > 0) T::template Store<0>(before0);
    if (c == 0 && waiting[0] != nullptr) T::template Store<0>(waiting[0]);
    T::template Stream<0>(v + kTileBytes);
    Begin<5>(OutTile(0, c + 1), fresh);
    T::template Product<5, 2, 0>();
    if (c > 0) T::template Store<1>(before0 + 256);
    if (c == 0 && waiting[1] != nullptr) T::template Store<1>(waiting[1]);
    T::template Load<1>(Weight(0) + kTileBytes);
    Begin<6>(OutTile(1, c), fresh);
    T::template Product<6, 1, 3>();
    Begin<7>(OutTile(1, c + 1), fresh);
    T::template Product<7, 1, 0>();
    for (idx_t slot = 1; slot < slots; ++slot) {
      v = blocks_[first + slot].values + c * kTileBytes;
      T::template Load<2>(Weight(slot));
      T::template Stream<3>(v);
      T::template Product<4, 2, 3>();
      T::template Stream<0>(v + kTileBytes);
      T::template Product<5, 2, 0>();
      T::template Load<1>(Weight(slot) + kTileBytes);
      T::template Product<6, 1, 3>();
      T::template Product<7, 1, 0>();
    }
  }

  // The next 32 columns, in accumulators 0 to 3; 4 to 7 hold columns c - 2.
  HWY_INLINE void LowColumns(idx_t c, idx_t first, idx_t slots, bool fresh) {
    float *before0 = OutTile(0, c - 2), *before1 = OutTile(1, c - 2);
    const char* v = blocks_[first].values + c * kTileBytes;
    T::template Store<4>(before0);
    T::template Load<4>(Weight(0));
    T::template Store<5>(before0 + 256);
    T::template Stream<5>(v);
    Begin<2>(OutTile(1, c), fresh);
    Begin<0>(OutTile(0, c), fresh);
    T::template Product<0, 4, 5>();
    T::template Store<6>(before1);
    T::template Stream<6>(v + kTileBytes);
    Begin<1>(OutTile(0, c + 1), fresh);
    T::template Product<1, 4, 6>();
    T::template Store<7>(before1 + 256);
    T::template Load<7>(Weight(0) + kTileBytes);
    T::template Product<2, 7, 5>();
    Begin<3>(OutTile(1, c + 1), fresh);
    T::template Product<3, 7, 6>();
    for (idx_t slot = 1; slot < slots; ++slot) {
      v = blocks_[first + slot].values + c * kTileBytes;
      T::template Load<7>(Weight(slot) + kTileBytes);
      T::template Stream<5>(v);
      T::template Product<2, 7, 5>();
      T::template Stream<6>(v + kTileBytes);
      T::template Product<3, 7, 6>();
      T::template Load<4>(Weight(slot));
      T::template Product<0, 4, 5>();
      T::template Product<1, 4, 6>();
    }
  }

  // out += P V for blocks [first, first + slots).
  void AddValues(idx_t first, idx_t slots, bool fresh, char* const* waiting) {
    const idx_t columns = 2 * tiles_;
    for (idx_t c = 0; c < columns; c += 4) {
      HighColumns(c, first, slots, fresh, waiting);
      if (c == 0) AddTotals(0, slots);
      if (c + 2 < columns) LowColumns(c + 2, first, slots, fresh);
      if (c == 0) AddTotals(16, slots);
    }
    if (columns % 4 == 0) {
      T::template Store<2>(OutTile(1, columns - 2));
      T::template Store<3>(OutTile(1, columns - 1));
      T::template Store<0>(OutTile(0, columns - 2));
      T::template Store<1>(OutTile(0, columns - 1));
    } else {
      T::template Store<4>(OutTile(0, columns - 2));
      T::template Store<5>(OutTile(0, columns - 1));
      T::template Store<6>(OutTile(1, columns - 2));
      T::template Store<7>(OutTile(1, columns - 1));
    }
  }

  // ---- the pipeline -----------------------------------------------------------------------------

  // Scores of block b, weights of block b - 2, and after each piece its product with the values.
  void Pass(bool fresh) {
    const idx_t pieces = CeilDiv(count_, kPieceBlocks), piece = CeilDiv(count_, pieces);
    bool stored = true;  // no step waits in an accumulator
    idx_t begin = 0, slot = 0;
    HoldQueries();
    for (idx_t b = 0; b < count_ + 2; ++b) {
      const idx_t w = b - 2;
      char* before = b > 0 && !stored ? Score(b - 1) : nullptr;
      Ask();
      if (b < count_) {
        Weigh(w, slot, [&](const auto& rows) HWY_ATTR {
          ScoreSteps(blocks_[b].keys, before, Score(b), rows);
        });
        stored = false;
      } else {
        if (before != nullptr) Drain(before);
        stored = true;
        Weigh(w, slot, [](const auto& rows) HWY_ATTR { rows(0, 16), rows(16, 32); });
      }
      if (w < 0 || (++slot < piece && w + 1 < count_)) continue;
      char* waiting[2] = {nullptr, nullptr};
      if (!stored && kHold) {
        waiting[0] = Score(b) + Place<2>();
        waiting[1] = Score(b) + Place<3>();
      } else if (!stored) {
        Drain(Score(b));
      }
      AddValues(begin, slot, fresh && begin == 0, waiting);
      stored = true;
      begin = w + 1;
      slot = 0;
      if (b + 1 < count_) HoldQueries();
    }
  }

  void Ask() {
    RowPrefetcher::Lines lines;
    const idx_t n = coming.Take(kLinesOfBlock, lines);
    for (idx_t i = 0; i < n; ++i) {
      __builtin_prefetch(lines[static_cast<std::size_t>(i)], 0, 2);  // into L2: L1 is full
    }
  }

  // Calls with(rows), where rows(begin, end) computes weights of block w; of none if w < 0.
  template <class With>
  HWY_INLINE void Weigh(idx_t w, idx_t slot, const With& with) {
    if (w < 0) return with([](int, int) {});
    const SeenBlock& block = blocks_[w];
    const char* score = Score(w);
    char* weight = Weight(slot);
    if (block.seen == nullptr && !wide_ && !drops_) {
      const Units units = UnitsOf(block);
      const Line excess = LoadLine(kExcess);
      with([&](int from, int to) HWY_ATTR { PlainRows(units, excess, score, weight, from, to); });
    } else {
      with([&](int from, int to) HWY_ATTR { AnyRows(block, score, weight, from, to); });
    }
  }

  ForwardScratch s_;
  idx_t tiles_;  // K / 32
  bool drops_, wide_ = false;
  float unit_;  // scores times their keys' factors are multiples of it
  const SeenBlock* blocks_ = nullptr;
  idx_t count_ = 0;
  QuerySums sums_{};
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_AMX_FORWARD_INL_H_
