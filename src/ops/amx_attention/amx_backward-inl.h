// Backward of attention on the tile unit: `side` blocks of 32 keys meet as many blocks of queries.
//
// Everything stands on its side: scores are keys x queries, so lse and the sums D_i = dout_i .
// out_i lie along lines, and weights come out as dv and dk want them (left operands).
//   A, for each pair of blocks   s = k q^T and dp - D = v dout^T - D (D by a tile load of stride
//   0),
//                                K / 8 products each; of the pair before the last, meanwhile:
//                                p = 2^(s unit - lse), ds = p (dp - D), stored as p and ds (keys x
//                                queries) and as ds in pairs of keys, for dq
//   B                            dv += p dout, dk += ds q over the queries, dq^T += k^T ds over the
//                                keys, 2 x 2 tiles at a time; sums are tiles in scratch
// With dropout (factors f), dp stands without D: ds = p (f dp - D), and p f goes into dv.
// Weights are never larger than 1, and scores far below lse are raised to kLeastScore, whose weight
// is 2^-126: nothing wraps around, whatever the inputs.

// Included once for every target.
#if defined(LONGSPAN_OPS_AMX_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_AMX_BACKWARD_INL_H_
#undef LONGSPAN_OPS_AMX_BACKWARD_INL_H_
#else
#define LONGSPAN_OPS_AMX_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "ops/amx_attention/amx_pack-inl.h"
#include "ops/amx_attention/amx_weights-inl.h"
#include "simd/amx-inl.h"
#include "simd/line-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

// The most blocks of a side.
inline constexpr idx_t kMostSide = 8;

// A packed block of queries. Each operand has K / 16 tiles.
struct BackwardQuery {
  char *across, *dout_across;  // q and dout as right operands of scores and dp
  char *pairs, *dout_pairs;    // of dk and dv
  float* minus_lse;            // (32): -lse / scale: products q k^T begin with it; shared: -lse in
                               // parts of octaves
  float* minus_delta;          // (32): -D
  float* dq;                   // (K / 16, 2) tiles: columns 16 c .. x queries in the order of ds
  std::uint32_t part, blind;   // rows that take part; of them, those that see no key
  std::uint32_t alone;         // shared: rows that see themselves alone, and take no part

  static BackwardQuery Carve(const AmxPlan& plan, Carver* carver) {
    BackwardQuery s{};
    for (char** operand : {&s.across, &s.dout_across, &s.pairs, &s.dout_pairs}) {
      *operand = carver->Take<char>(plan.BlockBytes());
    }
    s.minus_lse = carver->Take<float>(kAmxBlock);
    s.minus_delta = carver->Take<float>(kAmxBlock);
    s.dq = carver->Take<float>(kAmxBlock * plan.Terms());
    return s;
  }
};

struct BackwardKey {
  char *rows, *value_rows;   // k and v as left operands of scores and dp
  char* down;                // k^T as left operand of dq^T
  float *dk, *dv;            // (2, K / 16) tiles (half, 16 columns)
  float *factors, *squares;  // (32), shared: of keys, and what they follow from
  std::uint32_t shown;       // keys that exist and are not hidden
  std::uint32_t valued;      // keys whose values count: all that exist, where a query sees no key

  static BackwardKey Carve(const AmxPlan& plan, Carver* carver) {
    BackwardKey s{};
    for (char** operand : {&s.rows, &s.value_rows, &s.down}) {
      *operand = carver->Take<char>(plan.BlockBytes());
    }
    s.dk = carver->Take<float>(kAmxBlock * plan.Terms());
    s.dv = carver->Take<float>(kAmxBlock * plan.Terms());
    s.factors = carver->Take<float>(kAmxBlock);
    s.squares = carver->Take<float>(kAmxBlock);
    return s;
  }
};

// A pair of blocks: numbers within the side. Null bits: all queries see all keys, or all are kept.
struct BackwardPair {
  idx_t key, query;
  const std::uint32_t* seen;  // (32): of key r, its queries, spread
  const std::uint32_t* kept;  // (32): those whose weight dropout keeps: q, then q + 16 (not spread)
};

struct BackwardScratch {
  char* score = nullptr;    // 3 pairs of 8 tiles: s, then dp; (key half, query half)
  char* p = nullptr;        // (side, side) pairs of 2 tiles (key half): weights
  char* ds = nullptr;       // the same of ds
  char* ds_keys = nullptr;  // (side, side) of 2 tiles: ds in pairs of keys

  static BackwardScratch Carve(const AmxPlan& plan, Carver* carver) {
    BackwardScratch s;
    s.score = carver->Take<char>(3 * 8 * kTileBytes);
    const idx_t pairs = plan.side * plan.side * 2 * kTileBytes;
    s.p = carver->Take<char>(pairs);
    s.ds = carver->Take<char>(pairs);
    s.ds_keys = carver->Take<char>(pairs);
    return s;
  }
};

// kShared: keys are queries of one length (amx_shared-inl.h), and ds that of (x_t . x_j).
template <class T, bool kShared>
class AmxBackwardBlock {
 public:
  AmxBackwardBlock(const AmxPlan& plan, const BackwardScratch& scratch)
      : s_(scratch), side_(plan.side), tiles_(plan.Terms() / 32) {
    unit_ = kPerOctave * kLog2E * plan.scale;
    drops_ = plan.dropout.active();
    factor_ = drops_ ? plan.dropout.scale() : 1.0f;
  }

  // `pairs` (count) of the keys with the queries; sums of keys and queries move on. seen[i][j]: a
  // pair of key block i and query block j is among them; those of one row or column are neighbours.
  void Meet(const BackwardKey* keys, idx_t key_blocks, const BackwardQuery* queries,
            idx_t query_blocks, const BackwardPair* pairs, idx_t count,
            const bool (*seen)[kMostSide]) {
    if (count == 0) return;
    keys_ = keys;
    queries_ = queries;
    pairs_ = pairs;
    count_ = count;
    WeighPairs();
    SumOverQueries(key_blocks, query_blocks, seen);
    SumOverKeys(key_blocks, query_blocks, seen);
    Drain();
  }

 private:
  char* Score(idx_t pair) const { return s_.score + pair % 3 * (8 * kTileBytes); }
  idx_t PairAt(idx_t key, idx_t query) const { return (key * side_ + query) * (2 * kTileBytes); }

  // ---- A: weights and gradients of scores -------------------------------------------------------

  // Tile S (key half S / 2, query half S % 2) of s, or of dp.
  template <int S, bool kSecond>
  HWY_INLINE void ScoreStep(const BackwardKey& key, const BackwardQuery& query, char* waiting) {
    constexpr int kKeyHalf = S / 2, kQueryHalf = S % 2;
    const char* a = (kSecond ? key.value_rows : key.rows) + kKeyHalf * tiles_ * kTileBytes;
    const char* b = (kSecond ? query.dout_across : query.across) + kQueryHalf * kTileBytes;
    if (waiting != nullptr) T::template Store<S>(waiting + S * kTileBytes);
    if (kSecond ? drops_ : kShared) {
      T::template Zero<S>();
    } else {
      const float* start = kSecond ? query.minus_delta : query.minus_lse;
      T::template Load<S>(start + 16 * kQueryHalf, 0);
    }
    // With two tiles of terms the left operand stays for the second half of the queries.
    const bool again = kQueryHalf == 0 || tiles_ > 2;
    for (idx_t k = 0; k + 2 <= tiles_; k += 2) {
      if (again) T::template Stream<4>(a + k * kTileBytes);
      T::template Load<6>(b + 2 * k * kTileBytes);
      T::template Product<S, 4, 6>();
      if (again) T::template Stream<5>(a + (k + 1) * kTileBytes);
      T::template Load<7>(b + (2 * k + 2) * kTileBytes);
      T::template Product<S, 5, 7>();
    }
    if (tiles_ % 2 != 0) {
      T::template Stream<4>(a + (tiles_ - 1) * kTileBytes);
      T::template Load<6>(b + 2 * (tiles_ - 1) * kTileBytes);
      T::template Product<S, 4, 6>();
    }
  }

  // All steps of one pair with rows(begin, end) of another one's pairs of keys between them.
  template <class Rows>
  HWY_INLINE void PairSteps(const BackwardPair& pair, char* before, char* now, const Rows& rows) {
    const BackwardKey& key = keys_[pair.key];
    const BackwardQuery& query = queries_[pair.query];
    ScoreStep<0, false>(key, query, before), rows(0, 2);
    ScoreStep<1, false>(key, query, before), rows(2, 4);
    ScoreStep<2, false>(key, query, before), rows(4, 6);
    ScoreStep<3, false>(key, query, before), rows(6, 8);
    ScoreStep<0, true>(key, query, now), rows(8, 10);
    ScoreStep<1, true>(key, query, now), rows(10, 12);
    ScoreStep<2, true>(key, query, now), rows(12, 14);
    ScoreStep<3, true>(key, query, now), rows(14, 16);
  }

  void WeighPairs() {
    for (idx_t t = 0; t < count_ + 2; ++t) {
      char* before = t > 0 && t <= count_ ? Score(t - 1) + 4 * kTileBytes : nullptr;
      const idx_t w = t - 2;
      if (t < count_) {
        WithRows(w,
                 [&](const auto& rows) HWY_ATTR { PairSteps(pairs_[t], before, Score(t), rows); });
        continue;
      }
      if (before != nullptr) {
        T::template Store<0>(before);
        T::template Store<1>(before + kTileBytes);
        T::template Store<2>(before + 2 * kTileBytes);
        T::template Store<3>(before + 3 * kTileBytes);
      }
      WithRows(w, [](const auto& rows) HWY_ATTR { rows(0, 8), rows(8, 16); });
    }
  }

  // Calls with(rows), where rows(begin, end) computes pairs of keys of pair w; none if w < 0.
  template <class With>
  HWY_INLINE void WithRows(idx_t w, const With& with) {
    if (w < 0) return with([](int, int) {});
    const BackwardPair& pair = pairs_[w];
    const bool plain = pair.seen == nullptr && !drops_;
    if (plain) {
      with([&](int from, int to) HWY_ATTR { Rows<true>(pair, Score(w), from, to); });
    } else {
      with([&](int from, int to) HWY_ATTR { Rows<false>(pair, Score(w), from, to); });
    }
  }

  // What all rows of a pair of blocks share.
  struct RowTask {
    const BackwardPair& pair;
    const BackwardKey& key;
    const BackwardQuery& query;
    idx_t at;  // of the pair in p and ds
    Line unit, excess;
  };

  // Pairs of keys (2 i, 2 i + 1), i from begin to end, of one half. kPlain: all is seen, nothing is
  // dropped.
  template <bool kPlain>
  HWY_INLINE void Rows(const BackwardPair& pair, const char* score, int begin, int end) const {
    const RowTask task{pair,
                       keys_[pair.key],
                       queries_[pair.query],
                       PairAt(pair.key, pair.query),
                       EachFloat(unit_),
                       LoadLine(kExcess)};
    const char* row = score + begin / 8 * (2 * kTileBytes) + begin % 8 * (2 * kTileLine);
    HWY_UNROLL(2)
    for (int i = begin; i < end; ++i, row += 2 * kTileLine) {
      const Line even = KeyRow<kPlain>(task, 2 * i, row);
      const Line odd = KeyRow<kPlain>(task, 2 * i + 1, row + kTileLine);
      char* to = s_.ds_keys + task.at + i * kTileLine;
      StoreLine(UnpackLowWords(even, odd), to);
      StoreLine(UnpackHighWords(even, odd), to + kTileBytes);
    }
  }

  // Weights and ds of key r, whose scores stand in `row`, with 32 queries; returns ds.
  template <bool kPlain>
  HWY_INLINE Line KeyRow(const RowTask& x, int r, const char* row) const {
    const Line magic = EachFloat(kMagic), least = EachFloat(kLeastScore);
    const Line high_word = EachInt(0xffff0000u), half = EachInt(0x8000u);
    Line a, b;
    if constexpr (kShared) {
      // Two roundings, of which the first has the precision of fp32: magic keeps 1/256 of an
      // octave.
      const Line unit = MulFloats(x.unit, EachFloat(x.key.factors[r]));
      a = AddFloats(FmaFloats(LoadLine(row), unit, LoadLine(x.query.minus_lse)), magic);
      b = AddFloats(FmaFloats(LoadLine(row + kTileBytes), unit, LoadLine(x.query.minus_lse + 16)),
                    magic);
    } else {
      a = FmaFloats(LoadLine(row), x.unit, magic);
      b = FmaFloats(LoadLine(row + kTileBytes), x.unit, magic);
    }
    a = MaxFloats(a, least);
    b = MaxFloats(b, least);
    Line w = WeightsOf(a, b, x.excess);
    Line dp0 = LoadLine(row + 4 * kTileBytes), dp1 = LoadLine(row + 5 * kTileBytes);
    if constexpr (!kPlain) {
      if (x.pair.seen != nullptr) w = KeepWords(w, x.pair.seen[r]);
    }
    Line p0 = LowToHigh(w), p1 = AndBits(w, high_word);
    if constexpr (kShared) {
      const Line factor = EachFloat(x.key.factors[r]);
      p0 = MulFloats(p0, factor);
      p1 = MulFloats(p1, factor);
    }
    if constexpr (!kPlain) {
      if (drops_) {
        const Line factor = EachFloat(factor_);
        const std::uint32_t kept = x.pair.kept[r];
        dp0 = FmaFloats(KeepFloats(dp0, kept), factor, LoadLine(x.query.minus_delta));
        dp1 = FmaFloats(KeepFloats(dp1, kept >> 16), factor, LoadLine(x.query.minus_delta + 16));
        w = KeepWords(w, SpreadBits(kept));
      }
    }
    StoreLine(w, s_.p + x.at + r * kTileLine);
    // Rounded half up: half a unit is added to the bits and the high words are taken.
    Line ds = JoinHighWords(AddInts(MulFloats(p0, dp0), half), AddInts(MulFloats(p1, dp1), half));
    if constexpr (!kPlain) {  // D of a query may be NaN, but not for keys that it does not see
      if (x.pair.seen != nullptr) ds = KeepWords(ds, x.pair.seen[r]);
    }
    StoreLine(ds, s_.ds + x.at + r * kTileLine);
    return ds;
  }

  // ---- B: sums ----------------------------------------------------------------------------------

  // Four tiles of sums and the operands of one of their products: a's second tile is a_next bytes
  // behind, b's 1 KiB.
  struct SumTiles {
    float *c00, *c01, *c10, *c11;
  };

  // sums += A B over n steps; the tiles of the call before are stored on the way. at(i): operands
  // of step i.
  template <class At>
  HWY_INLINE void Sum(const SumTiles& sums, idx_t a_next, idx_t n, const At& at) {
    const char *a, *b;
    at(0, &a, &b);
    T::template Load<4>(a);
    T::template Stream<6>(b);
    const bool held = held_.c00 != nullptr;
    if (held) T::template Store<0>(held_.c00);
    T::template Stream<0>(sums.c00);
    T::template Product<0, 4, 6>();
    T::template Stream<7>(b + kTileBytes);
    if (held) T::template Store<1>(held_.c01);
    T::template Stream<1>(sums.c01);
    T::template Product<1, 4, 7>();
    T::template Load<5>(a + a_next);
    if (held) T::template Store<2>(held_.c10);
    T::template Stream<2>(sums.c10);
    T::template Product<2, 5, 6>();
    if (held) T::template Store<3>(held_.c11);
    T::template Stream<3>(sums.c11);
    T::template Product<3, 5, 7>();
    for (idx_t i = 1; i < n; ++i) {
      at(i, &a, &b);
      T::template Load<4>(a);
      T::template Stream<6>(b);
      T::template Product<0, 4, 6>();
      T::template Stream<7>(b + kTileBytes);
      T::template Product<1, 4, 7>();
      T::template Load<5>(a + a_next);
      T::template Product<2, 5, 6>();
      T::template Product<3, 5, 7>();
    }
    held_ = sums;
  }
  void Drain() {
    if (held_.c00 == nullptr) return;
    T::template Store<0>(held_.c00);
    T::template Store<1>(held_.c01);
    T::template Store<2>(held_.c10);
    T::template Store<3>(held_.c11);
    held_ = {};
  }

  void SumOverQueries(idx_t key_blocks, idx_t query_blocks, const bool (*seen)[kMostSide]) {
    const idx_t columns = 2 * tiles_;
    for (idx_t i = 0; i < key_blocks; ++i) {
      idx_t from = 0, to = query_blocks;
      while (from < query_blocks && !seen[i][from]) ++from;
      while (to > from && !seen[i][to - 1]) --to;
      if (from == to) continue;
      const auto tiles = [&](float* sums, idx_t c) {
        return SumTiles{sums + c * 256, sums + (c + 1) * 256, sums + (columns + c) * 256,
                        sums + (columns + c + 1) * 256};
      };
      for (idx_t c = 0; c < columns; c += 2) {
        Sum(tiles(keys_[i].dv, c), kTileBytes, to - from,
            [&](idx_t n, const char** a, const char** b) HWY_ATTR {
              *a = s_.p + PairAt(i, from + n);
              *b = queries_[from + n].dout_pairs + c * kTileBytes;
            });
        Sum(tiles(keys_[i].dk, c), kTileBytes, to - from,
            [&](idx_t n, const char** a, const char** b) HWY_ATTR {
              *a = s_.ds + PairAt(i, from + n);
              *b = queries_[from + n].pairs + c * kTileBytes;
            });
      }
    }
  }

  void SumOverKeys(idx_t key_blocks, idx_t query_blocks, const bool (*seen)[kMostSide]) {
    for (idx_t j = 0; j < query_blocks; ++j) {
      idx_t from = 0, to = key_blocks;
      while (from < key_blocks && !seen[from][j]) ++from;
      while (to > from && !seen[to - 1][j]) --to;
      if (from == to) continue;
      float* dq = queries_[j].dq;
      for (idx_t c = 0; c < 2 * tiles_; c += 2) {
        const SumTiles tiles{dq + 2 * c * 256, dq + (2 * c + 1) * 256, dq + (2 * c + 2) * 256,
                             dq + (2 * c + 3) * 256};
        Sum(tiles, kTileBytes, to - from, [&](idx_t n, const char** a, const char** b) HWY_ATTR {
          *a = keys_[from + n].down + c * kTileBytes;
          *b = s_.ds_keys + PairAt(from + n, j);
        });
      }
    }
  }

  BackwardScratch s_;
  idx_t side_, tiles_;
  float unit_, factor_;
  bool drops_;
  const BackwardKey* keys_ = nullptr;
  const BackwardQuery* queries_ = nullptr;
  const BackwardPair* pairs_ = nullptr;
  idx_t count_ = 0;
  SumTiles held_{};
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_AMX_BACKWARD_INL_H_
