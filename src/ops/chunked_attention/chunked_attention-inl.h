// Chunked attention, one task: one head's run of chunks.
//
//   q, k, v, out (T, D) of one head, fp32 or bf16, any row stride; lse (T).
// Terms: what products multiply, floats or pairs of bf16 (simd/bf16-inl.h).
// Work: 4 D flop per query and key of its window forward, 10 D + 4 D (recomputed scores) backward;
// keys that lie wholly in the causal future cost nothing. A key chunk is packed once per task.
// Route: window -> parts that take part; per block of query rows: scores, softmax, products.
// Rows of a tile share their limits, so masks touch only the chunk on the diagonal, the short last
// chunk and chunks with hidden keys. Scores lie part beside part; the diagonal one comes last.

// Included once for every target.
#if defined(LONGSPAN_OPS_CHUNKED_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_CHUNKED_ATTENTION_INL_H_
#undef LONGSPAN_OPS_CHUNKED_ATTENTION_INL_H_
#else
#define LONGSPAN_OPS_CHUNKED_ATTENTION_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "base/math.h"
#include "ops/chunked_attention/chunked_attention.h"
#include "simd/bf16-inl.h"
#include "simd/philox-inl.h"
#include "simd/row_prefetcher.h"
#include "simd/softmax-inl.h"
#include "simd/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One task's view of the problem, and the window it stands at.
struct ChunkedTask {
  const ChunkedArguments& args;
  const ChunkedPlan& plan;
  const ChunkedScratch& scratch;
  RowPrefetcher& prefetch;  // what the next chunk reads and this one writes
  idx_t task, b, h, run;
  // The current chunk.
  idx_t chunk = 0;  // its number
  idx_t begin = 0;  // its first token
  idx_t at = 0;     // where that lies
  idx_t rows = 0;   // its tokens
  idx_t parts = 0;  // of its window that take part
  idx_t blind = 0;  // its first rows that see no key at all
  // The current block of query rows.
  idx_t block = 0;  // first row inside of the chunk
  idx_t block_rows = 0;

  ChunkedTask(const ChunkedArguments& arguments, const ChunkedScratch& memory,
              RowPrefetcher& prefetcher, idx_t number)
      : args(arguments),
        plan(arguments.plan),
        scratch(memory),
        prefetch(prefetcher),
        task(number),
        b(number / plan.runs / plan.H),
        h(number / plan.runs % plan.H),
        run(number % plan.runs) {}

  idx_t KeyFloats() const { return RoundUp(plan.chunk, ChunkedPlan::kPanelUnit) * plan.D; }
  idx_t RowFloats() const { return plan.chunk * RoundUp(plan.D, ChunkedPlan::kPanelUnit); }
  idx_t GradientFloats() const { return plan.columns * plan.row; }
  float* KeyPanels(idx_t slot) const { return scratch.key_panels + slot * KeyFloats(); }

  // Keys of a part that row r of the chunk may look at (the key mask aside). Rows without any
  // visible key weigh all.
  idx_t Limit(const ChunkedPart& part, idx_t r) const {
    if (!plan.causal || r < blind) return part.keys;
    return std::clamp<idx_t>(begin + r - part.position + 1, 0, part.keys);
  }
  // The same for rows [r, r + m): the largest of them. Blind rows come first, then it rises.
  idx_t Limit(const ChunkedPart& part, idx_t r, idx_t m) const {
    return std::max(Limit(part, r), Limit(part, r + m - 1));
  }
};

// ---- the window ---------------------------------------------------------------------------------

// The slot of the ring that belongs to an unwrapped chunk number.
inline idx_t RingSlot(const ChunkedTask& x, idx_t unwrapped) {
  if (x.plan.whole) return unwrapped;
  return (unwrapped - (x.plan.FirstChunk(x.run) - x.plan.before)) % x.plan.ring;
}

// The weight of every key for a blind row.
inline float BlindWeight(const ChunkedTask& x) {
  idx_t keys = 0;
  for (idx_t i = 0; i < x.parts; ++i) keys += x.scratch.parts[i].keys;
  return 1.0f / static_cast<float>(keys);
}

// Moves to chunk c and lists the parts of its window that some row looks at. `fetch` packs a chunk
// into its slot of the ring.
template <class Fetch>
void EnterChunk(ChunkedTask& x, idx_t c, const Fetch& fetch) {
  const ChunkedPlan& plan = x.plan;
  x.chunk = c;
  x.begin = c * plan.chunk;
  x.at = plan.QueryAt(x.begin);
  x.rows = plan.Keys(c);
  x.blind = x.args.BlindRows(x.b, c);
  x.parts = 0;
  for (const bool own : {false, true}) {  // the diagonal last
    for (idx_t i = 0; i < plan.parts; ++i) {
      const idx_t unwrapped = plan.WindowChunk(c, i), p = plan.Wrap(unwrapped);
      if ((p == c) != own) continue;
      const idx_t room = plan.Room(unwrapped), number = x.b * plan.Rooms() + room;
      const bool future = plan.causal && p > c;
      const bool none = x.args.first_visible != nullptr && x.args.first_visible[number] == plan.T;
      if ((future || none) && x.blind == 0) continue;
      ChunkedPart& part = x.scratch.parts[x.parts++];
      part.slot = RingSlot(x, unwrapped);
      part.position = p * plan.chunk;
      part.at = plan.KeyAt(room);
      part.keys = plan.Keys(p);
      part.window_slot = i * plan.chunk;
      part.masked = x.args.masked != nullptr && x.args.masked[number] != 0;
      fetch(unwrapped, part);
    }
  }
}

// The rows of chunk c, which lie from `at` on.
template <class Row>
void PrefetchChunk(const ChunkedTask& x, idx_t c, idx_t at, const MixedView<Row>& array) {
  x.prefetch.Add(array, x.b, x.h, at, x.plan.Keys(c));
}

inline void PrefetchKeys(const ChunkedTask& x, idx_t c) {
  const idx_t at = x.plan.KeyAt(x.plan.Room(c));
  PrefetchChunk(x, c, at, x.args.k);
  PrefetchChunk(x, c, at, x.args.v);
}

// The next chunk that the walk packs, or -1.
inline idx_t NextFetched(const ChunkedTask& x) {
  const idx_t next = x.chunk + x.plan.after + 1;
  return next < std::min(x.plan.LastChunk(x.run) + x.plan.after, x.plan.chunks) ? next : -1;
}

// Tokens of a chunk, rows of `count` from t on, times a factor if they are bf16; see RowsOf.
template <class Terms>
const float* ChunkRows(const ChunkedTask& x, const InView& array, idx_t t, idx_t count,
                       float factor, float* room, idx_t* stride) {
  return RowsOf<Terms>(array, x.b, x.h, t, count, factor, x.plan.row, room, stride);
}

// Packs what both directions need: scale * K^T and which keys are visible.
template <class Terms>
void PackKeys(const ChunkedTask& x, const ChunkedPart& part) {
  idx_t stride = 0;
  const float* k =
      ChunkRows<Terms>(x, x.args.k, part.at, part.keys, x.plan.scale, x.scratch.rows, &stride);
  float* panels = x.KeyPanels(part.slot);
  if (x.plan.bf16) {
    PackTransposedPanels(k, stride, part.keys, TermCount<Terms>(x.plan.D), Unchanged(), panels);
  } else {
    PackTransposedPanels(k, stride, part.keys, x.plan.D, Multiplied{x.plan.scale}, panels);
  }
  if (!part.masked) return;
  float* visible = x.scratch.visible + part.slot * x.plan.columns;
  const std::uint8_t* mask = &x.args.mask(x.b, part.at);
  for (idx_t j = 0; j < x.plan.columns; ++j) {
    visible[j] = j < part.keys && mask[j] != 0 ? 1.0f : 0.0f;
  }
}

// Panels of channels of the part's rows of an array.
template <class Terms>
void PackPart(const ChunkedTask& x, const ChunkedPart& part, const InView& array, float* panels) {
  idx_t stride = 0;
  const float* rows = ChunkRows<Terms>(x, array, part.at, part.keys, 1.0f, x.scratch.rows, &stride);
  PackRows<Terms>(rows, stride, part.keys, x.plan.D, TermCount<Terms>(part.keys),
                  panels + part.slot * x.RowFloats());
}

// ---- pieces of a block --------------------------------------------------------------------------

// out[r, part i, j] = row r of the block of `a` . column j of the part's panels.
template <class Terms>
void BlockScores(const ChunkedTask& x, const float* a, idx_t stride, const float* panels,
                 float* out) {
  const idx_t terms = TermCount<Terms>(x.plan.D);
  for (idx_t i = 0; i < x.parts; ++i) {
    const ChunkedPart& part = x.scratch.parts[i];
    const float* b = panels + part.slot * x.KeyFloats();
    for (idx_t first = 0; first < part.keys; first += kPanel, b += terms * kPanel) {
      for (idx_t r = 0; r < x.block_rows; r += kTileRows) {
        const idx_t m = std::min(kTileRows, x.block_rows - r);
        const idx_t n = std::min(kPanel, x.Limit(part, x.block + r, m) - first);
        if (n <= 0) continue;
        const TileTerm term{a + r * stride, b, terms};
        TileMultiply<false, Terms>(m, n, &term, 1, stride, false,
                                   out + r * x.plan.score_stride + i * x.plan.columns + first,
                                   x.plan.score_stride, x.prefetch);
      }
    }
  }
}

// Hides what row r of the chunk may not see, up to `end` columns of part i.
inline void HidePart(const ChunkedTask& x, idx_t i, idx_t r, idx_t end, float* scores) {
  const ChunkedPart& part = x.scratch.parts[i];
  const idx_t limit = x.Limit(part, r);
  if (limit < end) FillRow(scores, limit, end, kHiddenScore);
  if (part.masked) {
    HideRow(scores, x.scratch.visible + part.slot * x.plan.columns, RoundUp(limit, kTileLanes));
  }
}

// row[j] *= dropout factor of key j of part i for row r of the chunk, j < n.
inline void DropPart(const ChunkedTask& x, idx_t i, idx_t r, idx_t n, float* row) {
  const idx_t query = x.plan.drawn.Head(x.b, x.h, x.plan.H) * x.plan.T + x.begin + r;
  ApplyDropoutRow(x.plan.dropout, query * x.plan.window_slots + x.scratch.parts[i].window_slot, row,
                  n);
}

// out (block rows, row) = P B summed over the parts; P (block rows, lda), B in panels.
template <class Terms>
void BlockProduct(const ChunkedTask& x, const float* p, idx_t lda, const float* panels,
                  float* out) {
  auto* terms = static_cast<TileTerm*>(x.scratch.terms);
  for (idx_t first = 0; first < x.plan.D; first += kPanel) {
    const idx_t n = std::min(kPanel, x.plan.D - first);
    for (idx_t r = 0; r < x.block_rows; r += kTileRows) {
      const idx_t m = std::min(kTileRows, x.block_rows - r);
      idx_t count = 0;
      for (idx_t i = 0; i < x.parts; ++i) {
        const ChunkedPart& part = x.scratch.parts[i];
        const idx_t limit = x.Limit(part, x.block + r, m);
        if (limit == 0) continue;
        terms[count++] = {p + r * lda + i * x.plan.columns / Terms::kWidth,
                          panels + part.slot * x.RowFloats() + first * TermCount<Terms>(part.keys),
                          TermCount<Terms>(limit)};
      }
      TileMultiply<false, Terms>(m, n, terms, count, lda, false, out + r * x.plan.row + first,
                                 x.plan.row, x.prefetch);
    }
  }
}

// ---- forward ------------------------------------------------------------------------------------

// Weights of row r of the chunk before normalisation, in place; returns their sum.
// `limits`: columns of each part that the tile's products read.
template <class Terms>
float ForwardRow(const ChunkedTask& x, idx_t r, const idx_t* limits, float* row, float* lse) {
  const idx_t last = x.parts - 1;
  const idx_t total = last * x.plan.columns + RoundUp(limits[last], kTileLanes);
  const bool blind = r < x.blind, drops = x.plan.dropout.active();
  float sum = 0.0f;
  if (blind) {  // every existing key weighs the same
    for (idx_t i = 0; i < x.parts; ++i) {
      const idx_t keys = x.scratch.parts[i].keys;
      FillRow(row + i * x.plan.columns, 0, RoundUp(keys, kTileLanes), 1.0f);
      sum += static_cast<float>(keys);
    }
    *lse = std::log(sum);
  } else {
    for (idx_t i = 0; i < x.parts; ++i) {
      const idx_t end = i == last ? RoundUp(limits[i], kTileLanes) : x.plan.columns;
      HidePart(x, i, r, end, row + i * x.plan.columns);
    }
    const float max = MaxRow(row, total);
    sum = drops ? ExpRow(row, total, max) : ExpColumns<Terms>(row, 0, total, max);
    *lse = max + std::log(sum);
  }
  if (drops) {
    for (idx_t i = 0; i < x.parts; ++i) DropPart(x, i, r, limits[i], row + i * x.plan.columns);
  }
  if (drops || blind) RoundColumns<Terms>(row, 0, total);
  return sum;
}

// Forward of one block of query rows.
template <class Terms>
void ForwardBlock(const ChunkedTask& x) {
  const ChunkedScratch& s = x.scratch;
  const idx_t t0 = x.at + x.block;
  idx_t stride = 0;
  const float* q = ChunkRows<Terms>(x, x.args.q, t0, x.block_rows, 1.0f, s.queries, &stride);
  BlockScores<Terms>(x, q, stride, s.key_panels, s.scores);
  for (idx_t r = 0; r < x.block_rows; r += kTileRows) {
    const idx_t m = std::min(kTileRows, x.block_rows - r);
    for (idx_t i = 0; i < x.parts; ++i) s.limits[i] = x.Limit(s.parts[i], x.block + r, m);
    for (idx_t l = r; l < r + m; ++l) {
      const float sum =
          ForwardRow<Terms>(x, x.block + l, s.limits, s.scores + l * x.plan.score_stride,
                            &x.args.lse(x.b, x.h, t0 + l));
      s.inverse[l] = 1.0f / sum;
    }
  }
  BlockProduct<Terms>(x, s.scores, x.plan.score_stride, s.value_panels, s.output);
  for (idx_t r = 0; r < x.block_rows; ++r) {
    ScaleRow(s.output + r * x.plan.row, s.inverse[r], x.args.out(x.b, x.h, t0 + r), x.plan.D);
  }
}

// Forward of one task.
template <class Terms>
void ForwardTask(const ChunkedArguments& args, const ChunkedScratch& scratch, idx_t task) {
  RowPrefetcher prefetch;
  ChunkedTask x(args, scratch, prefetch, task);
  const ChunkedPlan& plan = args.plan;
  std::fill_n(scratch.tag, plan.ring, ChunkedScratch::kEmpty);
  const auto fetch = [&x](idx_t unwrapped, const ChunkedPart& part) HWY_ATTR {
    if (x.scratch.tag[part.slot] == unwrapped) return;
    x.scratch.tag[part.slot] = unwrapped;
    PackKeys<Terms>(x, part);
    PackPart<Terms>(x, part, x.args.v, x.scratch.value_panels);
  };
  for (idx_t c = plan.FirstChunk(x.run); c < plan.LastChunk(x.run); ++c) {
    EnterChunk(x, c, fetch);
    prefetch.Clear();
    if (const idx_t next = NextFetched(x); next >= 0) PrefetchKeys(x, next);
    PrefetchChunk(x, c, x.at, args.out);
    if (c + 1 < plan.LastChunk(x.run)) PrefetchChunk(x, c + 1, x.at + plan.chunk, args.q);
    for (x.block = 0; x.block < x.rows; x.block += plan.block) {
      x.block_rows = std::min(plan.block, x.rows - x.block);
      ForwardBlock<Terms>(x);
    }
  }
}

inline void ChunkedForwardTask(const ChunkedArguments& args, const ChunkedScratch& scratch,
                               idx_t task) {
  ForwardTask<F32Terms>(args, scratch, task);
}
inline void ChunkedForwardPairs(const ChunkedArguments& args, const ChunkedScratch& scratch,
                                idx_t task) {
  ForwardTask<HalfTerms>(args, scratch, task);
}

// ---- backward -----------------------------------------------------------------------------------

// Row r of the chunk: scores := weights after dropout, dscores := gradient of scale * q . k.
inline void BackwardRow(const ChunkedTask& x, idx_t r, const idx_t* limits, float* row,
                        float* drow) {
  const idx_t t = x.at + r;
  const float lse = x.args.lse(x.b, x.h, t);
  const bool blind = r < x.blind;
  // D = sum of p dp = dout . out
  float delta = 0.0f;
  if (!blind && x.args.delta.empty()) {
    delta = DotRow(x.args.dout(x.b, x.h, t), x.args.out(x.b, x.h, t), x.plan.D);
  } else if (!blind) {
    delta = x.args.delta(x.b, x.h, t);
  }
  for (idx_t i = 0; i < x.parts; ++i, row += x.plan.columns, drow += x.plan.columns) {
    const idx_t end = RoundUp(limits[i], kTileLanes);
    if (blind) {  // the weights are constants
      const idx_t keys = x.scratch.parts[i].keys;
      FillRow(row, 0, end, BlindWeight(x));
      FillRow(row, keys, end, 0.0f);
      FillRow(drow, 0, end, 0.0f);
    } else {
      HidePart(x, i, r, end, row);
      if (x.plan.dropout.active()) {
        // out = (p f) v: dp = f (dout . v), and dv sees p f.
        DropoutFactors(
            x.plan.dropout,
            (x.plan.drawn.Head(x.b, x.h, x.plan.H) * x.plan.T + x.begin + r) * x.plan.window_slots +
                x.scratch.parts[i].window_slot,
            limits[i], x.scratch.factors);
        MultiplyRow(x.scratch.factors, drow, limits[i]);
      }
      SoftmaxBackwardRow(row, drow, end, lse, delta, x.plan.scale);
    }
    if (x.plan.dropout.active()) {
      if (blind) {
        DropPart(x, i, r, limits[i], row);
      } else {
        MultiplyRow(x.scratch.factors, row, limits[i]);
      }
    }
    // Tiles across the rows read beyond this tile's limits.
    FillRow(row, end, x.plan.columns, 0.0f);
    FillRow(drow, end, x.plan.columns, 0.0f);
  }
}

// gradient (keys, row) of each part's slot += weights^T rows, the rows of the block in panels. As
// pairs, weights lie across two rows in the place of the first.
template <class Terms>
void BlockTransposedProduct(const ChunkedTask& x, const float* weights, const float* panels,
                            float* gradient) {
  constexpr idx_t kWidth = Terms::kWidth;
  const idx_t stride = x.plan.score_stride;
  for (idx_t i = 0; i < x.parts; ++i) {
    const ChunkedPart& part = x.scratch.parts[i];
    float* out = gradient + part.slot * x.GradientFloats();
    for (idx_t j = 0; j < part.keys; j += kTileRows) {
      const idx_t m = std::min(kTileRows, part.keys - j);
      // Causal: rows of the block before key j have zero weights.
      idx_t r = 0;
      if (x.plan.causal && x.block >= x.blind) {
        r = std::clamp<idx_t>(part.position + j - x.begin - x.block, 0, x.block_rows);
      }
      if (r == x.block_rows) break;
      r = r / kWidth * kWidth;
      for (idx_t first = 0; first < x.plan.D; first += kPanel) {
        const TileTerm term{weights + r * stride + i * x.plan.columns + j,
                            panels + first * TermCount<Terms>(x.block_rows) + r / kWidth * kPanel,
                            TermCount<Terms>(x.block_rows - r)};
        TileMultiply<true, Terms>(m, std::min(kPanel, x.plan.D - first), &term, 1, kWidth * stride,
                                  true, out + j * x.plan.row + first, x.plan.row);
      }
    }
  }
}

// Backward of one block of query rows.
template <class Terms>
void BackwardBlock(const ChunkedTask& x) {
  const ChunkedScratch& s = x.scratch;
  const ChunkedPlan& plan = x.plan;
  const idx_t t0 = x.at + x.block, panel_rows = TermCount<Terms>(x.block_rows);
  idx_t q_stride = 0, dout_stride = 0;
  const float* q = ChunkRows<Terms>(x, x.args.q, t0, x.block_rows, 1.0f, s.queries, &q_stride);
  const float* dout =
      ChunkRows<Terms>(x, x.args.dout, t0, x.block_rows, 1.0f, s.douts, &dout_stride);
  // scores = scale q k^T;  dscores = d loss / d weights = dout v^T
  BlockScores<Terms>(x, q, q_stride, s.key_panels, s.scores);
  BlockScores<Terms>(x, dout, dout_stride, s.value_panels, s.dscores);
  for (idx_t r = 0; r < x.block_rows; r += kTileRows) {
    const idx_t m = std::min(kTileRows, x.block_rows - r);
    for (idx_t i = 0; i < x.parts; ++i) s.limits[i] = x.Limit(s.parts[i], x.block + r, m);
    for (idx_t l = r; l < r + m; ++l) {
      BackwardRow(x, x.block + l, s.limits, s.scores + l * plan.score_stride,
                  s.dscores + l * plan.score_stride);
    }
  }
  RoundBlock<Terms>(s.scores, s.dscores, x.block_rows, plan.score_stride, 0, x.parts * plan.columns,
                    s.pairs);
  // scores = scale q k^T:  dq = dscores k, dk = dscores^T q
  BlockProduct<Terms>(x, Terms::kWidth == 2 ? s.pairs : s.dscores,
                      plan.score_stride / Terms::kWidth, s.key_rows, s.output);
  for (idx_t r = 0; r < x.block_rows; ++r) {
    AddRow(s.output + r * plan.row, &x.args.gradients.dq(x.b, x.h, t0 + r, 0), plan.D);
  }
  PackRows<Terms>(q, q_stride, x.block_rows, plan.D, panel_rows, s.query_panels);
  BlockTransposedProduct<Terms>(x, s.dscores, s.query_panels, s.dk);
  // out = weights v:  dv = weights^T dout
  PackRows<Terms>(dout, dout_stride, x.block_rows, plan.D, panel_rows, s.dout_panels);
  BlockTransposedProduct<Terms>(x, s.scores, s.dout_panels, s.dv);
}

// Adds the dk, dv of a ring slot to the caller's, when this task owns the chunk, else leaves them
// in the task's side buffer.
inline void RetireSlot(const ChunkedTask& x, idx_t slot) {
  const ChunkedPlan& plan = x.plan;
  const idx_t unwrapped = x.scratch.tag[slot];
  if (unwrapped == ChunkedScratch::kEmpty) return;
  const float* dk = x.scratch.dk + slot * x.GradientFloats();
  const float* dv = x.scratch.dv + slot * x.GradientFloats();
  const idx_t first = plan.FirstChunk(x.run), last = plan.LastChunk(x.run);
  const idx_t p = plan.Wrap(unwrapped), room = plan.Room(unwrapped);
  if (!plan.Owns(x.run, room)) {
    const idx_t halo =
        unwrapped < first ? unwrapped - (first - plan.before) : unwrapped - last + plan.before;
    const idx_t floats = plan.Keys(p) * plan.row;
    std::copy_n(dk, floats, x.args.Side(x.task, halo, 0));
    std::copy_n(dv, floats, x.args.Side(x.task, halo, 1));
    x.args.side_used[x.task * plan.halo + halo] = 1;
    return;
  }
  for (idx_t j = 0; j < plan.Keys(p); ++j) {
    const idx_t t = plan.KeyAt(room) + j;
    AddRow(dk + j * plan.row, &x.args.gradients.dk(x.b, x.h, t, 0), plan.D);
    AddRow(dv + j * plan.row, &x.args.gradients.dv(x.b, x.h, t, 0), plan.D);
  }
}

// Backward of one task: all of dq, dk and dv of its own chunks, and its halo's share on the side.
template <class Terms>
void BackwardTask(const ChunkedArguments& args, const ChunkedScratch& scratch, idx_t task) {
  RowPrefetcher prefetch;
  ChunkedTask x(args, scratch, prefetch, task);
  const ChunkedPlan& plan = args.plan;
  std::fill_n(scratch.tag, plan.ring, ChunkedScratch::kEmpty);
  if (plan.halo > 0) std::fill_n(args.side_used + task * plan.halo, plan.halo, std::uint8_t{0});
  const auto fetch = [&x](idx_t unwrapped, const ChunkedPart& part) HWY_ATTR {
    const ChunkedScratch& s = x.scratch;
    if (s.tag[part.slot] == unwrapped) return;
    RetireSlot(x, part.slot);
    s.tag[part.slot] = unwrapped;
    PackKeys<Terms>(x, part);
    PackPart<Terms>(x, part, x.args.k, s.key_rows);
    idx_t stride = 0;
    const float* v = ChunkRows<Terms>(x, x.args.v, part.at, part.keys, 1.0f, s.rows, &stride);
    PackTransposedPanels(v, stride, part.keys, TermCount<Terms>(x.plan.D), Unchanged(),
                         s.value_panels + part.slot * x.KeyFloats());
    std::fill_n(s.dk + part.slot * x.GradientFloats(), x.GradientFloats(), 0.0f);
    std::fill_n(s.dv + part.slot * x.GradientFloats(), x.GradientFloats(), 0.0f);
  };
  for (idx_t c = plan.FirstChunk(x.run); c < plan.LastChunk(x.run); ++c) {
    EnterChunk(x, c, fetch);
    prefetch.Clear();
    if (const idx_t next = NextFetched(x); next >= 0) PrefetchKeys(x, next);
    PrefetchChunk(x, c, x.at, OutView(args.gradients.dq));
    if (c + 1 < plan.LastChunk(x.run)) {
      PrefetchChunk(x, c + 1, x.at + plan.chunk, args.q);
      PrefetchChunk(x, c + 1, x.at + plan.chunk, args.dout);
    }
    for (x.block = 0; x.block < x.rows; x.block += plan.block) {
      x.block_rows = std::min(plan.block, x.rows - x.block);
      BackwardBlock<Terms>(x);
    }
  }
  for (idx_t slot = 0; slot < plan.ring; ++slot) RetireSlot(x, slot);
}

inline void ChunkedBackwardTask(const ChunkedArguments& args, const ChunkedScratch& scratch,
                                idx_t task) {
  BackwardTask<F32Terms>(args, scratch, task);
}
inline void ChunkedBackwardPairs(const ChunkedArguments& args, const ChunkedScratch& scratch,
                                 idx_t task) {
  BackwardTask<HalfTerms>(args, scratch, task);
}

// Second pass: adds to the chunks of one run what the other runs of the head left for them, in the
// order of the runs. Every chunk belongs to one task, so nothing is shared.
inline void ChunkedSideTask(const ChunkedArguments& args, idx_t task) {
  const ChunkedPlan& plan = args.plan;
  const idx_t b = task / plan.runs / plan.H, h = task / plan.runs % plan.H;
  const idx_t run = task % plan.runs, head = task - run;
  for (idx_t r = 0; r < plan.runs; ++r) {
    for (idx_t slot = 0; slot < plan.halo; ++slot) {
      const idx_t u = plan.HaloChunk(r, slot), p = plan.Wrap(u), room = plan.Room(u);
      if (!plan.Owns(run, room)) continue;
      if (args.side_used[(head + r) * plan.halo + slot] == 0) continue;
      const float *dk = args.Side(head + r, slot, 0), *dv = args.Side(head + r, slot, 1);
      for (idx_t j = 0; j < plan.Keys(p); ++j) {
        AddRow(dk + j * plan.row, &args.gradients.dk(b, h, plan.KeyAt(room) + j, 0), plan.D);
        AddRow(dv + j * plan.row, &args.gradients.dv(b, h, plan.KeyAt(room) + j, 0), plan.D);
      }
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_CHUNKED_ATTENTION_INL_H_
