// LSH attention: one task's walk over the sorted chunks, and the products of a block of queries.
//
//   x = qk, v, out (T, D) of one head, fp32 or bf16, any row stride; max, sum (T); order (R, T).
// Terms: what products multiply, floats or pairs of bf16 (simd/bf16-inl.h).
// A chunk is gathered and packed once per task that sees it, as it is: keys are not scaled. The
// score of key j is factor_j (x_t . x_j), factor_j = 1 / (sqrt(D) rms(x_j)) in FloatScores' unit,
// so that one row of x serves as query, as key and in the backward's products, and bf16 is rounded
// nowhere again.

// Included once for every target.
#if defined(LONGSPAN_OPS_LSH_TASK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_LSH_TASK_INL_H_
#undef LONGSPAN_OPS_LSH_TASK_INL_H_
#else
#define LONGSPAN_OPS_LSH_TASK_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/math.h"
#include "ops/lsh_attention/lsh_attention.h"
#include "simd/bf16-inl.h"
#include "simd/philox-inl.h"
#include "simd/row_prefetcher.h"
#include "simd/shared_key-inl.h"
#include "simd/softmax-inl.h"
#include "simd/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A token's scores lie in [-|x|, |x|]; exp(-2 * 40) is far from the smallest normal float.
inline constexpr float kLongestBound = 40.0f;

// One task's view of the problem, and the window it stands at.
struct LshTask {
  const LshArguments& args;
  const LshPlan& plan;
  const LshScratch& scratch;
  RowPrefetcher& prefetch;
  idx_t phase, task, head, b, h, first, last;  // head: of the group; chunks [first, last)
  // The current chunk and block of its query rows.
  idx_t chunk = 0;  // its number in the circle
  idx_t rows = 0;   // its tokens
  idx_t slot = 0;   // of the ring
  idx_t block = 0;  // first row inside of the chunk
  idx_t block_rows = 0;

  LshTask(const LshArguments& arguments, const LshScratch& memory, RowPrefetcher& prefetcher,
          idx_t phase_number, idx_t number)
      : args(arguments),
        plan(arguments.plan),
        scratch(memory),
        prefetch(prefetcher),
        phase(phase_number),
        task(number),
        head(number / plan.runs),
        b(args.Batch(head)),
        h(args.Head(head)),
        first(plan.FirstChunk(phase, number % plan.runs)),
        last(plan.LastChunk(phase, number % plan.runs)) {}

  idx_t KeyFloats() const { return RoundUp(plan.chunk, LshPlan::kPanelUnit) * plan.D; }
  idx_t RowFloats() const { return plan.chunk * RoundUp(plan.D, LshPlan::kPanelUnit); }
  idx_t GradientFloats() const { return plan.columns * plan.row; }
  const std::int32_t* Tokens(idx_t s) const { return scratch.token + s * plan.columns; }
  // Token of row r of the block.
  idx_t Token(idx_t r) const { return Tokens(slot)[block + r]; }
  // |x| of row r of the block: no score of its token is larger, for keys are no longer than 1.
  float Length(idx_t r) const { return scratch.length[slot * plan.columns + block + r]; }
  bool FirstRound() const { return plan.Round(chunk) == 0; }
  bool LastRound() const { return plan.Round(chunk) == plan.rounds - 1; }
};

// ---- the window ---------------------------------------------------------------------------------

// The slot of the ring that belongs to an unwrapped chunk number.
inline idx_t RingSlot(const LshTask& x, idx_t unwrapped) {
  if (x.plan.ring == x.plan.chunks) return unwrapped;
  return (unwrapped - (x.first - x.plan.before)) % x.plan.ring;
}

// Tokens of a chunk's slot: their numbers, bounds, lengths, and factors as keys.
inline void FetchTokens(const LshTask& x, idx_t c, idx_t slot) {
  constexpr std::int32_t kAlways = std::numeric_limits<std::int32_t>::min();
  constexpr std::int32_t kNever = std::numeric_limits<std::int32_t>::max();
  const std::int32_t* tokens = x.args.Tokens(x.head, c);
  const idx_t keys = x.plan.Keys(c), at = slot * x.plan.columns;
  std::int32_t *token = x.scratch.token + at, *bound = x.scratch.bound + at;
  float *length = x.scratch.length + at, *factor = x.scratch.factor + at;
  for (idx_t j = 0; j < keys; ++j) {
    const std::int32_t t = tokens[j];
    const bool hidden = !x.args.mask.empty() && x.args.mask(x.b, t) == 0;
    token[j] = t;
    bound[j] = hidden ? kNever : (x.plan.causal ? t : kAlways);
    length[j] = x.args.Token(x.head, t).square;
  }
  std::fill(token + keys, token + x.plan.columns, -1);
  std::fill(bound + keys, bound + x.plan.columns, kNever);
  std::fill(length + keys, length + x.plan.columns, 1.0f);
  const TileTag d;
  for (idx_t j = 0; j < x.plan.columns; j += kTileLanes) {
    const auto square = hn::LoadU(d, length + j);
    const auto per_unit = hn::Set(d, FloatScores::kPerUnit);
    hn::StoreU(hn::Mul(SharedKeyFactor(d, square, x.plan.D), per_unit), d, factor + j);
    hn::StoreU(hn::Sqrt(square), d, length + j);
  }
}

// Rows of `array` that belong to a slot's tokens, as the terms of a product.
template <class Terms>
void GatherRows(const LshTask& x, const InView& array, const std::int32_t* token, idx_t count,
                float* rows) {
  const TileTag d;
  for (idx_t j = 0; j < count; ++j) {
    const InRow from = array(x.b, x.h, token[j]);
    float* to = rows + j * x.plan.row / Terms::kWidth;
    if (from.bf16) {
      GatherRow<Terms>(from, true, 1.0f, x.plan.D, x.plan.row, to);
      continue;
    }
    const auto* row = static_cast<const float*>(from.data);
    for (idx_t i = 0; i < x.plan.D; i += kTileLanes) {
      hn::StoreU(LoadTail(row + i, x.plan.D - i), d, to + i);
    }
  }
}

// x of a chunk into its slot: as rows, and as keys in transposed panels.
template <class Terms>
void FetchKeys(const LshTask& x, idx_t keys, idx_t slot) {
  const LshPlan& plan = x.plan;
  const idx_t stride = plan.row / Terms::kWidth;
  float* rows = x.scratch.rows + slot * plan.chunk * stride;
  GatherRows<Terms>(x, x.args.qk, x.Tokens(slot), keys, rows);
  PackTransposedPanels(rows, stride, keys, TermCount<Terms>(plan.D), Unchanged(),
                       x.scratch.key_panels + slot * x.KeyFloats());
}

// Rows of `array` (B, H, T, D) that belong to chunk c.
template <class Row>
void PrefetchChunk(const LshTask& x, idx_t c, const MixedView<Row>& array) {
  x.prefetch.Add(x.args.Tokens(x.head, c), array, x.b, x.h, x.plan.Keys(c));
}

// The same for what is known of its tokens.
inline void PrefetchTokens(const LshTask& x, idx_t c) {
  constexpr idx_t kFloats = sizeof(LshToken) / sizeof(float);
  x.prefetch.Add(x.args.Tokens(x.head, c), &x.args.Token(x.head, 0).square, kFloats, x.plan.Keys(c),
                 kFloats);
}

// The chunk that the next step of the walk gathers, or -1.
inline idx_t NextFetched(const LshTask& x) {
  const idx_t next = x.chunk + x.plan.after + 1;
  return next < std::min(x.last + x.plan.after, x.plan.chunks) ? next : -1;
}

// What queries of the current chunk may not see of chunk p.
inline LshHides HidesOf(const LshTask& x, idx_t p) {
  const LshPlan& plan = x.plan;
  if (plan.causal || !x.args.mask.empty() || plan.Keys(p) < plan.columns) return LshHides::kByBound;
  // Chunks of one round have no token in common.
  const bool apart = p != x.chunk && plan.Round(p) == plan.Round(x.chunk);
  return apart ? LshHides::kNothing : LshHides::kItself;
}

// Moves to chunk c and lists the slots of its window. `fetch(unwrapped, c, slot)` packs a chunk.
template <class Fetch>
void EnterChunk(LshTask& x, idx_t c, const Fetch& fetch) {
  const LshPlan& plan = x.plan;
  x.chunk = c;
  x.rows = plan.Keys(c);
  for (idx_t i = 0; i < plan.parts; ++i) {
    const idx_t unwrapped = plan.WindowChunk(c, i), p = plan.Wrap(unwrapped);
    const idx_t slot = RingSlot(x, unwrapped);
    x.scratch.part_slot[i] = slot;
    x.scratch.part_keys[i] = plan.Keys(p);
    x.scratch.part_hides[i] = HidesOf(x, p);
    if (i == plan.before) x.slot = slot;
    if (x.scratch.tag[slot] != unwrapped) fetch(unwrapped, p, slot);
  }
  x.prefetch.Clear();
}

// ---- products of a block ------------------------------------------------------------------------

// The x of the block's first row, as terms.
template <class Terms>
const float* Queries(const LshTask& x) {
  return x.scratch.rows + (x.slot * x.plan.chunk + x.block) * x.plan.row / Terms::kWidth;
}

// out[r, part i, j] = row r of the block of `a` . column j of the part's panels.
template <class Terms>
void BlockScores(const LshTask& x, const float* a, const float* panels, float* out) {
  const idx_t terms = TermCount<Terms>(x.plan.D), lda = x.plan.row / Terms::kWidth;
  for (idx_t i = 0; i < x.plan.parts; ++i) {
    const idx_t keys = x.scratch.part_keys[i];
    const float* b = panels + x.scratch.part_slot[i] * x.KeyFloats();
    for (idx_t first = 0; first < keys; first += kPanel, b += terms * kPanel) {
      for (idx_t r = 0; r < x.block_rows; r += kTileRows) {
        const TileTerm term{a + r * lda, b, terms};
        TileMultiply<false, Terms>(std::min(kTileRows, x.block_rows - r),
                                   std::min(kPanel, keys - first), &term, 1, lda, false,
                                   out + r * x.plan.score_stride + i * x.plan.columns + first,
                                   x.plan.score_stride, x.prefetch);
      }
    }
  }
}

// out (block rows, row) = P B summed over the parts; P (block rows, lda), B in panels.
template <class Terms>
void BlockProduct(const LshTask& x, const float* p, idx_t lda, const float* panels, float* out) {
  auto* terms = static_cast<TileTerm*>(x.scratch.terms);
  const idx_t parts = x.plan.parts;
  for (idx_t first = 0; first < x.plan.D; first += kPanel) {
    const idx_t n = std::min(kPanel, x.plan.D - first);
    for (idx_t r = 0; r < x.block_rows; r += kTileRows) {
      for (idx_t i = 0; i < parts; ++i) {
        const idx_t count = TermCount<Terms>(x.scratch.part_keys[i]);
        terms[i] = {p + r * lda + i * x.plan.columns / Terms::kWidth,
                    panels + x.scratch.part_slot[i] * x.RowFloats() + first * count, count};
      }
      TileMultiply<false, Terms>(std::min(kTileRows, x.block_rows - r), n, terms, parts, lda, false,
                                 out + r * x.plan.row + first, x.plan.row, x.prefetch);
    }
  }
}

// row *= dropout factors of row r of the block.
inline void DropBlockRow(const LshTask& x, idx_t r, float* row) {
  const LshPlan& plan = x.plan;
  const idx_t query =
      (plan.drawn.Head(x.b, x.h, plan.H) * plan.rounds + plan.Round(x.chunk)) * plan.T + x.Token(r);
  for (idx_t i = 0; i < plan.parts; ++i) {
    ApplyDropoutRow(plan.dropout, query * plan.window_slots + i * plan.chunk,
                    row + i * plan.columns, x.scratch.part_keys[i]);
  }
}

// ---- who sees whom ------------------------------------------------------------------------------

// What the columns of one part hold: aligned with its scores.
struct LshColumns {
  const std::int32_t *token, *bound;
  const float* factor;
};
inline LshColumns ColumnsOf(const LshTask& x, idx_t part) {
  const idx_t at = x.scratch.part_slot[part] * x.plan.columns;
  return {x.scratch.token + at, x.scratch.bound + at, x.scratch.factor + at};
}

// Columns [j, j + lanes) that token t sees nothing of: hidden, later, or itself.
template <class Query>
HWY_INLINE hn::Mask<TileTag> Unseen(const LshColumns& columns, idx_t j, const Query& query) {
  const TileTag d;
  const hn::RebindToSigned<TileTag> di;
  const auto later = hn::Gt(hn::LoadU(di, columns.bound + j), query);
  const auto itself = hn::Eq(hn::LoadU(di, columns.token + j), query);
  return hn::RebindMask(d, hn::Or(later, itself));
}

// v of columns [j, j + lanes), but 0 where token t sees nothing.
template <LshHides kHides, class Query>
HWY_INLINE hn::Vec<TileTag> Shown(const LshColumns& columns, idx_t j, const Query& query,
                                  hn::Vec<TileTag> v) {
  const TileTag d;
  const hn::RebindToSigned<TileTag> di;
  if constexpr (kHides == LshHides::kNothing) {
    return v;
  } else if constexpr (kHides == LshHides::kItself) {
    const auto itself = hn::Eq(hn::LoadU(di, columns.token + j), query);
    return hn::IfThenZeroElse(hn::RebindMask(d, itself), v);
  } else {
    return hn::IfThenZeroElse(Unseen(columns, j, query), v);
  }
}

// Calls use.operator()<hides>() for what a part of the window hides.
template <class Use>
HWY_INLINE void WithHides(LshHides hides, const Use& use) {
  switch (hides) {
    case LshHides::kNothing:
      return use.template operator()<LshHides::kNothing>();
    case LshHides::kItself:
      return use.template operator()<LshHides::kItself>();
    case LshHides::kByBound:
      return use.template operator()<LshHides::kByBound>();
  }
}

// row := 1 where token t meets itself, else 0: the weights of a token that sees nobody. Returns how
// often it does.
inline float WeighItself(const LshTask& x, std::int32_t t, float* row) {
  float count = 0.0f;
  for (idx_t i = 0; i < x.plan.parts; ++i) {
    const LshColumns columns = ColumnsOf(x, i);
    for (idx_t j = 0; j < x.plan.columns; ++j) {
      const float weight = columns.token[j] == t ? 1.0f : 0.0f;
      row[i * x.plan.columns + j] = weight;
      count += weight;
    }
  }
  return count;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_LSH_TASK_INL_H_
