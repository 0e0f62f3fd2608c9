// A run of queries over its lists of keys: packing, who sees whom, and what is written at the end.

// Included once for every target.
#if defined(LONGSPAN_OPS_AMX_FORWARD_RUN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_AMX_FORWARD_RUN_INL_H_
#undef LONGSPAN_OPS_AMX_FORWARD_RUN_INL_H_
#else
#define LONGSPAN_OPS_AMX_FORWARD_RUN_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "ops/amx_attention/amx_forward-inl.h"
#include "ops/amx_attention/amx_shared-inl.h"
#include "simd/row_prefetcher.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Blocks of keys of one list, packed from block `first` on.
struct HeldKeys {
  char* keys = nullptr;            // (held) blocks, Across
  char* values = nullptr;          // Pairs
  std::uint32_t* shown = nullptr;  // (held)
  float* norms = nullptr;          // (held): the largest squared norm of the block's keys
  float* factors = nullptr;        // (held, 32), shared: of its keys; else (32): the scale's sign
  idx_t first = 0, end = 0;        // blocks that are packed

  static HeldKeys Carve(const AmxPlan& plan, idx_t held, Carver* carver) {
    HeldKeys s;
    s.keys = carver->Take<char>(held * plan.BlockBytes());
    s.values = carver->Take<char>(held * plan.BlockBytes());
    s.shown = carver->Take<std::uint32_t>(held);
    s.norms = carver->Take<float>(held);
    s.factors = carver->Take<float>((plan.shared ? held : 1) * kAmxBlock);
    return s;
  }
};

struct ForwardRunScratch {
  ForwardScratch block;
  HeldKeys keys, globals;
  QuerySums sums;                 // of the run's blocks, one after another; whole: of one
  SeenBlock* blocks = nullptr;    // (most_blocks)
  std::uint32_t* bits = nullptr;  // (most_blocks, 2, 32)
  std::uint32_t* memo = nullptr;  // (kMemos, 32)
  std::uint16_t* copy = nullptr;  // (32, K)
};

// Bits of a band's edge recur from block to block: those of the first few kinds are kept.
inline constexpr idx_t kMemos = 8;

inline ForwardRunScratch CarveForward(const AmxPlan& plan, Carver* carver) {
  ForwardRunScratch s;
  s.block = ForwardScratch::Carve(plan, carver);
  s.keys = HeldKeys::Carve(plan, plan.held, carver);
  s.globals = HeldKeys::Carve(plan, plan.beside, carver);
  const idx_t states = plan.whole ? 1 : plan.run;
  s.sums.out = carver->Take<float>(states * kAmxBlock * plan.Terms());
  s.sums.total = carver->Take<float>(states * kAmxBlock * 16);
  s.sums.offset = carver->Take<float>(states * kAmxBlock);
  s.sums.poison = carver->Take<float>(states * kAmxBlock);
  s.blocks = carver->Take<SeenBlock>(plan.most_blocks);
  s.bits = carver->Take<std::uint32_t>(plan.most_blocks * 2 * kAmxBlock);
  s.memo = carver->Take<std::uint32_t>(kMemos * kAmxBlock);
  s.copy = carver->Take<std::uint16_t>(kAmxBlock * plan.Terms());
  return s;
}

template <class T, bool kHold>
class AmxForwardRun {
 public:
  AmxForwardRun(const AmxPlan& plan, const AmxLists& lists, const ForwardRunScratch& scratch)
      : plan_(plan), lists_(lists), s_(scratch), kernel_(plan, scratch.block) {
    if (plan.shared) return;
    for (float* factors : {s_.keys.factors, s_.globals.factors}) {
      std::fill_n(factors, kAmxBlock, plan.scale < 0.0f ? -1.0f : 1.0f);
    }
  }

  // Blocks of queries [begin, end).
  void Run(idx_t begin, idx_t end) {
    if (plan_.whole) return RunWhole(begin, end);
    begin_ = begin;
    std::fill_n(started_, end - begin, false);
    std::fill_n(seen_, end - begin, 0u);
    PassBy(lists_.globals, begin, end);
    PassBy(lists_.keys, begin, end);
    for (idx_t b = begin; b < end; ++b) {
      SeenKeys seen;
      FindSeenKeys(lists_.queries, lists_.keys, b * kAmxBlock, lists_.blind, &seen);
      const QuerySums sums = SumsOf(b - begin);
      plan_.shared ? FinishShared(seen, sums, seen_[b - begin])
                   : Finish(seen, sums, started_[b - begin]);
    }
  }

 private:
  // ---- keys -------------------------------------------------------------------------------------

  // Packs blocks of the list up to `end`, from `first` on.
  void PackUpTo(const KeyRows& keys, idx_t end, HeldKeys* held) {
    const idx_t tiles = plan_.Terms() / 32, bytes = plan_.BlockBytes();
    for (; held->end < end; ++held->end) {
      const idx_t block = held->end, slot = block - held->first;
      const std::uint32_t shown = ShownBits(keys, block);
      // The value of a hidden key counts where a blind query weighs it.
      const std::uint32_t valued = lists_.blind.any() ? ExistBits(keys, block) : shown;
      char* to = held->keys + slot * bytes;
      PackBlockAcross(GatherBlock(plan_, keys.k, block * kAmxBlock, shown, s_.copy), tiles, to);
      alignas(64) float squares[kAmxBlock];
      SquaresAcross(to, tiles, squares);
      held->norms[slot] = LargestSquare(squares);
      if (plan_.shared) {
        SharedFactors(squares, plan_.D, Factors(*held, slot));
        // No key is longer than 1.
        held->norms[slot] = held->norms[slot] * 0.0f + 1.0f;  // NaN stays
      }
      PackBlockPairs(GatherBlock(plan_, keys.v, block * kAmxBlock, valued, s_.copy), tiles,
                     held->values + slot * bytes);
      held->shown[slot] = shown;
    }
  }

  float* Factors(const HeldKeys& held, idx_t slot) const {
    return held.factors + (plan_.shared ? slot * kAmxBlock : 0);
  }

  // Adds what the block of queries sees of blocks [begin, end) of a list to the kernel's list.
  void AddBlocks(const KeyRows& keys, const SeenKeys& seen, const HeldKeys& held, idx_t begin,
                 idx_t end) {
    const bool drops = plan_.dropout.active();
    for (idx_t block = begin; block < end; ++block) {
      const idx_t slot = block - held.first;
      const std::uint32_t shown = held.shown[slot];
      const Sight sight = SightOf(seen, keys, block, shown);
      if (sight == Sight::kNone) continue;
      SeenBlock& to = s_.blocks[count_];
      std::uint32_t* bits = s_.bits + count_ * 2 * kAmxBlock;
      to = {held.keys + slot * plan_.BlockBytes(), held.values + slot * plan_.BlockBytes(),
            Factors(held, slot), nullptr, nullptr};
      if (sight == Sight::kSome) to.seen = EdgeBits(keys, seen, block, shown, bits);
      for (idx_t r = 0; plan_.shared && r < kAmxBlock; ++r) {
        if (to.seen == nullptr || to.seen[r] != 0) sees_ |= 1u << r;
      }
      if (drops) {
        std::uint32_t kept[kAmxBlock];
        KeptBits(plan_, lists_.queries, keys, seen, block, kept);
        for (idx_t r = 0; r < kAmxBlock; ++r) bits[kAmxBlock + r] = SpreadBits(kept[r]);
        to.kept = bits + kAmxBlock;
      }
      norm_ = held.norms[slot] <= norm_ ? norm_ : held.norms[slot];  // NaN stays
      if (norm_ != norm_) norm_ = std::numeric_limits<float>::infinity();
      ++count_;
    }
  }

  // What tells the bits of one edge of a band, or of one chunk's causal diagonal, from another's,
  // as long as nothing is hidden.
  struct MemoKey {
    idx_t low = 0, high = 0, keys = -1, part = 0;
    bool operator==(const MemoKey&) const = default;
  };

  bool Recurs(const KeyRows& keys, const SeenKeys& seen, idx_t left, std::uint32_t shown) const {
    // All rows of a block are in one chunk.
    const bool chunks = keys.chunks.chunk > 0 && keys.chunks.chunk % kAmxBlock == 0;
    return (keys.band || chunks) && !keys.shared && shown == RangeBits(0, left) &&
           seen.blind == 0 && seen.turn == 0;
  }

  const std::uint32_t* EdgeBits(const KeyRows& keys, const SeenKeys& seen, idx_t block,
                                std::uint32_t shown, std::uint32_t* bits) {
    std::uint32_t plain[kAmxBlock];
    const idx_t left = keys.count - block * kAmxBlock;
    if (!Recurs(keys, seen, left, shown)) {
      SeenBits(seen, lists_.queries, keys, block, shown, plain);
      for (idx_t r = 0; r < kAmxBlock; ++r) bits[r] = SpreadBits(plain[r]);
      return bits;
    }
    const idx_t place = seen.first - block * kAmxBlock, first = block * kAmxBlock;
    const idx_t low = keys.band ? place - keys.left : seen.low[0] - first;
    const idx_t high = keys.band ? place + keys.right : seen.high[0] - first;
    const MemoKey key{low, high, std::min(left, kAmxBlock), static_cast<idx_t>(seen.part)};
    for (idx_t i = 0; i < memos_; ++i) {
      if (memo_key_[i] == key) return s_.memo + i * kAmxBlock;
    }
    SeenBits(seen, lists_.queries, keys, block, shown, plain);
    if (memos_ < kMemos) {  // more kinds of edges than that do not recur
      memo_key_[memos_] = key;
      bits = s_.memo + memos_++ * kAmxBlock;
    }
    for (idx_t r = 0; r < kAmxBlock; ++r) bits[r] = SpreadBits(plain[r]);
    return bits;
  }

  // ---- queries ----------------------------------------------------------------------------------

  // Packs block b of queries; rows that take no part, and blind ones, as zeros.
  void TakeQueries(idx_t b, const SeenKeys& seen) {
    const BlockRows rows =
        GatherBlock(plan_, lists_.queries.q, b * kAmxBlock, seen.part & ~seen.blind, s_.copy);
    const idx_t tiles = plan_.Terms() / 32;
    PackBlockRows(rows, tiles, s_.block.query);
    alignas(64) float squares[kAmxBlock];
    SquaresOfRows(rows, tiles, squares);
    query_norm_ = LargestSquare(squares);
    count_ = 0;
    sees_ = 0;
    norm_ = 0.0f;
  }

  // The kernel on what AddBlocks has listed.
  void MeetBlocks(bool fresh, const QuerySums& sums) {
    const float bound = std::sqrt(query_norm_) * std::sqrt(norm_) * std::abs(plan_.scale) * kLog2E;
    bool wide = !(bound < kSmallPowers);
    for (idx_t r = 0; !fresh && r < kAmxBlock; ++r) {
      wide = wide || (sums.offset[r] != kNothingSeen && sums.offset[r] != 0.0f);
    }
    kernel_.Meet(s_.blocks, count_, fresh, wide, sums);
  }

  QuerySums SumsOf(idx_t state) const {
    return {s_.sums.out + state * kAmxBlock * plan_.Terms(), s_.sums.total + state * kAmxBlock * 16,
            s_.sums.offset + state * kAmxBlock, s_.sums.poison + state * kAmxBlock};
  }

  // ---- the two orders ---------------------------------------------------------------------------

  void RunWhole(idx_t begin, idx_t end) {
    HeldKeys window = s_.keys, globals = s_.globals;
    PackUpTo(lists_.globals, CeilDiv(lists_.globals.count, kAmxBlock), &globals);
    bool any = false;
    for (idx_t b = begin; b < end; ++b) {
      SeenKeys seen;
      FindSeenKeys(lists_.queries, lists_.keys, b * kAmxBlock, lists_.blind, &seen);
      const idx_t low = seen.begin / kAmxBlock, high = CeilDiv(seen.end, kAmxBlock);
      if (!any) window.first = window.end = low;
      any = true;
      PackUpTo(lists_.keys, high, &window);
      if (seen.part == 0) {
        Finish(seen, SumsOf(0), false);  // never in the shared form, whose queries all take part
        continue;
      }
      TakeQueries(b, seen);
      if (lists_.globals.count > 0) {
        SeenKeys seen_globals;
        FindSeenKeys(lists_.queries, lists_.globals, b * kAmxBlock, {}, &seen_globals);
        AddBlocks(lists_.globals, seen_globals, globals, 0, globals.end);
      }
      AddBlocks(lists_.keys, seen, window, low, high);
      AddComing(b, b + 1 < end, high);
      if (count_ > 0) MeetBlocks(true, SumsOf(0));
      plan_.shared ? FinishShared(seen, SumsOf(0), sees_) : Finish(seen, SumsOf(0), count_ > 0);
    }
  }

  // Rows that will be touched soon: out of block b, the next queries, the next keys.
  void AddComing(idx_t b, bool more, idx_t next_key) {
    const auto add = [&](const auto& rows, idx_t block, idx_t count) {
      const idx_t first = block * kAmxBlock, last = std::min(count, first + kAmxBlock);
      if (first < last) AddRows(rows, first, last, plan_.D, &kernel_.coming);
    };
    kernel_.coming.Clear();
    const AmxShared& shared = lists_.shared;
    if (shared.last) add(lists_.queries.out, b, lists_.queries.count);
    if (!shared.first || !shared.last) add(shared.sums, b, lists_.queries.count);
    if (!more) return;
    add(lists_.queries.q, b + 1, lists_.queries.count);
    add(lists_.keys.k, next_key, lists_.keys.count);
    add(lists_.keys.v, next_key, lists_.keys.count);
  }

  // A list passes by, held blocks of keys at a time.
  void PassBy(const KeyRows& keys, idx_t begin, idx_t end) {
    const idx_t blocks = CeilDiv(keys.count, kAmxBlock);
    for (idx_t first = 0; first < blocks; first += plan_.held) {
      HeldKeys held = s_.keys;
      held.first = held.end = first;
      for (idx_t b = begin; b < end; ++b) {
        SeenKeys seen;
        FindSeenKeys(lists_.queries, keys, b * kAmxBlock, lists_.blind, &seen);
        const idx_t low = std::max(first, seen.begin / kAmxBlock);
        const idx_t high = std::min({blocks, first + plan_.held, CeilDiv(seen.end, kAmxBlock)});
        if (seen.part == 0 || low >= high) continue;
        // Blocks before `low` are seen by no later query either.
        if (held.end == held.first) held.first = held.end = low;
        PackUpTo(keys, high, &held);
        TakeQueries(b, seen);
        AddBlocks(keys, seen, held, low, high);
        if (count_ == 0) continue;
        MeetBlocks(!started_[b - begin_], SumsOf(b - begin_));
        started_[b - begin_] = true;
        seen_[b - begin_] |= sees_;
      }
    }
  }

  // ---- the end of a block -----------------------------------------------------------------------

  // `any`: the block of queries has met keys.
  void Finish(const SeenKeys& seen, const QuerySums& sums, bool any) {
    if (lists_.part.out.base != nullptr) return FinishPart(seen, sums, any);
    const QueryRows& queries = lists_.queries;
    alignas(64) float total[kAmxBlock], log[kAmxBlock];
    if (any) SumTotals(sums.total, total, log);
    const float kept = plan_.dropout.active() ? plan_.dropout.scale() : 1.0f;
    for (idx_t r = 0; r < seen.rows; ++r) {
      const idx_t i = seen.first + r;
      if ((seen.part >> r & 1) != 0) {
        WriteRow(sums, r, kept / total[r] + sums.poison[r], queries.out(i));
        *queries.lse(i) = SeesOneKey(seen, r)
                              ? OnlyScore(i, seen.low[r])
                              : sums.offset[r] * std::abs(plan_.scale) + log[r] + sums.poison[r];
      } else if (queries.roles[queries.tokens(i)] == kHiddenToken) {
        ClearRow(queries.out(i), plan_.D);
        *queries.lse(i) = kNothingSeen;
      }
    }
  }

  // The logarithm of a single rounded weight is off by up to 0.3 %, of a sum by far less. The score
  // itself is exact, so the backward's weight is exactly 1.
  bool SeesOneKey(const SeenKeys& seen, idx_t r) const {
    return !seen.Blind(r) && lists_.globals.count == 0 && seen.high[r] - seen.low[r] == 1;
  }
  float OnlyScore(idx_t query, idx_t key) const {
    return plan_.scale * DotRow(lists_.queries.q(query), lists_.keys.k(key), plan_.D);
  }

  // Sums of 16 lanes for each of 32 rows, and their logarithms.
  static void SumTotals(const float* totals, float* sum, float* log) {
    const hn::CappedTag<float, 16> d;
    SumLanes(totals, sum);
    for (idx_t r = 0; r < kAmxBlock; r += static_cast<idx_t>(hn::Lanes(d))) {
      hn::Store(Log(d, hn::Load(d, sum + r)), d, log + r);
    }
  }

  void FinishPart(const SeenKeys& seen, const QuerySums& sums, bool any) const {
    alignas(64) float total[kAmxBlock], values[kAmxMostHeadSize];
    if (any) SumLanes(sums.total, total);
    for (idx_t r = 0; r < seen.rows; ++r) {
      const idx_t i = seen.first + r;
      *lists_.part.max(i) = any ? sums.offset[r] * std::abs(plan_.scale) : kNothingSeen;
      *lists_.part.sum(i) = any ? total[r] + sums.poison[r] : 0.0f;
      if (!any) continue;
      TakeValues(sums, r, values);
      std::copy_n(values, plan_.D, lists_.part.out(i));
    }
  }

  // The weighted values of row r, after dropout (Terms).
  void TakeValues(const QuerySums& sums, idx_t r, float* values) const {
    const Line factor = EachFloat(plan_.dropout.active() ? plan_.dropout.scale() : 1.0f);
    for (idx_t c = 0; c < plan_.Terms() / 16; ++c) {
      const float* from = sums.out + (r / 16 * plan_.Terms() / 16 + c) * 256 + r % 16 * 16;
      StoreLine(MulFloats(LoadLine(from), factor), values + c * 16);
    }
  }

  // What this round gives rows that see a key (`sees`), and those that see themselves alone.
  void FinishShared(const SeenKeys& seen, const QuerySums& sums, std::uint32_t sees) const {
    alignas(64) float total[kAmxBlock], values[kAmxMostHeadSize];
    if (sees != 0) SumLanes(sums.total, total);
    for (idx_t r = 0; r < seen.rows; ++r) {
      SharedRow row{0.0f, 0.0f, nullptr};
      if ((sees >> r & 1) != 0) {
        row = {sums.offset[r], total[r] + sums.poison[r], values};
        TakeValues(sums, r, values);
      }
      MergeSharedRow(plan_, lists_, seen, r, row);
    }
  }

  void WriteRow(const QuerySums& sums, idx_t r, float factor, OutRow to) const {
    const Line f = EachFloat(factor);
    const idx_t tiles = plan_.Terms() / 32;
    auto* bf16 = static_cast<std::uint16_t*>(to.data);
    for (idx_t k = 0; k < tiles; ++k) {
      const float* low = sums.out + (r / 16 * 2 * tiles + 2 * k) * 256 + r % 16 * 16;
      const Line both = ToBf16Line(MulFloats(LoadLine(low), f), MulFloats(LoadLine(low + 256), f));
      const idx_t n = std::min(kAmxBlock, plan_.D - 32 * k);
      if (n == kAmxBlock) {
        StoreLine(both, bf16 + 32 * k);
      } else {
        alignas(64) std::uint16_t words[32];
        StoreLine(both, words);
        std::copy_n(words, n, bf16 + 32 * k);
      }
    }
  }

  const AmxPlan& plan_;
  const AmxLists& lists_;
  ForwardRunScratch s_;
  AmxForwardBlock<T, kHold> kernel_;
  idx_t begin_ = 0;
  bool started_[kAmxMostRun] = {};
  std::uint32_t seen_[kAmxMostRun] = {};  // shared: rows that see a key
  std::uint32_t sees_ = 0;                // of the block of queries at hand
  idx_t count_ = 0;                       // of s_.blocks
  float norm_ = 0.0f, query_norm_ = 0.0f;
  MemoKey memo_key_[kMemos];
  idx_t memos_ = 0;
};

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_AMX_FORWARD_RUN_INL_H_
