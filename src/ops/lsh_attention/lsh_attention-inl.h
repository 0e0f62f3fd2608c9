// LSH attention, one task: one head's run of chunks in one round, fp32.
//
//   x = qk, v, out (T, D) of one head, any row stride; max, sum (T); order (R, T).
// Work: 4 D flop per query and key of its window forward, 10 D + 4 D (recomputed scores) backward.
// A chunk is gathered, normalised and packed once per task that sees it. Nothing sorted is stored:
// each block of queries is merged into out, max and sum of its tokens, in their own order.
// Route: window -> ring slots; per block of query rows: scores, masks by token, softmax, products.

// Included once for every target.
#if defined(LONGSPAN_OPS_LSH_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_LSH_ATTENTION_INL_H_
#undef LONGSPAN_OPS_LSH_ATTENTION_INL_H_
#else
#define LONGSPAN_OPS_LSH_ATTENTION_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "base/math.h"
#include "ops/lsh_attention/lsh_attention.h"
#include "simd/philox-inl.h"
#include "simd/row_prefetcher.h"
#include "simd/shared_key-inl.h"
#include "simd/softmax-inl.h"
#include "simd/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One task's view of the problem, and the window it stands at.
struct LshTask {
  const LshArguments& args;
  const LshPlan& plan;
  const LshScratch& scratch;
  RowPrefetcher& prefetch;
  idx_t phase, task, b, h, first, last;  // chunks [first, last)
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
        b(number / plan.runs / plan.H),
        h(number / plan.runs % plan.H),
        first(plan.FirstChunk(phase, number % plan.runs)),
        last(plan.LastChunk(phase, number % plan.runs)) {}

  idx_t KeyFloats() const { return RoundUp(plan.chunk, LshPlan::kPanelUnit) * plan.D; }
  idx_t RowFloats() const { return plan.chunk * RoundUp(plan.D, LshPlan::kPanelUnit); }
  idx_t GradientFloats() const { return plan.columns * plan.row; }
  const std::int32_t* Tokens(idx_t s) const { return scratch.token + s * plan.columns; }
  // Token of row r of the block, and its x.
  idx_t Token(idx_t r) const { return Tokens(slot)[block + r]; }
  const float* Queries() const { return scratch.rows + (slot * plan.chunk + block) * plan.row; }
  bool FirstRound() const { return plan.Round(chunk) == 0; }
  bool LastRound() const { return plan.Round(chunk) == plan.rounds - 1; }
};

// ---- the window ---------------------------------------------------------------------------------

// The slot of the ring that belongs to an unwrapped chunk number.
inline idx_t RingSlot(const LshTask& x, idx_t unwrapped) {
  if (x.plan.ring == x.plan.chunks) return unwrapped;
  return (unwrapped - (x.first - x.plan.before)) % x.plan.ring;
}

// Tokens and bounds of a chunk's slot.
inline void FetchTokens(const LshTask& x, idx_t c, idx_t slot) {
  constexpr std::int32_t kAlways = std::numeric_limits<std::int32_t>::min();
  constexpr std::int32_t kNever = std::numeric_limits<std::int32_t>::max();
  const std::int32_t* tokens = x.args.Tokens(x.b, x.h, c);
  const idx_t keys = x.plan.Keys(c);
  std::int32_t* token = x.scratch.token + slot * x.plan.columns;
  std::int32_t* bound = x.scratch.bound + slot * x.plan.columns;
  for (idx_t j = 0; j < keys; ++j) {
    const std::int32_t t = tokens[j];
    const bool hidden = !x.args.mask.empty() && x.args.mask(x.b, t) == 0;
    token[j] = t;
    bound[j] = hidden ? kNever : (x.plan.causal ? t : kAlways);
  }
  std::fill(token + keys, token + x.plan.columns, -1);
  std::fill(bound + keys, bound + x.plan.columns, kNever);
}

// x of a chunk into its slot: as rows, and as keys in transposed panels. Leaves the keys in
// `gathered`.
inline void FetchKeys(const LshTask& x, idx_t keys, idx_t slot) {
  const LshPlan& plan = x.plan;
  const std::int32_t* token = x.Tokens(slot);
  float* rows = x.scratch.rows + slot * plan.chunk * plan.row;
  for (idx_t j = 0; j < keys; ++j) {
    std::copy_n(&x.args.qkv.qk(x.b, x.h, token[j], 0), plan.D, rows + j * plan.row);
    SharedKey(rows + j * plan.row, plan.D, x.scratch.gathered + j * plan.row);
  }
  PackTransposedPanels(x.scratch.gathered, plan.row, keys, plan.D, Unchanged(),
                       x.scratch.key_panels + slot * x.KeyFloats());
}

inline void GatherValues(const LshTask& x, idx_t keys, idx_t slot) {
  const std::int32_t* token = x.Tokens(slot);
  for (idx_t j = 0; j < keys; ++j) {
    std::copy_n(&x.args.qkv.v(x.b, x.h, token[j], 0), x.plan.D,
                x.scratch.gathered + j * x.plan.row);
  }
}

// Rows of `array` (B, H, T, D) that belong to chunk c.
template <class T>
void PrefetchChunk(const LshTask& x, idx_t c, const View<T, 4>& array) {
  x.prefetch.Add(x.args.Tokens(x.b, x.h, c), &array(x.b, x.h, 0, 0), array.stride[2],
                 x.plan.Keys(c), x.plan.D);
}

// The chunk that the next step of the walk gathers, or -1.
inline idx_t NextFetched(const LshTask& x) {
  const idx_t next = x.chunk + x.plan.after + 1;
  return next < std::min(x.last + x.plan.after, x.plan.chunks) ? next : -1;
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
    if (i == plan.before) x.slot = slot;
    if (x.scratch.tag[slot] != unwrapped) fetch(unwrapped, p, slot);
  }
  x.prefetch.Clear();
}

// ---- pieces of a block --------------------------------------------------------------------------

// out[r, part i, j] = row r of the block of `a` . column j of the part's panels.
inline void BlockScores(const LshTask& x, const float* a, const float* panels, float* out) {
  for (idx_t i = 0; i < x.plan.parts; ++i) {
    const idx_t keys = x.scratch.part_keys[i];
    const float* b = panels + x.scratch.part_slot[i] * x.KeyFloats();
    for (idx_t first = 0; first < keys; first += kPanel, b += x.plan.D * kPanel) {
      for (idx_t r = 0; r < x.block_rows; r += kTileRows) {
        const TileTerm term{a + r * x.plan.row, b, x.plan.D};
        TileMultiply<false>(std::min(kTileRows, x.block_rows - r), std::min(kPanel, keys - first),
                            &term, 1, x.plan.row, false,
                            out + r * x.plan.score_stride + i * x.plan.columns + first,
                            x.plan.score_stride, x.prefetch);
      }
    }
  }
}

// Masks one part of the scores of token t and returns their maximum, at least `max`.
inline float MaskPart(const std::int32_t* HWY_RESTRICT token,
                      const std::int32_t* HWY_RESTRICT bound, idx_t columns, std::int32_t t,
                      float max, float* HWY_RESTRICT scores) {
  const TileTag d;
  const hn::RebindToSigned<TileTag> di;
  const auto query = hn::Set(di, t);
  const auto hidden = hn::Set(d, kHiddenScore), self = hn::Set(d, kSelfScore);
  auto most = hn::Set(d, max);
  for (idx_t j = 0; j < columns; j += kTileLanes) {
    const auto hide = hn::RebindMask(d, hn::Gt(hn::LoadU(di, bound + j), query));
    const auto itself = hn::RebindMask(d, hn::Eq(hn::LoadU(di, token + j), query));
    auto s = hn::IfThenElse(hide, hidden, hn::LoadU(d, scores + j));
    s = hn::IfThenElse(itself, self, s);
    hn::StoreU(s, d, scores + j);
    most = hn::Max(most, s);
  }
  return hn::GetLane(hn::MaxOfLanes(d, most));
}

// Masks all parts of row r of the block; returns the maximum.
inline float MaskBlockRow(const LshTask& x, idx_t r, float* scores) {
  const auto t = static_cast<std::int32_t>(x.Token(r));
  float max = kHiddenScore;
  for (idx_t i = 0; i < x.plan.parts; ++i) {
    const idx_t at = x.scratch.part_slot[i] * x.plan.columns;
    max = MaskPart(x.scratch.token + at, x.scratch.bound + at, x.plan.columns, t, max,
                   scores + i * x.plan.columns);
  }
  return max;
}

// row *= dropout factors of row r of the block.
inline void DropBlockRow(const LshTask& x, idx_t r, float* row) {
  const LshPlan& plan = x.plan;
  const idx_t query =
      ((x.b * plan.H + x.h) * plan.rounds + plan.Round(x.chunk)) * plan.T + x.Token(r);
  for (idx_t i = 0; i < plan.parts; ++i) {
    ApplyDropoutRow(plan.dropout, query * plan.window_slots + i * plan.chunk,
                    row + i * plan.columns, x.scratch.part_keys[i]);
  }
}

// out (block rows, row) = P B summed over the parts; P (block rows, score_stride), B in panels.
inline void BlockProduct(const LshTask& x, const float* p, const float* panels, float* out) {
  auto* terms = static_cast<TileTerm*>(x.scratch.terms);
  const idx_t parts = x.plan.parts;
  for (idx_t first = 0; first < x.plan.D; first += kPanel) {
    const idx_t n = std::min(kPanel, x.plan.D - first);
    for (idx_t r = 0; r < x.block_rows; r += kTileRows) {
      for (idx_t i = 0; i < parts; ++i) {
        const idx_t keys = x.scratch.part_keys[i];
        terms[i] = {p + r * x.plan.score_stride + i * x.plan.columns,
                    panels + x.scratch.part_slot[i] * x.RowFloats() + first * keys, keys};
      }
      TileMultiply<false>(std::min(kTileRows, x.block_rows - r), n, terms, parts,
                          x.plan.score_stride, false, out + r * x.plan.row + first, x.plan.row,
                          x.prefetch);
    }
  }
}

// ---- forward ------------------------------------------------------------------------------------

// y = alpha y + x
inline void ScaleAddRow(const float* HWY_RESTRICT x, float alpha, float* HWY_RESTRICT y, idx_t n) {
  const TileTag d;
  const auto a = hn::Set(d, alpha);
  for (idx_t i = 0; i < n; i += kTileLanes) {
    StoreTail(hn::MulAdd(a, LoadTail(y + i, n - i), LoadTail(x + i, n - i)), y + i, n - i);
  }
}

// Weights of row r before normalisation, in place, and the running max and sum of its token.
// Returns what the sums of earlier rounds shrink by.
inline float ForwardRow(const LshTask& x, idx_t r, float* row) {
  const idx_t t = x.Token(r);
  float& max = x.args.saved.max(x.b, x.h, t);
  float& sum = x.args.saved.sum(x.b, x.h, t);
  const float mine = MaskBlockRow(x, r, row);
  const float most = x.FirstRound() ? mine : std::max(mine, max);
  const float shrink = x.FirstRound() ? 0.0f : std::exp(max - most);
  const float added = ExpRow(row, x.plan.parts * x.plan.columns, most);
  sum = x.FirstRound() ? added : shrink * sum + added;
  max = most;
  if (x.plan.dropout.active()) DropBlockRow(x, r, row);
  return shrink;
}

// Forward of one block of query rows: merged into the tokens' out, max and sum.
inline void ForwardBlock(const LshTask& x) {
  const LshScratch& s = x.scratch;
  BlockScores(x, x.Queries(), s.key_panels, s.scores);
  for (idx_t r = 0; r < x.block_rows; ++r) {
    const float shrink = ForwardRow(x, r, s.scores + r * x.plan.score_stride);
    float* out = &x.args.saved.out(x.b, x.h, x.Token(r), 0);
    if (!x.FirstRound() && shrink != 1.0f) ScaleRow(out, shrink, out, x.plan.D);
  }
  BlockProduct(x, s.scores, s.value_panels, s.output);
  for (idx_t r = 0; r < x.block_rows; ++r) {
    const idx_t t = x.Token(r);
    const float* product = s.output + r * x.plan.row;
    float* out = &x.args.saved.out(x.b, x.h, t, 0);
    const float inverse = x.LastRound() ? 1.0f / x.args.saved.sum(x.b, x.h, t) : 1.0f;
    if (x.FirstRound()) {
      ScaleRow(product, inverse, out, x.plan.D);
    } else {
      AddRow(product, out, x.plan.D);
      if (x.LastRound()) ScaleRow(out, inverse, out, x.plan.D);
    }
  }
}

// Forward of one task of a phase.
inline void LshForwardTask(const LshArguments& args, const LshScratch& scratch, idx_t phase,
                           idx_t task) {
  RowPrefetcher prefetch;
  LshTask x(args, scratch, prefetch, phase, task);
  const LshPlan& plan = args.plan;
  std::fill_n(scratch.tag, plan.ring, LshScratch::kEmpty);
  const auto fetch = [&x](idx_t unwrapped, idx_t c, idx_t slot) HWY_ATTR {
    const idx_t keys = x.plan.Keys(c);
    x.scratch.tag[slot] = unwrapped;
    FetchTokens(x, c, slot);
    FetchKeys(x, keys, slot);
    GatherValues(x, keys, slot);
    PackPanels(x.scratch.gathered, x.plan.row, keys, x.plan.D,
               x.scratch.value_panels + slot * x.RowFloats());
  };
  for (idx_t c = x.first; c < x.last; ++c) {
    EnterChunk(x, c, fetch);
    if (!x.FirstRound()) PrefetchChunk(x, c, args.saved.out);
    if (const idx_t next = NextFetched(x); next >= 0) {
      PrefetchChunk(x, next, args.qkv.qk);
      PrefetchChunk(x, next, args.qkv.v);
    }
    for (x.block = 0; x.block < x.rows; x.block += plan.block) {
      x.block_rows = std::min(plan.block, x.rows - x.block);
      ForwardBlock(x);
    }
  }
}

// ---- backward -----------------------------------------------------------------------------------

// delta = dout . out for tokens [begin, end) of head (b, h).
inline void LshDeltaTask(const LshArguments& args, idx_t b, idx_t h, idx_t begin, idx_t end) {
  for (idx_t t = begin; t < end; ++t) {
    args.Delta(b, h, t) = DotRow(&args.dout(b, h, t, 0), &args.saved.out(b, h, t, 0), args.plan.D);
  }
}

// Row r of the block: scores := weights after dropout, dscores := gradient of the scores.
inline void BackwardRow(const LshTask& x, idx_t r, float* row, float* drow) {
  const idx_t t = x.Token(r), n = x.plan.parts * x.plan.columns;
  MaskBlockRow(x, r, row);
  if (x.plan.dropout.active()) {
    DropBlockRow(x, r, drow);  // out = (p f) v: dp = f (dout . v)
  }
  for (idx_t i = 0; i < x.plan.parts; ++i) {  // no product wrote beyond the keys
    const idx_t keys = x.scratch.part_keys[i];
    FillRow(drow + i * x.plan.columns, keys, x.plan.columns, 0.0f);
  }
  const float max = x.args.saved.max(x.b, x.h, t);
  SharedSoftmaxBackwardRow(row, drow, n, max, 1.0f / x.args.saved.sum(x.b, x.h, t),
                           x.args.Delta(x.b, x.h, t), max == kSelfScore);
  if (x.plan.dropout.active()) DropBlockRow(x, r, row);
}

// gradient (keys, row) of each part's slot += weights^T rows, the rows of the block in panels.
inline void BlockTransposedProduct(const LshTask& x, const float* weights, const float* panels,
                                   float* gradient) {
  const idx_t stride = x.plan.score_stride;
  for (idx_t i = 0; i < x.plan.parts; ++i) {
    const idx_t keys = x.scratch.part_keys[i];
    float* out = gradient + x.scratch.part_slot[i] * x.GradientFloats();
    for (idx_t first = 0; first < x.plan.D; first += kPanel) {
      for (idx_t j = 0; j < keys; j += kTileRows) {
        const TileTerm term{weights + i * x.plan.columns + j, panels + first * x.block_rows,
                            x.block_rows};
        TileMultiply<true>(std::min(kTileRows, keys - j), std::min(kPanel, x.plan.D - first), &term,
                           1, stride, true, out + j * x.plan.row + first, x.plan.row);
      }
    }
  }
}

// Backward of one block of query rows.
inline void BackwardBlock(const LshTask& x) {
  const LshScratch& s = x.scratch;
  const LshPlan& plan = x.plan;
  for (idx_t r = 0; r < x.block_rows; ++r) {
    std::copy_n(&x.args.dout(x.b, x.h, x.Token(r), 0), plan.D, s.dout_rows + r * plan.row);
  }
  // scores = q k^T;  dscores = d loss / d weights = dout v^T
  BlockScores(x, x.Queries(), s.key_panels, s.scores);
  BlockScores(x, s.dout_rows, s.value_panels, s.dscores);
  for (idx_t r = 0; r < x.block_rows; ++r) {
    BackwardRow(x, r, s.scores + r * plan.score_stride, s.dscores + r * plan.score_stride);
  }
  // scores = q k^T:  dq = dscores k, dk = dscores^T q
  BlockProduct(x, s.dscores, s.key_rows, s.output);
  for (idx_t r = 0; r < x.block_rows; ++r) {
    AddRow(s.output + r * plan.row, &x.args.gradients.dqk(x.b, x.h, x.Token(r), 0), plan.D);
  }
  PackPanels(x.Queries(), plan.row, x.block_rows, plan.D, s.query_panels);
  BlockTransposedProduct(x, s.dscores, s.query_panels, s.dk);
  // out = weights v:  dv = weights^T dout
  PackPanels(s.dout_rows, plan.row, x.block_rows, plan.D, s.dout_panels);
  BlockTransposedProduct(x, s.scores, s.dout_panels, s.dv);
}

// Adds dk, dv (keys, row) of a chunk's keys to the gradients of its tokens.
inline void ScatterGradients(const LshArguments& args, idx_t b, idx_t h, idx_t c, const float* dk,
                             const float* dv) {
  const LshPlan& plan = args.plan;
  const std::int32_t* tokens = args.Tokens(b, h, c);
  for (idx_t j = 0; j < plan.Keys(c); ++j) {
    const idx_t t = tokens[j];
    SharedKeyBackward(&args.qkv.qk(b, h, t, 0), dk + j * plan.row, plan.D,
                      &args.gradients.dqk(b, h, t, 0));
    AddRow(dv + j * plan.row, &args.gradients.dv(b, h, t, 0), plan.D);
  }
}

// Adds the dk, dv of a ring slot to the caller's, when this task owns the chunk, else leaves them
// in the task's side buffer.
inline void RetireSlot(const LshTask& x, idx_t slot) {
  const LshPlan& plan = x.plan;
  const idx_t unwrapped = x.scratch.tag[slot];
  if (unwrapped == LshScratch::kEmpty) return;
  const float* dk = x.scratch.dk + slot * x.GradientFloats();
  const float* dv = x.scratch.dv + slot * x.GradientFloats();
  const idx_t c = plan.Wrap(unwrapped);
  if (x.first <= c && c < x.last) {
    ScatterGradients(x.args, x.b, x.h, c, dk, dv);
    return;
  }
  const idx_t halo =
      unwrapped < x.first ? unwrapped - (x.first - plan.before) : unwrapped - x.last + plan.before;
  const idx_t floats = plan.Keys(c) * plan.row;
  std::copy_n(dk, floats, x.args.Side(x.task, halo, 0));
  std::copy_n(dv, floats, x.args.Side(x.task, halo, 1));
  x.args.side_used[x.task * plan.halo + halo] = 1;
}

// Backward of one task of a phase: everything of its own chunks' tokens, its halo on the side.
inline void LshBackwardTask(const LshArguments& args, const LshScratch& scratch, idx_t phase,
                            idx_t task) {
  RowPrefetcher prefetch;
  LshTask x(args, scratch, prefetch, phase, task);
  const LshPlan& plan = args.plan;
  std::fill_n(scratch.tag, plan.ring, LshScratch::kEmpty);
  if (plan.halo > 0) std::fill_n(args.side_used + task * plan.halo, plan.halo, std::uint8_t{0});
  const auto fetch = [&x](idx_t unwrapped, idx_t c, idx_t slot) HWY_ATTR {
    const LshScratch& s = x.scratch;
    const idx_t keys = x.plan.Keys(c);
    RetireSlot(x, slot);
    s.tag[slot] = unwrapped;
    FetchTokens(x, c, slot);
    FetchKeys(x, keys, slot);
    PackPanels(s.gathered, x.plan.row, keys, x.plan.D, s.key_rows + slot * x.RowFloats());
    GatherValues(x, keys, slot);
    PackTransposedPanels(s.gathered, x.plan.row, keys, x.plan.D, Unchanged(),
                         s.value_panels + slot * x.KeyFloats());
    std::fill_n(s.dk + slot * x.GradientFloats(), x.GradientFloats(), 0.0f);
    std::fill_n(s.dv + slot * x.GradientFloats(), x.GradientFloats(), 0.0f);
  };
  for (idx_t c = x.first; c < x.last; ++c) {
    EnterChunk(x, c, fetch);
    PrefetchChunk(x, c, args.gradients.dqk);
    if (const idx_t next = NextFetched(x); next >= 0) {
      PrefetchChunk(x, next, args.qkv.qk);
      PrefetchChunk(x, next, args.qkv.v);
    }
    if (c + 1 < x.last) PrefetchChunk(x, c + 1, args.dout);
    PrefetchChunk(x, c, args.gradients.dv);
    for (x.block = 0; x.block < x.rows; x.block += plan.block) {
      x.block_rows = std::min(plan.block, x.rows - x.block);
      BackwardBlock(x);
    }
  }
  for (idx_t slot = 0; slot < plan.ring; ++slot) RetireSlot(x, slot);
}

// After a phase's tasks: adds what the runs left on the side, in the order of runs. First what
// belongs to the phase's own round, task by task: every such chunk has one owner.
inline void LshSideTask(const LshArguments& args, idx_t phase, idx_t task) {
  const LshPlan& plan = args.plan;
  const idx_t b = task / plan.runs / plan.H, h = task / plan.runs % plan.H;
  const idx_t run = task % plan.runs, head = task - run;
  const idx_t first = plan.FirstChunk(phase, run), last = plan.LastChunk(phase, run);
  for (idx_t r = 0; r < plan.runs; ++r) {
    for (idx_t slot = 0; slot < plan.halo; ++slot) {
      const idx_t c = plan.Wrap(plan.HaloChunk(phase, r, slot));
      if (c < first || c >= last || args.side_used[(head + r) * plan.halo + slot] == 0) continue;
      ScatterGradients(args, b, h, c, args.Side(head + r, slot, 0), args.Side(head + r, slot, 1));
    }
  }
}

// Then what belongs to neighbouring rounds, whose tokens are the same ones: one task per head.
inline void LshOtherRoundsTask(const LshArguments& args, idx_t phase, idx_t bh) {
  const LshPlan& plan = args.plan;
  for (idx_t r = 0; r < plan.runs; ++r) {
    const idx_t task = bh * plan.runs + r;
    for (idx_t slot = 0; slot < plan.halo; ++slot) {
      const idx_t c = plan.Wrap(plan.HaloChunk(phase, r, slot));
      if (plan.Round(c) == phase || args.side_used[task * plan.halo + slot] == 0) continue;
      ScatterGradients(args, bh / plan.H, bh % plan.H, c, args.Side(task, slot, 0),
                       args.Side(task, slot, 1));
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_LSH_ATTENTION_INL_H_
