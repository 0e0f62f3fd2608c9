// A range of keys with a range of queries, backward: packing, who sees whom, and what is added to
// the caller's rows. Queries and their dq stay packed in a ring while keys can still see them.

// Included once for every target.
#if defined(LONGSPAN_OPS_AMX_BACKWARD_RUN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_AMX_BACKWARD_RUN_INL_H_
#undef LONGSPAN_OPS_AMX_BACKWARD_RUN_INL_H_
#else
#define LONGSPAN_OPS_AMX_BACKWARD_RUN_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "ops/amx_attention/amx_backward-inl.h"
#include "ops/amx_attention/amx_shared-inl.h"
#include "simd/bf16-inl.h"
#include "simd/row_prefetcher.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

struct BackwardRunScratch {
  BackwardScratch block;
  BackwardQuery* queries = nullptr;                 // (ring)
  BackwardKey* keys = nullptr;                      // (side)
  BackwardPair* pairs = nullptr;                    // (side, side)
  std::uint32_t* bits = nullptr;                    // (side, side, 2, 32)
  std::uint16_t *copy = nullptr, *copy2 = nullptr;  // (32, K)
};

inline BackwardRunScratch CarveBackward(const AmxPlan& plan, bool only_count, Carver* carver) {
  BackwardRunScratch s;
  const idx_t pairs = plan.side * plan.side;
  s.block = BackwardScratch::Carve(plan, carver);
  s.queries = carver->Take<BackwardQuery>(plan.ring);
  s.keys = carver->Take<BackwardKey>(plan.side);
  s.pairs = carver->Take<BackwardPair>(pairs);
  s.bits = carver->Take<std::uint32_t>(pairs * 2 * kAmxBlock);
  s.copy = carver->Take<std::uint16_t>(kAmxBlock * plan.Terms());
  s.copy2 = carver->Take<std::uint16_t>(kAmxBlock * plan.Terms());
  for (idx_t i = 0; i < plan.ring; ++i) {
    const BackwardQuery query = BackwardQuery::Carve(plan, carver);
    if (!only_count) s.queries[i] = query;
  }
  for (idx_t i = 0; i < plan.side; ++i) {
    const BackwardKey key = BackwardKey::Carve(plan, carver);
    if (!only_count) s.keys[i] = key;
  }
  return s;
}

template <class T, bool kShared>
class AmxBackwardRun {
 public:
  AmxBackwardRun(const AmxPlan& plan, const AmxLists& lists, const BackwardRunScratch& scratch)
      : plan_(plan), lists_(lists), s_(scratch), kernel_(plan, scratch.block) {
    tiles_ = plan.Terms() / 32;
  }

  void Run(AmxRange keys, AmxRange queries) {
    keys.end = std::min(keys.end, lists_.keys.count);
    queries.end = std::min(queries.end, lists_.queries.count);
    keys_ = keys;
    const idx_t side = plan_.side, last_key = CeilDiv(keys.end, kAmxBlock);
    idx_t packed = -1, finished = 0;  // blocks of queries: packed up to, finished up to
    for (idx_t k0 = keys.begin / kAmxBlock; k0 < last_key; k0 += side) {
      const idx_t key_blocks = std::min(side, last_key - k0);
      const AmxRange blocks = QueryBlocks(k0, key_blocks, queries);
      if (blocks.begin >= blocks.end) continue;
      if (packed < 0) packed = finished = blocks.begin;
      for (; finished < std::min(blocks.begin, packed); ++finished) FinishQuery(finished);
      finished = std::max(finished, blocks.begin);
      packed = std::max(packed, blocks.begin);
      for (; packed < blocks.end; ++packed) PackQuery(packed);
      MeetKeys(k0, key_blocks, blocks);
    }
    for (; finished < packed; ++finished) FinishQuery(finished);
  }

 private:
  BackwardQuery& Query(idx_t block) const { return s_.queries[block % plan_.ring]; }

  // Blocks of queries that see keys of blocks [k0, k0 + count), from a multiple of `side` on.
  AmxRange QueryBlocks(idx_t k0, idx_t count, AmxRange queries) const {
    const KeyRows& keys = lists_.keys;
    const idx_t first = k0 * kAmxBlock, end = std::min(keys.count, (k0 + count) * kAmxBlock);
    idx_t begin = queries.begin, last = queries.end;
    if (keys.chunks.chunk > 0) {
      const ChunkWindows& x = keys.chunks;
      begin = std::max(begin, x.Begin(first) - (x.parts - 1) * x.chunk);
      last = std::min(last, x.Begin(end - 1) + x.chunk);
    } else if (keys.band) {
      begin = std::max(begin, first - keys.right);
      last = std::min(last, end + keys.left);
    } else if (keys.causal && lists_.queries.tokens.list == nullptr &&
               queries.begin >= lists_.blind.first) {
      begin = std::max(begin, first);  // the lists are the same tokens
    }
    if (begin >= last) return {};
    return {begin / (kAmxBlock * plan_.side) * plan_.side, CeilDiv(last, kAmxBlock)};
  }

  // ---- packing ----------------------------------------------------------------------------------

  void PackQuery(idx_t block) {
    const QueryRows& queries = lists_.queries;
    BackwardQuery& to = Query(block);
    const idx_t first = block * kAmxBlock, rows = std::min(kAmxBlock, queries.count - first);
    to.blind = BlindBits(lists_.blind, first, rows);
    to.part = PartBits(queries, first, to.blind);
    if (kShared) FindAlone(first, rows, &to);
    const BlockRows q = GatherBlock(plan_, queries.q, first, to.part & ~to.blind, s_.copy);
    const BlockRows dout = GatherBlock(plan_, queries.dout, first, to.part, s_.copy2);
    PackBlockAcross(q, tiles_, to.across);
    PackBlockAcross(dout, tiles_, to.dout_across);
    PackBlockPairs(q, tiles_, to.pairs);
    PackBlockPairs(dout, tiles_, to.dout_pairs);
    for (idx_t r = 0; r < kAmxBlock; ++r) {
      const bool takes = r < rows && (to.part >> r & 1) != 0;
      to.minus_delta[r] = takes ? -Delta(first + r) : 0.0f;
      to.minus_lse[r] = takes ? MinusLse(first + r) : 0.0f;
    }
    std::fill_n(to.dq, kAmxBlock * plan_.Terms(), 0.0f);
  }

  float MinusLse(idx_t i) const {
    if (!kShared) return -*lists_.queries.lse(i) / plan_.scale;
    const float lse = *lists_.shared.max(i) + std::log(*lists_.shared.sum(i));
    return -lse * (kPerOctave * kLog2E);
  }

  // Rows that see themselves alone: constant weights, and kSelfScore is too large for a line.
  void FindAlone(idx_t first, idx_t rows, BackwardQuery* to) const {
    to->alone = 0;
    for (idx_t r = 0; r < rows; ++r) {
      if (*lists_.shared.max(first + r) == kSelfScore) to->alone |= 1u << r;
    }
    to->part &= ~to->alone;
  }

  float Delta(idx_t i) const {
    const QueryRows& queries = lists_.queries;
    if (queries.delta.base != nullptr) return *queries.delta(i);
    return DotRow(queries.dout(i), queries.out(i), plan_.D);
  }

  void PackKey(idx_t block, BackwardKey* to) {
    const KeyRows& keys = lists_.keys;
    const idx_t first = block * kAmxBlock;
    to->shown = ShownBits(keys, block);
    to->valued = lists_.blind.any() ? ExistBits(keys, block) : to->shown;
    const BlockRows k = GatherBlock(plan_, keys.k, first, to->shown, s_.copy);
    if (kShared) {
      SquaresOfRows(k, tiles_, to->squares);
      SharedFactors(to->squares, plan_.D, to->factors);
    }
    PackBlockRows(k, tiles_, to->rows);
    PackBlockDown(k, tiles_, to->down);
    PackBlockRows(GatherBlock(plan_, keys.v, first, to->valued, s_.copy2), tiles_, to->value_rows);
    std::fill_n(to->dk, kAmxBlock * plan_.Terms(), 0.0f);
    std::fill_n(to->dv, kAmxBlock * plan_.Terms(), 0.0f);
  }

  // ---- meeting ----------------------------------------------------------------------------------

  void MeetKeys(idx_t k0, idx_t key_blocks, AmxRange blocks) {
    for (idx_t i = 0; i < key_blocks; ++i) PackKey(k0 + i, s_.keys + i);
    for (idx_t b = blocks.begin; b < blocks.end; b += plan_.side) {
      const idx_t query_blocks = std::min(plan_.side, blocks.end - b);
      bool seen[kMostSide][kMostSide] = {};
      idx_t count = 0;
      for (idx_t j = 0; j < query_blocks; ++j) {
        SeenKeys sight;
        FindSeenKeys(lists_.queries, lists_.keys, (b + j) * kAmxBlock, lists_.blind, &sight);
        if (kShared) sight.part = Query(b + j).part;
        for (idx_t i = 0; i < key_blocks; ++i) {
          seen[i][j] = AddPair(sight, i, j, k0 + i, s_.pairs + count);
          count += seen[i][j] ? 1 : 0;
        }
      }
      kernel_.Meet(s_.keys, key_blocks, &Query(b), query_blocks, s_.pairs, count, seen);
    }
    for (idx_t i = 0; i < key_blocks; ++i) FinishKey(k0 + i, s_.keys[i]);
  }

  // Whether queries of block j see something of key block `block`, number i, as `to` then says.
  bool AddPair(const SeenKeys& sight, idx_t i, idx_t j, idx_t block, BackwardPair* to) {
    const std::uint32_t shown = s_.keys[i].shown;
    Sight kind = SightOf(sight, lists_.keys, block, shown);
    // Queries that see no key weigh all, so pairs that others do not see lie between those that are
    // seen.
    if (kind == Sight::kNone && !lists_.blind.any()) return false;
    if (kind == Sight::kNone) kind = Sight::kSome;
    // A row that takes no part has zeros in its place, but weights and D that mean nothing.
    if (sight.part != kAllRows) kind = Sight::kSome;
    std::uint32_t* bits = s_.bits + (i * plan_.side + j) * 2 * kAmxBlock;
    std::uint32_t plain[kAmxBlock], turned[kAmxBlock];
    *to = {i, j, nullptr, nullptr};
    if (kind == Sight::kSome) {
      SeenBits(sight, lists_.queries, lists_.keys, block, shown, plain);
      TransposeBits(plain, turned);
      for (idx_t r = 0; r < kAmxBlock; ++r) bits[r] = SpreadBits(turned[r]);
      to->seen = bits;
    }
    if (plan_.dropout.active()) {
      KeptBits(plan_, lists_.queries, lists_.keys, sight, block, plain);
      TransposeBits(plain, bits + kAmxBlock);
      to->kept = bits + kAmxBlock;
    }
    return true;
  }

  // ---- the caller's rows ------------------------------------------------------------------------

  // to[0 .. n) += factor * 16 floats, n <= 16.
  static void AddLine(const float* from, const Line& factor, idx_t n, float* to) {
    if (n >= 16) return StoreLine(FmaFloats(LoadLine(from), factor, LoadLine(to)), to);
    alignas(64) float sum[16] = {};
    std::copy_n(to, n, sum);
    StoreLine(FmaFloats(LoadLine(from), factor, LoadLine(sum)), sum);
    std::copy_n(sum, n, to);
  }

  void FinishKey(idx_t block, const BackwardKey& key) {
    if (kShared) return FinishSharedKey(block, key);
    const KeyRows& keys = lists_.keys;
    const Line scale = EachFloat(plan_.scale);
    const Line kept = EachFloat(plan_.dropout.active() ? plan_.dropout.scale() : 1.0f);
    const idx_t first = block * kAmxBlock;
    const std::uint32_t ours = key.valued & RangeBits(keys_.begin - first, keys_.end - first);
    for (idx_t r = 0; r < kAmxBlock; ++r) {
      if ((ours >> r & 1) == 0) continue;
      const bool shown = (key.shown >> r & 1) != 0;
      for (idx_t c = 0; c * 16 < plan_.D; ++c) {
        const idx_t at = (r / 16 * 2 * tiles_ + c) * 256 + r % 16 * 16, n = plan_.D - c * 16;
        if (shown) AddLine(key.dk + at, scale, n, keys.dk(first + r) + c * 16);
        AddLine(key.dv + at, kept, n, keys.dv(first + r) + c * 16);
      }
    }
  }

  // Keys that exist: those of the side are written in any case.
  void FinishSharedKey(idx_t block, const BackwardKey& key) const {
    alignas(64) float dk[kAmxMostHeadSize], dv[kAmxMostHeadSize];
    const Line kept = EachFloat(plan_.dropout.active() ? plan_.dropout.scale() : 1.0f);
    const idx_t first = block * kAmxBlock;
    const std::uint32_t ours =
        ExistBits(lists_.keys, block) & RangeBits(keys_.begin - first, keys_.end - first);
    for (idx_t r = 0; r < kAmxBlock; ++r) {
      if ((ours >> r & 1) == 0) continue;
      for (idx_t c = 0; c < 2 * tiles_; ++c) {
        const idx_t at = (r / 16 * 2 * tiles_ + c) * 256 + r % 16 * 16;
        StoreLine(LoadLine(key.dk + at), dk + c * 16);
        StoreLine(MulFloats(LoadLine(key.dv + at), kept), dv + c * 16);
      }
      AddSharedKey(plan_, lists_, first + r, (key.shown >> r & 1) != 0, key.squares[r], dk, dv);
    }
  }

  // Once: in the task that has the token as a key.
  void FinishAlone(const BackwardQuery& query, idx_t block) const {
    if (query.alone == 0) return;
    SeenKeys seen;
    FindSeenKeys(lists_.queries, lists_.keys, block * kAmxBlock, lists_.blind, &seen);
    for (idx_t r = 0; r < seen.rows; ++r) {
      const idx_t own = seen.own + r;
      if ((query.alone >> r & 1) != 0 && own >= keys_.begin && own < keys_.end) {
        AddOwnValue(plan_, lists_, seen, r);
      }
    }
  }

  // dq^T, whose columns are queries in the order of UnpackLowWords and UnpackHighWords of lines
  // that hold query i in word 2 i and query i + 16 in word 2 i + 1.
  void FinishQuery(idx_t block) {
    const QueryRows& queries = lists_.queries;
    const BackwardQuery& query = Query(block);
    if (kShared) FinishAlone(query, block);
    const Line scale = EachFloat(plan_.scale);
    const idx_t first = block * kAmxBlock;
    const std::uint32_t takes = query.part & ~query.blind;
    alignas(64) float turned[16 * 16];
    for (idx_t c = 0; c * 16 < plan_.D; ++c) {
      for (idx_t half = 0; half < 2; ++half) {
        TransposeLines(reinterpret_cast<const char*>(query.dq + (2 * c + half) * 256), kTileLine,
                       reinterpret_cast<char*>(turned));
        for (idx_t j = 0; j < 16; ++j) {
          const idx_t r = j % 2 * 16 + j / 4 * 4 + half * 2 + j / 2 % 2;
          if ((takes >> r & 1) == 0) continue;
          AddLine(turned + j * 16, scale, plan_.D - c * 16, queries.dq(first + r) + c * 16);
        }
      }
    }
  }

  const AmxPlan& plan_;
  const AmxLists& lists_;
  BackwardRunScratch s_;
  AmxBackwardBlock<T, kShared> kernel_;
  idx_t tiles_;
  AmxRange keys_;  // whose rows are written
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_AMX_BACKWARD_RUN_INL_H_
