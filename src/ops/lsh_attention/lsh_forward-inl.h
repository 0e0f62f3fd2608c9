// LSH attention, forward: hash-sorted chunks -> one softmax over the union of all rounds.
//   4 D flop per query and key of its window.
// Route: window -> ring slots; per block of query rows: scores, weights, products; then each row is
// merged into its token's sums, in their own order. Nothing sorted is stored.
//
// Weights are exp(score - shift). A token's shift is |x|, a bound of its scores, as long as no
// weight can vanish below it: it is the same in every round, so no maximum is searched and nothing
// is rescaled. Beyond that it is the largest score so far.

// Included once for every target.
#if defined(LONGSPAN_OPS_LSH_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_LSH_FORWARD_INL_H_
#undef LONGSPAN_OPS_LSH_FORWARD_INL_H_
#else
#define LONGSPAN_OPS_LSH_FORWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "ops/lsh_attention/lsh_task-inl.h"
#include "simd/math-inl.h"
#include "simd/softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// What is known of tokens [begin, end) of a head of the group before the first round.
inline void LshBeginForward(const LshArguments& args, idx_t head, idx_t begin, idx_t end) {
  const idx_t b = args.Batch(head), h = args.Head(head);
  for (idx_t t = begin; t < end; ++t) {
    const InRow x = args.qk(b, h, t);
    args.Token(head, t) = {DotRow(x, x, args.plan.D), kHiddenScore, 0.0f, 0.0f};
  }
}

// Stores two vectors of weights, or the last one, as row elements [at, ...) of the given kind.
template <class Terms>
HWY_INLINE void StoreWeights(hn::Vec<TileTag> first, hn::Vec<TileTag> second, float* row,
                             idx_t at) {
  const TileTag d;
  if constexpr (Terms::kWidth == 2) {
    Terms::StoreAlong(first, second, reinterpret_cast<std::uint16_t*>(row) + at);
  } else {
    hn::StoreU(first, d, row + at);
    hn::StoreU(second, d, row + at + kTileLanes);
  }
}
template <class Terms>
HWY_INLINE void StoreWeights(hn::Vec<TileTag> last, float* row, idx_t at) {
  if constexpr (Terms::kWidth == 2) {
    hn::StoreU(ToBf16(last), Bf16Tag(), reinterpret_cast<std::uint16_t*>(row) + at);
  } else {
    hn::StoreU(last, TileTag(), row + at);
  }
}

// Weights exp(score - shift) of token t in part `i` of a row of scores, in place. Adds to `sum`.
// kSmall: scores do not differ from shift by more than twice kLongestBound.
template <class Terms, bool kSmall, LshHides kHides>
HWY_INLINE void WeighPart(const LshTask& x, idx_t i, std::int32_t t, float shift, float* row,
                          hn::Vec<TileTag>& even, hn::Vec<TileTag>& odd) {
  const TileTag d;
  const hn::RebindToSigned<TileTag> di;
  const LshColumns columns = ColumnsOf(x, i);
  const auto query = hn::Set(di, t);
  const auto offset = hn::Set(d, shift * FloatScores::kPerUnit);
  const idx_t at = i * x.plan.columns;
  const auto weight = [&](idx_t j) HWY_ATTR {
    const auto s = hn::MulSub(hn::LoadU(d, row + at + j), hn::LoadU(d, columns.factor + j), offset);
    return Shown<kHides>(columns, j, query,
                         kSmall ? FloatScores::ExpSmall(d, s) : FloatScores::Exp(d, s));
  };
  idx_t j = 0;
  for (; j + 2 * kTileLanes <= x.plan.columns; j += 2 * kTileLanes) {
    const auto w0 = weight(j), w1 = weight(j + kTileLanes);
    StoreWeights<Terms>(w0, w1, row, at + j);
    even = hn::Add(even, w0);
    odd = hn::Add(odd, w1);
  }
  if (j < x.plan.columns) {
    const auto w = weight(j);
    StoreWeights<Terms>(w, row, at + j);
    even = hn::Add(even, w);
  }
}

// Weights of row r against a shift, in place; returns their sum.
template <class Terms, bool kSmall>
float WeighRow(const LshTask& x, idx_t r, float shift, float* row) {
  const TileTag d;
  const auto t = static_cast<std::int32_t>(x.Token(r));
  auto even = hn::Zero(d), odd = even;
  for (idx_t i = 0; i < x.plan.parts; ++i) {
    WithHides(x.scratch.part_hides[i], [&]<LshHides kHides>() HWY_ATTR {
      WeighPart<Terms, kSmall, kHides>(x, i, t, shift, row, even, odd);
    });
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
}
template <class Terms>
float WeighRow(const LshTask& x, idx_t r, float shift, float* row) {
  const bool small = x.Length(r) <= kLongestBound;  // shift is that length
  return small ? WeighRow<Terms, true>(x, r, shift, row) : WeighRow<Terms, false>(x, r, shift, row);
}

// The largest score that row r sees, -inf for none.
inline float LargestScore(const LshTask& x, idx_t r, const float* row) {
  const TileTag d;
  const hn::RebindToSigned<TileTag> di;
  const auto query = hn::Set(di, static_cast<std::int32_t>(x.Token(r)));
  auto most = hn::Set(d, kHiddenScore);
  for (idx_t i = 0; i < x.plan.parts; ++i, row += x.plan.columns) {
    const LshColumns columns = ColumnsOf(x, i);
    for (idx_t j = 0; j < x.plan.columns; j += kTileLanes) {
      const auto s = hn::Mul(hn::LoadU(d, row + j), hn::LoadU(d, columns.factor + j));
      const auto seen = hn::IfThenElse(Unseen(columns, j, query), hn::Set(d, kHiddenScore), s);
      most = hn::Max(most, seen);
    }
  }
  return FloatScores::kUnit * hn::GetLane(hn::MaxOfLanes(d, most));
}

// What a row adds to its token's sums.
struct RowWeights {
  float shrink;   // of the sums of earlier rounds
  float inverse;  // 1 / sum of all weights, in the last round
};

// Weights of row r, in place, and the shift and sum of its token.
template <class Terms>
RowWeights ForwardRow(const LshTask& x, idx_t r, float* row) {
  const auto t = static_cast<std::int32_t>(x.Token(r));
  LshToken& token = x.args.Token(x.head, t);
  const float earlier = token.max, length = x.Length(r);
  const bool drops = x.plan.dropout.active();
  float shift = length;
  if (!(length <= kLongestBound)) {
    shift = LargestScore(x, r, row);
    // Who sees nobody in this round: its own score, below.
    shift = shift == kHiddenScore ? length : std::max(shift, earlier);
  }
  float added = drops ? WeighRow<F32Terms>(x, r, shift, row) : WeighRow<Terms>(x, r, shift, row);
  bool whole = drops;  // the row holds floats
  if (added == 0.0f) {
    added = WeighItself(x, t, row);
    shift = kSelfScore;
    whole = true;
    if (earlier > kSelfScore) {  // it saw others before: their scores outweigh its own
      std::fill_n(row, x.plan.parts * x.plan.columns, 0.0f);
      added = 0.0f;
      shift = earlier;
    }
  }
  if (drops) DropBlockRow(x, r, row);
  if (whole) RoundColumns<Terms>(row, 0, x.plan.parts * x.plan.columns);
  RowWeights weights{1.0f, 1.0f};
  if (earlier != shift) weights.shrink = earlier == kHiddenScore ? 0.0f : std::exp(earlier - shift);
  token.sum = weights.shrink * token.sum + added;
  token.max = shift;
  if (x.LastRound()) {
    weights.inverse = 1.0f / token.sum;
    x.args.max(x.b, x.h, t) = token.max;
    x.args.sum(x.b, x.h, t) = token.sum;
  }
  return weights;
}

// The token's sums = shrink * sums + product, of earlier rounds and this one; the last round
// writes out, divided by the sum of weights.
inline void MergeRow(const LshTask& x, idx_t r, const RowWeights& weights, const float* product) {
  const TileTag d;
  const idx_t t = x.Token(r), n = x.plan.D;
  float* sums = x.args.Sums(x.head, t);
  const OutRow out = x.args.out(x.b, x.h, t);
  const auto shrink = hn::Set(d, weights.shrink), inverse = hn::Set(d, weights.inverse);
  const bool first = x.FirstRound(), last = x.LastRound();
  for (idx_t i = 0; i < n; i += kTileLanes) {
    auto y = hn::LoadU(d, product + i);
    if (!first) y = hn::MulAdd(shrink, LoadTail(sums + i, n - i), y);
    if (last) {
      StoreRow(hn::Mul(y, inverse), out, i, n);
    } else {
      StoreTail(y, sums + i, n - i);
    }
  }
}

// Forward of one block of query rows.
template <class Terms>
void ForwardBlock(const LshTask& x) {
  const LshScratch& s = x.scratch;
  auto* weights = static_cast<RowWeights*>(s.row_weights);
  BlockScores<Terms>(x, Queries<Terms>(x), s.key_panels, s.scores);
  for (idx_t r = 0; r < x.block_rows; ++r) {
    weights[r] = ForwardRow<Terms>(x, r, s.scores + r * x.plan.score_stride);
  }
  BlockProduct<Terms>(x, s.scores, x.plan.score_stride, s.value_panels, s.output);
  for (idx_t r = 0; r < x.block_rows; ++r) MergeRow(x, r, weights[r], s.output + r * x.plan.row);
}

// V of a chunk into its slot's panels of channels: floats straight from where they are.
template <class Terms>
void FetchValues(const LshTask& x, idx_t keys, idx_t slot) {
  const idx_t stride = x.plan.row / Terms::kWidth, D = x.plan.D;
  const std::int32_t* tokens = x.Tokens(slot);
  float* panels = x.scratch.value_panels + slot * x.RowFloats();
  if (Terms::kWidth == 1 && !x.args.v.bf16) {
    for (idx_t j = 0; j < keys; ++j) {
      const auto* from = static_cast<const float*>(x.args.v(x.b, x.h, tokens[j]).data);
      for (idx_t first = 0; first < D; first += kPanel) {
        PackPanels(from + first, D, 1, std::min(kPanel, D - first),
                   panels + first * keys + j * kPanel);
      }
    }
    return;
  }
  GatherRows<Terms>(x, x.args.v, tokens, keys, x.scratch.gathered);
  PackRows<Terms>(x.scratch.gathered, stride, keys, D, TermCount<Terms>(keys), panels);
}

// Forward of one task of a phase.
template <class Terms>
void LshForwardWalk(const LshArguments& args, const LshScratch& scratch, idx_t phase, idx_t task) {
  RowPrefetcher prefetch;
  LshTask x(args, scratch, prefetch, phase, task);
  const LshPlan& plan = args.plan;
  std::fill_n(scratch.tag, plan.ring, LshScratch::kEmpty);
  const auto fetch = [&x](idx_t unwrapped, idx_t c, idx_t slot) HWY_ATTR {
    const idx_t keys = x.plan.Keys(c);
    x.scratch.tag[slot] = unwrapped;
    FetchTokens(x, c, slot);
    FetchKeys<Terms>(x, keys, slot);
    FetchValues<Terms>(x, keys, slot);
  };
  for (idx_t c = x.first; c < x.last; ++c) {
    EnterChunk(x, c, fetch);
    if (args.accumulator != nullptr && !x.LastRound()) {
      prefetch.Add(args.Tokens(x.head, c), args.Sums(x.head, 0), args.SumsStride(), plan.Keys(c),
                   plan.D);
    } else {
      PrefetchChunk(x, c, args.out);
    }
    if (const idx_t next = NextFetched(x); next >= 0) {
      PrefetchTokens(x, next);
      PrefetchChunk(x, next, args.qk);
      PrefetchChunk(x, next, args.v);
    }
    for (x.block = 0; x.block < x.rows; x.block += plan.block) {
      x.block_rows = std::min(plan.block, x.rows - x.block);
      ForwardBlock<Terms>(x);
    }
  }
}

inline void LshForwardTask(const LshArguments& args, const LshScratch& scratch, idx_t phase,
                           idx_t task) {
  LshForwardWalk<F32Terms>(args, scratch, phase, task);
}
inline void LshForwardPairs(const LshArguments& args, const LshScratch& scratch, idx_t phase,
                            idx_t task) {
  LshForwardWalk<HalfTerms>(args, scratch, phase, task);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_LSH_FORWARD_INL_H_
