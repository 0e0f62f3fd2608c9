// A block of query rows and the packed keys that it meets, forward, and the pieces that all tasks
// of this folder are made of (the block's backward: row_block_backward-inl.h).
//
//   q, k, v, out rows of D floats or bf16, any stride; scores (rows, score_stride) in scratch.
// Terms: what products multiply, floats or pairs of bf16 (simd/bf16-inl.h). As pairs, gathered rows
// and weights fill half of their place, and panels half of theirs.
// Work: 4 D flop per query and visible key. Score tiles are trimmed to the
// keys that their rows see, in whole vectors; products over keys are trimmed exactly.
// Route: keys -> gathered rows, hidden ones as zeros -> panels; queries -> gathered rows; scores,
// softmax in place (maximum and sum so far make it go on over several lists), products.
// Edges: what a row must not see inside of its first and last vector is hidden row by row; the key
// mask is looked at only in units of 64 keys that hide one. Rows that take no part weigh nothing.

// Included once for every target.
#if defined(LONGSPAN_OPS_WINDOW_ROW_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_WINDOW_ROW_BLOCK_INL_H_
#undef LONGSPAN_OPS_WINDOW_ROW_BLOCK_INL_H_
#else
#define LONGSPAN_OPS_WINDOW_ROW_BLOCK_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "base/math.h"
#include "ops/window_attention/row_block.h"
#include "simd/bf16-inl.h"
#include "simd/philox-inl.h"
#include "simd/softmax-inl.h"
#include "simd/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Keys of one piece of a product: a panel of them (20 KB) stays in the L1 cache while all rows of
// the block pass.
inline constexpr idx_t kProductKeys = idx_t{320} * 16 / kPanel;

// What queries are multiplied by on their way into scratch.
template <class Terms>
float QueryFactor(const BlockPlan& plan) {
  return plan.scale * ScoresOf<Terms>::kPerUnit;
}

constexpr idx_t RoundDown(idx_t a, idx_t b) { return a / b * b; }

// What of a list's packed keys a block of query rows meets.
struct KeyPart {
  const KeyRows* keys;
  const PackedKeys* packed;
  idx_t base;    // key of the part's first column, a multiple of kPanel
  idx_t column;  // where that column lies in a row of scores
  bool masked;   // some key that a row sees by its position is hidden
  idx_t low[BlockPlan::kRows], high[BlockPlan::kRows];  // row r sees [low, high)

  idx_t Column(idx_t j) const { return column + j - base; }
};

struct RowBlock {
  const BlockPlan& plan;
  const QueryRows& queries;
  const RowScratch& scratch;
  idx_t first = 0;  // query
  idx_t rows = 0;
  bool any = false;  // some row takes part
  int count = 0;     // parts
  bool takes_part[BlockPlan::kRows];
  bool tile_takes_part[BlockPlan::kRows / kTileRows];  // some row of it does
  KeyPart parts[BlockPlan::kParts];
  RowPrefetcher coming;  // between the tiles of scores

  RowBlock(const BlockPlan& block_plan, const QueryRows& query_rows, const RowScratch& memory)
      : plan(block_plan), queries(query_rows), scratch(memory) {}

  bool TileTakesPart(idx_t r) const { return tile_takes_part[r / kTileRows]; }
  idx_t DropoutElement(const KeyPart& part, idx_t r, idx_t j) const {
    const idx_t query = first + r;
    return (queries.head_row + queries.tokens(query)) * plan.slots + part.keys->Slot(query) + j;
  }
};

// ---- row helpers --------------------------------------------------------------------------------

// row[begin .. end) = value; begin is a multiple of kTileLanes, end is not.
HWY_INLINE void FillRowHead(float* row, idx_t begin, idx_t end, float value) {
  const TileTag d;
  const auto v = hn::Set(d, value);
  for (idx_t i = begin; i < end; i += kTileLanes) {
    const auto fill = hn::FirstN(d, static_cast<std::size_t>(std::min(end - i, kTileLanes)));
    hn::StoreU(hn::IfThenElse(fill, v, hn::LoadU(d, row + i)), d, row + i);
  }
}

// ---- packing ------------------------------------------------------------------------------------

// Rows as terms of a product.
struct TermRows {
  const float* at;
  idx_t stride;
};

// Rows of the unit's n keys from key `first` on: where they are, if those are floats at equal
// distances of which none is hidden, else gathered in scratch, hidden ones as zeros.
template <class Terms>
TermRows UnitRows(const BlockPlan& plan, const PackedKeys& packed, const InRows& from, idx_t first,
                  idx_t n, bool hides) {
  const TokenMap& tokens = from.tokens;
  if (Terms::kWidth == 1 && !from.bf16 && !hides && tokens.list == nullptr) {
    const auto* base = static_cast<const float*>(from.base);
    return {base + tokens(first) * from.stride, tokens.step * from.stride};
  }
  const idx_t stride = plan.row / Terms::kWidth;
  const float* visible = packed.visible + first % packed.ring;
  for (idx_t j = 0; j < n; ++j) {
    GatherRow<Terms>(from(first + j), visible[j] != 0.0f, 1.0f, plan.D, plan.row,
                     packed.rows + j * stride);
  }
  return {packed.rows, stride};
}

// Packs the unit of keys that begins at key `first`, a multiple of kPanelUnit.
template <class Terms>
void PackUnit(const BlockPlan& plan, const KeyRows& keys, const PackedKeys& packed, idx_t first,
              bool backward) {
  constexpr idx_t kUnit = BlockPlan::kPanelUnit, kWidth = Terms::kWidth;
  const idx_t n = std::min(kUnit, keys.count - first), slot = first % packed.ring;
  const idx_t terms = TermCount<Terms>(plan.D);
  float* visible = packed.visible + slot;
  bool hides = false;
  for (idx_t j = 0; j < kUnit; ++j) {
    const bool shown = j < n && keys.Shown(first + j);
    visible[j] = shown ? 1.0f : 0.0f;
    hides = hides || (j < n && !shown);
  }
  packed.hides[slot / kUnit] = hides ? 1 : 0;
  const auto transpose = [&](const TermRows& rows, float* panels) {
    PackTransposedPanels(rows.at, rows.stride, n, terms, Unchanged(), panels + slot * terms);
  };
  const auto across = [&](const TermRows& rows, float* panels) {
    PackRows<Terms>(rows.at, rows.stride, n, plan.D, packed.ring / kWidth,
                    panels + slot / kWidth * kPanel);
  };
  const TermRows k = UnitRows<Terms>(plan, packed, keys.k, first, n, hides);
  if (kWidth == 1 && !backward) {
    packed.norms[slot / kUnit] = SquaredNormBound(k.at, k.stride, n, plan.D);
  }
  transpose(k, packed.key_panels);
  if (backward) across(k, packed.key_rows);
  const TermRows v = UnitRows<Terms>(plan, packed, keys.v, first, n, hides);
  backward ? transpose(v, packed.value_panels) : across(v, packed.value_panels);
}

// Packs keys [begin, end) in place of what was there; begin is a multiple of the ring.
template <class Terms>
void PackKeys(const BlockPlan& plan, const KeyRows& keys, PackedKeys& packed, idx_t begin,
              idx_t end, bool backward) {
  packed.begin = begin;
  packed.end = end;
  for (idx_t first = begin; first < end; first += BlockPlan::kPanelUnit) {
    PackUnit<Terms>(plan, keys, packed, first, backward);
  }
}

// Moves a ring forward: keys [low, high) are packed, and packed before if they were.
template <class Terms>
void AdvanceRing(const BlockPlan& plan, const KeyRows& keys, PackedKeys& packed, idx_t low,
                 idx_t high) {
  packed.begin = RoundDown(low, BlockPlan::kPanelUnit);
  packed.end = std::max(packed.end, packed.begin);
  for (; packed.end < high; packed.end += BlockPlan::kPanelUnit) {
    PackUnit<Terms>(plan, keys, packed, packed.end, false);
  }
}

// ---- entering a block ---------------------------------------------------------------------------

inline void EnterBlock(RowBlock& x, idx_t first, idx_t rows) {
  x.first = first;
  x.rows = rows;
  x.count = 0;
  x.any = false;
  std::fill_n(x.tile_takes_part, BlockPlan::kRows / kTileRows, false);
  for (idx_t r = 0; r < rows; ++r) {
    x.takes_part[r] = x.queries.TakesPart(first + r);
    if (!x.takes_part[r]) continue;
    x.tile_takes_part[r / kTileRows] = true;
    x.any = true;
  }
}

// Adds what the block sees of the keys that are packed, or will be; if anything.
inline void AddPart(RowBlock& x, const KeyRows& keys, const PackedKeys& packed) {
  KeyPart& part = x.parts[x.count];
  part.keys = &keys;
  part.packed = &packed;
  for (idx_t r = 0; r < x.rows; ++r) {
    const idx_t query = x.first + r;
    part.low[r] = std::clamp(keys.Low(query), packed.begin, packed.end);
    part.high[r] = std::clamp(keys.High(query, x.queries.tokens(query)), packed.begin, packed.end);
  }
  if (part.low[0] >= part.high[x.rows - 1]) return;
  part.base = RoundDown(part.low[0], kPanel);
  part.column = 0;
  if (x.count > 0) {
    const KeyPart& before = x.parts[x.count - 1];
    part.column = RoundUp(before.Column(before.high[x.rows - 1]), kTileLanes);
  }
  ++x.count;
}

// Calls use(u) for the units u of the ring that hold keys which the block sees.
template <class Use>
HWY_INLINE void EachUnit(const RowBlock& x, const KeyPart& part, const Use& use) {
  constexpr idx_t kUnit = BlockPlan::kPanelUnit;
  for (idx_t j = RoundDown(part.low[0], kUnit); j < part.high[x.rows - 1]; j += kUnit) {
    use(j % part.packed->ring / kUnit);
  }
}

// Looks whether keys of the parts are hidden, which packing has found out.
inline void FindHidden(RowBlock& x) {
  for (int i = 0; i < x.count; ++i) {
    KeyPart& part = x.parts[i];
    part.masked = false;
    EachUnit(x, part, [&](idx_t u) { part.masked = part.masked || part.packed->hides[u] != 0; });
  }
}

// to (rows, row) = factor * the rows of the list, zeros where a row takes no part.
template <class Terms>
void GatherQueries(const RowBlock& x, const InRows& from, float factor, float* to) {
  for (idx_t r = 0; r < x.rows; ++r) {
    GatherRow<Terms>(from(x.first + r), x.takes_part[r], factor, x.plan.D, x.plan.row,
                     to + r * x.plan.row / Terms::kWidth);
  }
}

// ---- products -----------------------------------------------------------------------------------

// out (rows, score_stride) = a (rows, row) times panels of keys [D][kPanel].
template <class Terms>
void BlockScores(RowBlock& x, const KeyPart& part, const float* a, const float* panels,
                 float* out) {
  const BlockPlan& plan = x.plan;
  const idx_t terms = TermCount<Terms>(plan.D), stride = plan.row / Terms::kWidth;
  for (idx_t key = part.base; key < part.high[x.rows - 1]; key += kPanel) {
    const float* panel = panels + key % part.packed->ring * terms;
    for (idx_t r = 0; r < x.rows; r += kTileRows) {
      const idx_t m = std::min(kTileRows, x.rows - r);
      const idx_t low = std::max(part.low[r], key) - key;
      const idx_t high = std::min(part.high[r + m - 1], key + kPanel) - key;
      if (low >= high || !x.TileTakesPart(r)) continue;
      const idx_t begin = RoundDown(low, kTileLanes);
      const TileTerm term{a + r * stride, panel + begin, terms};
      TileMultiply<false, Terms>(m, high - begin, &term, 1, stride, false,
                                 out + r * plan.score_stride + part.Column(key + begin),
                                 plan.score_stride, x.coming);
    }
  }
}

// Rows [r, r + m) of P and keys [begin, end) of one part in panels of channels from `panels` on, as
// a term of a product. k = 0: no row sees one. `lda`: floats from row to row of P. begin is even.
template <class Terms>
TileTerm ProductTerm(const KeyPart& part, const float* p, idx_t lda, const float* panels, idx_t r,
                     idx_t m, idx_t begin, idx_t end) {
  constexpr idx_t kWidth = Terms::kWidth;
  idx_t low = std::max(part.low[r], begin);
  const idx_t high = std::min(part.high[r + m - 1], end);
  if (low >= high) return {};
  low = RoundDown(low, kWidth);  // a key that no row sees weighs 0
  return {p + r * lda + part.Column(low) / kWidth,
          panels + low % part.packed->ring / kWidth * kPanel, TermCount<Terms>(high - low)};
}

// out (rows, row) += P B; P (rows, lda), B (keys, D) in panels of channels. `few`: a part of at
// most kProductKeys keys and its panels, added on the way; or null.
template <class Terms>
void BlockProduct(const RowBlock& x, const KeyPart& part, const float* p, idx_t lda,
                  const float* panels, const KeyPart* few, float* out) {
  const BlockPlan& plan = x.plan;
  const idx_t ring = part.packed->ring, end = part.high[x.rows - 1];
  const idx_t start = RoundDown(part.low[0], Terms::kWidth);
  for (idx_t begin = start, next = 0; begin < end; begin = next, few = nullptr) {
    next = std::min({end, begin + kProductKeys, RoundDown(begin, ring) + ring});
    for (idx_t first = 0; first < plan.D; first += kPanel) {
      for (idx_t r = 0; r < x.rows; r += kTileRows) {
        const idx_t m = std::min(kTileRows, x.rows - r);
        if (!x.TileTakesPart(r)) continue;
        const auto term = [&](const KeyPart& of, const float* at, idx_t from, idx_t to) {
          const float* panel = at + first * (of.packed->ring / Terms::kWidth);
          return ProductTerm<Terms>(of, p, lda, panel, r, m, from, to);
        };
        TileTerm terms[2] = {term(part, panels, begin, next), {}};
        idx_t count = terms[0].k > 0 ? 1 : 0;
        if (few != nullptr) {
          terms[count] = term(*few, few->packed->value_panels, 0, few->packed->end);
          count += terms[count].k > 0 ? 1 : 0;
        }
        if (count == 0) continue;
        TileMultiply<false, Terms>(m, std::min(kPanel, plan.D - first), terms, count, lda, true,
                                   out + r * plan.row + first, plan.row);
      }
    }
  }
}

// gradient (ring, row) += weights^T B, the rows of B (rows, D) in panels of channels. As pairs,
// weights lie across two rows in the place of the first.
template <class Terms>
void BlockTransposedProduct(const RowBlock& x, const KeyPart& part, const float* weights,
                            const float* panels, float* gradient) {
  constexpr idx_t kWidth = Terms::kWidth;
  const BlockPlan& plan = x.plan;
  const idx_t end = part.high[x.rows - 1], stride = plan.score_stride;
  const idx_t panel_rows = TermCount<Terms>(x.rows);
  for (idx_t first = 0; first < plan.D; first += kPanel) {
    const idx_t n = std::min(kPanel, plan.D - first);
    idx_t begin_row = 0, end_row = 0;  // that see one of the keys [j, j + m)
    for (idx_t j = part.low[0]; j < end; j += kTileRows) {
      const idx_t m = std::min(kTileRows, end - j);
      while (begin_row < x.rows && part.high[begin_row] <= j) ++begin_row;
      while (end_row < x.rows && part.low[end_row] < j + m) ++end_row;
      if (begin_row >= end_row) continue;
      const idx_t from = RoundDown(begin_row, kWidth);
      const TileTerm term{weights + from * stride + part.Column(j),
                          panels + first * panel_rows + from / kWidth * kPanel,
                          TermCount<Terms>(end_row - from)};
      TileMultiply<true, Terms>(m, n, &term, 1, kWidth * stride, true,
                                gradient + (j - part.packed->begin) * plan.row + first, plan.row);
    }
  }
}

// ---- softmax ------------------------------------------------------------------------------------

// Columns of row r in whole vectors.
struct Columns {
  idx_t begin, end;
};
inline Columns RowColumns(const KeyPart& part, idx_t r) {
  if (part.low[r] >= part.high[r]) return {0, 0};
  return {RoundDown(part.Column(part.low[r]), kTileLanes),
          RoundUp(part.Column(part.high[r]), kTileLanes)};
}

// Hides what row r must not see of its columns.
inline void HideColumns(const KeyPart& part, idx_t r, Columns columns, float* row) {
  const idx_t low = part.low[r], high = part.high[r];
  FillRowHead(row, columns.begin, part.Column(low), kHiddenScore);
  FillRow(row, part.Column(high), columns.end, kHiddenScore);
  if (!part.masked) return;
  constexpr idx_t kUnit = BlockPlan::kPanelUnit;
  const PackedKeys& packed = *part.packed;
  for (idx_t j = RoundDown(low, kTileLanes), next = 0; j < high; j = next) {
    next = std::min(RoundDown(j, kUnit) + kUnit, high);
    const idx_t slot = j % packed.ring;
    if (packed.hides[slot / kUnit] == 0) continue;
    HideRow(row + part.Column(j), packed.visible + slot, RoundUp(next - j, kTileLanes));
  }
}

// Columns of the part that tiles of the rows [begin_row, end_row) read, in whole vectors.
inline Columns ReadColumns(const KeyPart& part, idx_t begin_row, idx_t end_row) {
  if (part.low[begin_row] >= part.high[end_row - 1]) return {0, 0};
  return {RoundDown(part.Column(part.low[begin_row]), kTileLanes),
          RoundUp(part.Column(part.high[end_row - 1]), kTileLanes)};
}

// Zeros for those of them that a row with `columns` does not see.
template <class Terms>
void ClearColumns(Columns read, Columns columns, float* row) {
  if (columns.begin >= columns.end) return ClearWeights<Terms>(row, read.begin, read.end);
  ClearWeights<Terms>(row, read.begin, columns.begin);
  ClearWeights<Terms>(row, columns.end, read.end);
}

// Whether no score of the block is larger than kSafeScore: |q . k| <= |q| |k|. Queries are rows
// [at, at + rows) of scratch. Not of pairs: there the largest weight must be 1, which bf16 has
// exactly, so that a row that sees little else loses nothing to rounding.
template <class Terms>
bool ScoresAreSmall(const RowBlock& x, idx_t at) {
  if constexpr (Terms::kWidth == 2) return false;
  float most = 0.0f;
  for (int i = 0; i < x.count; ++i) {
    const KeyPart& part = x.parts[i];
    EachUnit(x, part, [&](idx_t u) { most = std::max(most, part.packed->norms[u]); });
  }
  const float* queries = x.scratch.queries + at * x.plan.row;
  const float own = SquaredNormBound(queries, x.plan.row, x.rows, x.plan.D);
  return NormsAreSmall<ScoresOf<Terms>>(own, most);
}

// What row r's scores are weighed relative to, `before` so far. Hides what the row does not see.
template <class Terms>
float RowOffset(const RowBlock& x, idx_t r, bool small, float before) {
  float* row = x.scratch.scores + r * x.plan.score_stride;
  float offset = before;
  for (int i = 0; i < x.count; ++i) {
    const KeyPart& part = x.parts[i];
    const Columns c = RowColumns(part, r);
    if (c.begin >= c.end) continue;
    HideColumns(part, r, c, row);
    const idx_t n = c.end - c.begin;
    offset = std::max(offset,
                      RowOffset<ScoresOf<Terms>>(row + c.begin, n, small, /*shows=*/!part.masked));
  }
  return offset;
}

// Weights of what row r sees of part i, relative to `rise`, in place; returns their sum.
template <class Terms>
float WeighColumns(const RowBlock& x, int i, idx_t r, float rise, bool small) {
  using Scores = ScoresOf<Terms>;
  const KeyPart& part = x.parts[i];
  float* row = x.scratch.scores + r * x.plan.score_stride;
  const Columns c = RowColumns(part, r);
  if (!Scores::kSmallIsCheaper || !small || rise != 0.0f || part.masked) {
    return ExpColumns<Terms, Scores>(row, c.begin, c.end, rise);
  }
  // Only the first and the last vector hide keys: behind the one, before the other are numbers.
  const idx_t begin = std::min(c.begin + kTileLanes, c.end);
  const idx_t end = std::max(begin, c.end - kTileLanes);
  const float first = ExpRow<Scores>(row + c.begin, begin - c.begin, 0.0f);
  const float last = ExpRow<Scores>(row + end, c.end - end, 0.0f);
  return first + ExpSmallRow<Scores>(row + begin, end - begin) + last;
}

// Row r, of the m rows of a tile that begins at row `tile`, from scores to weights, in place; what
// they are relative to (`max`, now `rise`), sum and what is summed in `output` move on.
template <class Terms>
void ForwardRow(const RowBlock& x, idx_t r, idx_t tile, idx_t m, bool small, float rise, float* max,
                float* sum, float* output) {
  float* row = x.scratch.scores + r * x.plan.score_stride;
  if (rise == kHiddenScore) {  // nothing visible yet
    for (int i = 0; i < x.count; ++i) {
      ClearColumns<Terms>(ReadColumns(x.parts[i], tile, tile + m), {0, 0}, row);
    }
    return;
  }
  MoveOffset(rise, max, sum, output, x.plan.row);
  for (int i = 0; i < x.count; ++i) {
    const KeyPart& part = x.parts[i];
    const Columns c = RowColumns(part, r);
    if (!x.plan.dropout.active()) {
      *sum += WeighColumns<Terms>(x, i, r, rise, small);
    } else if (c.begin < c.end) {
      *sum += ExpRow<ScoresOf<Terms>>(row + c.begin, c.end - c.begin, rise);
      ApplyDropoutRow(x.plan.dropout, x.DropoutElement(part, r, part.low[r]),
                      row + part.Column(part.low[r]), part.high[r] - part.low[r]);
      RoundColumns<Terms>(row, c.begin, c.end);
    }
    ClearColumns<Terms>(ReadColumns(part, tile, tile + m), c, row);
  }
}

// Starts rows of scratch: nothing seen yet.
inline void StartRows(const BlockPlan& plan, const RowScratch& s, idx_t rows) {
  std::fill_n(s.output, rows * plan.row, 0.0f);
  std::fill_n(s.max, rows, kHiddenScore);
  std::fill_n(s.sum, rows, 0.0f);
}

// All parts of the block; its queries, maxima, sums and outputs are rows [at, at + rows) of
// scratch.
template <class Terms>
void ForwardBlock(RowBlock& x, idx_t at) {
  const RowScratch& s = x.scratch;
  FindHidden(x);
  const idx_t row = x.plan.row;
  for (int i = 0; i < x.count; ++i) {
    BlockScores<Terms>(x, x.parts[i], s.queries + at * row / Terms::kWidth,
                       x.parts[i].packed->key_panels, s.scores);
  }
  const bool small = ScoresAreSmall<Terms>(x, at);
  for (idx_t tile = 0; tile < x.rows; tile += kTileRows) {
    const idx_t m = std::min(kTileRows, x.rows - tile);
    // All maxima first: a row's exponentials wait for its maximum, and other rows' work hides that.
    float rise[kTileRows];
    for (idx_t r = tile; r < tile + m; ++r) {
      if (x.takes_part[r]) rise[r - tile] = RowOffset<Terms>(x, r, small, s.max[at + r]);
    }
    for (idx_t r = tile; r < tile + m; ++r) {
      if (!x.takes_part[r]) continue;
      ForwardRow<Terms>(x, r, tile, m, small, rise[r - tile], s.max + at + r, s.sum + at + r,
                        s.output + (at + r) * row);
    }
  }
  const KeyPart& last = x.parts[x.count - 1];
  BlockProduct<Terms>(x, last, s.scores, x.plan.score_stride, last.packed->value_panels,
                      x.count == 2 ? &x.parts[0] : nullptr, s.output + at * row);
}

// out = output / sum, lse; hidden rows get nothing.
inline void FinishRows(const BlockPlan& plan, const QueryRows& queries, const RowScratch& s,
                       idx_t first, idx_t rows) {
  for (idx_t r = 0; r < rows; ++r) {
    const idx_t i = first + r;
    if (queries.TakesPart(i) && s.sum[r] == 0.0f) {  // a slab without a key that is shown
      ClearRow(queries.out(i), plan.D);
      *queries.lse(i) = kHiddenScore;
    } else if (queries.TakesPart(i)) {
      ScaleRow(s.output + r * plan.row, 1.0f / s.sum[r], queries.out(i), plan.D);
      *queries.lse(i) = s.max[r] + std::log(s.sum[r]);
    } else if (queries.roles[queries.tokens(i)] == kHiddenToken) {
      ClearRow(queries.out(i), plan.D);
      *queries.lse(i) = kHiddenScore;
    }
  }
}

// Rows [first, first + rows) of the list, at most as many as scratch has, over keys [begin, end) of
// one list; begin is a multiple of the ring. Goes on from StartRows or from other keys.
template <class Terms>
void ForwardOverKeys(RowBlock& x, const KeyRows& keys, PackedKeys& packed, idx_t first, idx_t rows,
                     idx_t begin, idx_t end) {
  for (idx_t key = begin; key < end; key += packed.ring) {
    const idx_t last = std::min(end, key + packed.ring);
    bool packs = true;
    for (idx_t r = 0; r < rows; r += x.plan.rows) {
      EnterBlock(x, first + r, std::min(x.plan.rows, rows - r));
      packed.begin = key;
      packed.end = last;
      if (x.any) AddPart(x, keys, packed);
      if (x.count == 0) continue;
      if (packs) PackKeys<Terms>(x.plan, keys, packed, key, last, false);
      packs = false;
      ForwardBlock<Terms>(x, r);
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_WINDOW_ROW_BLOCK_INL_H_
