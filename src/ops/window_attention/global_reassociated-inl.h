// The rows of global tokens in the re-associated form, the tasks: a batch of rows with a part of
// the tokens, and putting the parts together.
//
//   u = scale qg wk, a = dout wv (rows, C);  x (T, C), read once per batch
// Work: 4 C flop per row and token forward, 12 C backward; 2 C D per row for u, a and the ends.
// Route: scores are dots along the channels of x as it stands; then they lie across: a token's row
// of scores has one lane for each row of the batch, so maxima and exponentials run over lanes.
// Edges: hidden tokens and, when causal, tokens behind a row's own get -inf; hidden tokens enter
// products as zeros.

// Included once for every target.
#if defined(LONGSPAN_OPS_WINDOW_GLOBAL_REASSOCIATED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_WINDOW_GLOBAL_REASSOCIATED_INL_H_
#undef LONGSPAN_OPS_WINDOW_GLOBAL_REASSOCIATED_INL_H_
#else
#define LONGSPAN_OPS_WINDOW_GLOBAL_REASSOCIATED_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "ops/window_attention/global_reassociated.h"
#include "ops/window_attention/row_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One task's view of the problem: a batch of rows, and the block of tokens it stands at.
struct ReassociatedTask {
  const ReassociatedArguments& args;
  const ReassociatedPlan& plan;
  ReassociatedScratch s;
  idx_t b, batch;
  idx_t rows;        // of the batch
  idx_t begin, end;  // tokens of the part
  idx_t first = 0;   // token of the block
  idx_t tokens = 0;  // of the block
  bool shown[ReassociatedPlan::kTokens];
  bool copied = false;  // x of the block lies in scratch

  ReassociatedTask(const ReassociatedArguments& arguments, const ReassociatedScratch& scratch,
                   idx_t sequence, idx_t batch_number, idx_t part)
      : args(arguments),
        plan(arguments.plan),
        s(scratch),
        b(sequence),
        batch(batch_number),
        rows(arguments.RowsOf(sequence, batch_number)),
        begin(part * plan.part),
        end(std::min(plan.T, begin + plan.part)) {}

  ReassociatedArguments::Row Row(idx_t r) const { return args.RowOf(b, batch * plan.rows + r); }
  // Token i of the block, and from token to token: where x lies, or its copy.
  const float* X(idx_t i) const {
    if (copied) return s.x_rows + i * plan.channels;
    return static_cast<const float*>(args.x(b, 0, first + i).data);
  }
  idx_t XStride() const { return copied ? plan.channels : args.x.stride[2]; }
  // A row of D: where it lies, or widened in one of two places.
  const float* FloatRow(InRow row, int place) const {
    if (!row.bf16) return static_cast<const float*>(row.data);
    ScaleRow(row, 1.0f, s.rows[place], plan.D);
    return s.rows[place];
  }
  const float* Weight(const View<const float, 2>& w, idx_t h, idx_t d) const {
    return w.data + (h * plan.D + d) * w.stride[0];
  }
  // Lanes that are computed.
  idx_t Lanes() const { return RoundUp(rows, kTileLanes); }
};

// scale qg . bk: what the key bias adds to every score of a row.
inline float KeyBias(const ReassociatedTask& x, const ReassociatedArguments::Row& row) {
  if (x.args.bk.empty()) return 0.0f;
  const float* bias = x.args.bk.data + row.h * x.plan.D;
  return x.plan.scale * DotRow(x.FloatRow(x.args.qg(x.b, row.h, row.g), 0), bias, x.plan.D);
}

// to (C) = factor * weights (D) w_h
inline void ThroughWeights(const ReassociatedTask& x, const View<const float, 2>& w, idx_t h,
                           const float* weights, float factor, float* to) {
  std::fill_n(to, x.plan.channels, 0.0f);
  for (idx_t d = 0; d < x.plan.D; ++d) {
    AddScaledRow(x.Weight(w, h, d), factor * weights[d], to, x.plan.C);
  }
}

// Row `task` % rows of a batch, of sequence `task` / rows: u, backward also a.
inline void ReassociatedRowTask(const ReassociatedArguments& args,
                                const ReassociatedScratch& scratch, idx_t batch, idx_t task) {
  const ReassociatedPlan& plan = args.plan;
  const ReassociatedTask x(args, scratch, task / plan.rows, batch, 0);
  const idx_t r = task % plan.rows, at = task * plan.channels;
  if (r >= x.rows) return;
  const auto row = x.Row(r);
  ThroughWeights(x, args.wk, row.h, x.FloatRow(args.qg(x.b, row.h, row.g), 0), plan.scale,
                 args.u + at);
  if (args.a == nullptr) return;
  ThroughWeights(x, args.wv, row.h, x.FloatRow(args.dout(x.b, row.h, row.token), 1), 1.0f,
                 args.a + at);
}

// ---- a block of tokens --------------------------------------------------------------------------

// Zeros for what blocks of tokens read and never write: rows' ends, lanes of no row.
inline void ClearScratch(const ReassociatedTask& x) {
  constexpr idx_t kTokens = ReassociatedPlan::kTokens;
  std::fill_n(x.s.scores, kTokens * x.plan.lanes, 0.0f);
  if (x.s.dscores != nullptr) std::fill_n(x.s.dscores, kTokens * x.plan.lanes, 0.0f);
  if (x.plan.C < x.plan.channels) std::fill_n(x.s.x_rows, kTokens * x.plan.channels, 0.0f);
}

// Moves to the block of tokens that begins at `first`. x is read where it lies; bf16, rows that are
// not whole vectors and blocks with hidden tokens, which enter products as zeros, are copied.
inline void EnterTokens(ReassociatedTask& x, idx_t first) {
  const ReassociatedPlan& plan = x.plan;
  x.first = first;
  x.tokens = std::min(ReassociatedPlan::kTokens, x.end - first);
  const std::uint8_t* roles = RolesOf(x.args.roles, x.b);
  x.copied = x.args.x.bf16 || plan.C < plan.channels;
  for (idx_t i = 0; i < x.tokens; ++i) {
    x.shown[i] = roles[first + i] != kHiddenToken;
    x.copied = x.copied || !x.shown[i];
  }
  for (idx_t i = 0; x.copied && i < x.tokens; ++i) {
    GatherRow<F32Terms>(x.args.x(x.b, 0, first + i), x.shown[i], 1.0f, plan.C, plan.channels,
                        x.s.x_rows + i * plan.channels);
  }
  for (idx_t r = 0; r < plan.lanes; ++r) {
    const idx_t last = plan.causal && r < x.rows ? x.Row(r).token - first : plan.T;
    x.s.last[r] = static_cast<float>(std::clamp<idx_t>(last, -1, ReassociatedPlan::kTokens));
  }
}

// dots[i][r] = token i . row r, for MT tokens and 4 rows. Along the channels: no lane is idle, and
// x is read in the order of memory. kAsk: asks for what lies `ahead` floats behind the tokens,
// into the second cache; reading x takes as long as a third of the arithmetic.
template <bool kAsk, int MT>
HWY_INLINE void ScoreTile(const float* const (&token)[MT], const float* const (&row)[4],
                          idx_t channels, idx_t ahead, float* const (&dots)[MT]) {
  const TileTag d;
  hn::Vec<TileTag> sum[MT][4];
  LONGSPAN_UNROLL
  for (int i = 0; i < MT; ++i) {
    LONGSPAN_UNROLL
    for (int r = 0; r < 4; ++r) sum[i][r] = hn::Zero(d);
  }
  for (idx_t c = 0; c < channels; c += kTileLanes) {
    hn::Vec<TileTag> of_token[MT];
    LONGSPAN_UNROLL
    for (int i = 0; i < MT; ++i) {
      of_token[i] = hn::LoadU(d, token[i] + c);
      if constexpr (kAsk) __builtin_prefetch(token[i] + c + ahead, 0, 2);
    }
    LONGSPAN_UNROLL
    for (int r = 0; r < 4; ++r) {
      const auto of_row = hn::LoadU(d, row[r] + c);
      LONGSPAN_UNROLL
      for (int i = 0; i < MT; ++i) sum[i][r] = hn::MulAdd(of_token[i], of_row, sum[i][r]);
    }
  }
  LONGSPAN_UNROLL
  for (int i = 0; i < MT; ++i) StoreSums(sum[i][0], sum[i][1], sum[i][2], sum[i][3], dots[i]);
}

// out (tokens, lanes) = x rows^T; rows (rows, channels).
inline void TokenScores(const ReassociatedTask& x, const float* rows, float* out) {
  constexpr int kTokens = static_cast<int>(kTileRows) / 2;
  const ReassociatedPlan& plan = x.plan;
  for (idx_t first = 0; first < x.tokens; first += kTokens) {
    // What is too much repeats the last one.
    const float* token[kTokens];
    float* dots[kTokens];
    for (int i = 0; i < kTokens; ++i) {
      const idx_t at = std::min(first + i, x.tokens - 1);
      token[i] = x.X(at);
      dots[i] = out + at * plan.lanes;
    }
    for (idx_t r = 0; r < x.rows; r += 4) {
      const float* row[4];
      for (int i = 0; i < 4; ++i) row[i] = rows + std::min(r + i, x.rows - 1) * plan.channels;
      if (r == 0 && !x.copied) {
        ScoreTile<true>(token, row, plan.channels, kTokens * x.XStride(), dots);
      } else {
        ScoreTile<false>(token, row, plan.channels, 0, dots);
      }
      for (float*& dot : dots) dot += 4;
    }
  }
}

// sums (MR, NV vectors) += weights^T x
template <int MR, int NV>
HWY_NOINLINE void SumTile(const ReassociatedTask& x, const float* HWY_RESTRICT weights,
                          idx_t channel, float* HWY_RESTRICT sums) {
  const TileTag d;
  const idx_t lanes = x.plan.lanes, channels = x.plan.channels, stride = x.XStride();
  hn::Vec<TileTag> sum[MR][NV];
  LONGSPAN_UNROLL
  for (int r = 0; r < MR; ++r) {
    LONGSPAN_UNROLL
    for (int j = 0; j < NV; ++j) sum[r][j] = hn::LoadU(d, sums + r * channels + j * kTileLanes);
  }
  const float* HWY_RESTRICT token = x.X(0) + channel;
  for (idx_t i = 0; i < x.tokens; ++i, weights += lanes, token += stride) {
    hn::Vec<TileTag> of_token[NV];
    LONGSPAN_UNROLL
    for (int j = 0; j < NV; ++j) of_token[j] = hn::LoadU(d, token + j * kTileLanes);
    LONGSPAN_UNROLL
    for (int r = 0; r < MR; ++r) {
      const auto weight = hn::Set(d, weights[r]);
      LONGSPAN_UNROLL
      for (int j = 0; j < NV; ++j) sum[r][j] = hn::MulAdd(weight, of_token[j], sum[r][j]);
    }
  }
  LONGSPAN_UNROLL
  for (int r = 0; r < MR; ++r) {
    LONGSPAN_UNROLL
    for (int j = 0; j < NV; ++j) hn::StoreU(sum[r][j], d, sums + r * channels + j * kTileLanes);
  }
}

// The tile of m rows, found by counting down.
template <int NV, int MR = static_cast<int>(kTileRows)>
void SumTileRows(const ReassociatedTask& x, idx_t m, const float* weights, idx_t channel,
                 float* sums) {
  if constexpr (MR > 1) {
    if (m < MR) return SumTileRows<NV, MR - 1>(x, m, weights, channel, sums);
  }
  SumTile<MR, NV>(x, weights, channel, sums);
}

// sums (rows, channels) += weights^T x; weights (tokens, lanes)
inline void AddTokens(const ReassociatedTask& x, const float* weights, float* sums) {
  const ReassociatedPlan& plan = x.plan;
  for (idx_t c = 0; c < plan.channels; c += kPanel) {
    for (idx_t r = 0; r < x.rows; r += kTileRows) {
      const idx_t m = std::min(kTileRows, x.rows - r);
      float* to = sums + r * plan.channels + c;
      if (c + kPanel <= plan.channels) {
        SumTileRows<kPanelVectors>(x, m, weights + r, c, to);
      } else {
        SumTileRows<1>(x, m, weights + r, c, to);
      }
    }
  }
}

// weights (tokens, lanes) *= dropout
inline void DropTokens(const ReassociatedTask& x, float* weights) {
  const ReassociatedPlan& plan = x.plan;
  for (idx_t r = 0; r < x.rows; ++r) {
    const auto row = x.Row(r);
    const idx_t query = plan.drawn.Head(x.b, row.h, plan.H) * plan.T + row.token;
    DropoutFactors(plan.dropout, query * plan.slots + x.first, x.tokens, x.s.factors);
    for (idx_t i = 0; i < x.tokens; ++i) weights[i * plan.lanes + r] *= x.s.factors[i];
  }
}

// The scores of token i of the block for a vector of rows from `lane` on, -inf where unseen.
HWY_INLINE hn::Vec<TileTag> TokenRow(const ReassociatedTask& x, idx_t i, idx_t lane) {
  const TileTag d;
  const auto hidden = hn::Set(d, kHiddenScore);
  if (!x.shown[i]) return hidden;
  const auto score = hn::LoadU(d, x.s.scores + i * x.plan.lanes + lane);
  const auto seen = hn::Le(hn::Set(d, static_cast<float>(i)), hn::LoadU(d, x.s.last + lane));
  return hn::IfThenElse(seen, score, hidden);
}

// ---- forward ------------------------------------------------------------------------------------

// Scores -> weights relative to the maxima so far; maxima and sums move on, and z with them.
inline void SoftmaxTokens(const ReassociatedTask& x) {
  const TileTag d;
  const ReassociatedPlan& plan = x.plan;
  const ReassociatedScratch& s = x.s;
  for (idx_t lane = 0; lane < x.Lanes(); lane += kTileLanes) {
    auto max = hn::LoadU(d, s.max + lane);
    const auto before = max;
    for (idx_t i = 0; i < x.tokens; ++i) max = hn::Max(max, TokenRow(x, i, lane));
    // Nothing seen yet: any shift makes exp(-inf) = 0.
    const auto shift = hn::IfThenElse(hn::Eq(max, hn::Set(d, kHiddenScore)), hn::Zero(d), max);
    const auto factor = ExpNonPositive(d, hn::Sub(before, shift));
    auto sum = hn::Zero(d);
    for (idx_t i = 0; i < x.tokens; ++i) {
      const auto e = ExpNonPositive(d, hn::Sub(TokenRow(x, i, lane), shift));
      hn::StoreU(e, d, s.scores + i * plan.lanes + lane);
      sum = hn::Add(sum, e);
    }
    hn::StoreU(max, d, s.max + lane);
    hn::StoreU(hn::MulAdd(hn::LoadU(d, s.sum + lane), factor, sum), d, s.sum + lane);
    hn::StoreU(hn::Mul(hn::LoadU(d, s.kept + lane), factor), d, s.kept + lane);
    alignas(64) float factors[kTileLanes];
    hn::Store(factor, d, factors);
    for (idx_t r = lane; r < std::min(x.rows, lane + kTileLanes); ++r) {
      if (factors[r - lane] != 1.0f)
        RescaleRow(s.z + r * plan.channels, plan.channels, factors[r - lane]);
    }
  }
}

// kept += the weights' columns.
inline void AddKept(const ReassociatedTask& x, const float* weights) {
  const TileTag d;
  for (idx_t lane = 0; lane < x.Lanes(); lane += kTileLanes) {
    auto sum = hn::Zero(d);
    for (idx_t i = 0; i < x.tokens; ++i) {
      sum = hn::Add(sum, hn::LoadU(d, weights + i * x.plan.lanes + lane));
    }
    hn::StoreU(hn::Add(hn::LoadU(d, x.s.kept + lane), sum), d, x.s.kept + lane);
  }
}

// out = wv z / sum + bv kept / sum, lse.
inline void FinishReassociated(const ReassociatedTask& x, const ReassociatedArguments::Row& row,
                               const float* z, float max, float sum, float kept) {
  const ReassociatedPlan& plan = x.plan;
  const float inverse = 1.0f / sum;
  const OutRow to = x.args.out(x.b, row.h, row.token);
  float* out = to.bf16 ? x.s.rows[0] : static_cast<float*>(to.data);
  for (idx_t d = 0; d < plan.D; ++d) {
    float value = DotRow(x.Weight(x.args.wv, row.h, d), z, plan.C);
    if (!x.args.bv.empty()) value += x.args.bv.data[row.h * plan.D + d] * kept;
    out[d] = value * inverse;
  }
  if (to.bf16) ScaleRow(out, 1.0f, to, plan.D);
  x.args.lse(x.b, row.h, row.token) = max + std::log(sum) + KeyBias(x, row);
}

inline void UseForwardSide(ReassociatedTask& x, idx_t task) {
  x.s.z = x.args.side + task * x.plan.SideFloats(false);
  x.s.max = x.s.z + x.plan.rows * x.plan.channels;
  x.s.sum = x.s.max + x.plan.lanes;
  x.s.kept = x.s.sum + x.plan.lanes;
}

inline void StartReassociated(const ReassociatedTask& x) {
  std::fill_n(x.s.z, x.rows * x.plan.channels, 0.0f);
  std::fill_n(x.s.max, x.plan.lanes, kHiddenScore);
  std::fill_n(x.s.sum, x.plan.lanes, 0.0f);
  std::fill_n(x.s.kept, x.plan.lanes, 0.0f);
}

inline void ReassociatedForwardTask(const ReassociatedArguments& args,
                                    const ReassociatedScratch& scratch, idx_t batch, idx_t task) {
  const ReassociatedPlan& plan = args.plan;
  ReassociatedTask x(args, scratch, task / plan.parts, batch, task % plan.parts);
  if (x.rows == 0) return;
  UseForwardSide(x, task);
  const float* u = args.BatchRows(args.u, x.b);
  StartReassociated(x);
  ClearScratch(x);
  for (idx_t first = x.begin; first < x.end; first += ReassociatedPlan::kTokens) {
    EnterTokens(x, first);
    TokenScores(x, u, x.s.scores);
    SoftmaxTokens(x);
    if (plan.dropout.active()) DropTokens(x, x.s.scores);
    AddKept(x, x.s.scores);
    AddTokens(x, x.s.scores, x.s.z);
  }
}

// Puts the parts of row `task` % rows of sequence `task` / rows together, in their order: in the
// place of the first part's z.
inline void ReassociatedForwardSum(const ReassociatedArguments& args,
                                   const ReassociatedScratch& scratch, idx_t batch, idx_t task) {
  const ReassociatedPlan& plan = args.plan;
  const idx_t r = task % plan.rows;
  ReassociatedTask x(args, scratch, task / plan.rows, batch, 0);
  if (r >= x.rows) return;
  float max = kHiddenScore, sum = 0.0f, kept = 0.0f;
  const auto use = [&](idx_t part) { UseForwardSide(x, x.b * plan.parts + part); };
  for (idx_t part = 0; part < plan.parts; ++part) {
    use(part);
    max = std::max(max, x.s.max[r]);
  }
  use(0);
  float* z = x.s.z + r * plan.channels;
  for (idx_t part = 0; part < plan.parts; ++part) {
    use(part);
    const float factor = x.s.sum[r] == 0.0f ? 0.0f : std::exp(x.s.max[r] - max);
    sum += factor * x.s.sum[r];
    kept += factor * x.s.kept[r];
    if (part == 0) {
      RescaleRow(z, plan.channels, factor);
    } else if (factor != 0.0f) {
      AddScaledRow(x.s.z + r * plan.channels, factor, z, plan.C);
    }
  }
  FinishReassociated(x, x.Row(r), z, max, sum, kept);
}

// ---- backward -----------------------------------------------------------------------------------

// scores := weights after dropout, dscores := gradient of the scores, from scores and dout wv x.
inline void BackwardTokens(const ReassociatedTask& x) {
  const TileTag d;
  const ReassociatedPlan& plan = x.plan;
  const ReassociatedScratch& s = x.s;
  for (idx_t lane = 0; lane < x.Lanes(); lane += kTileLanes) {
    const auto bias = hn::LoadU(d, s.bias + lane), shift = hn::LoadU(d, s.shift + lane);
    for (idx_t i = 0; i < x.tokens; ++i) {
      float* dscore = s.dscores + i * plan.lanes + lane;
      const auto p = ExpNonPositive(d, hn::Sub(TokenRow(x, i, lane), shift));
      hn::StoreU(p, d, s.scores + i * plan.lanes + lane);
      hn::StoreU(x.shown[i] ? hn::Add(hn::LoadU(d, dscore), bias) : hn::Zero(d), d, dscore);
    }
  }
  // out = (p f) v: dp = f (dout . v), and dv sees p f.
  if (plan.dropout.active()) DropTokens(x, s.dscores);
  for (idx_t lane = 0; lane < x.Lanes(); lane += kTileLanes) {
    const auto delta = hn::LoadU(d, s.delta + lane);
    for (idx_t i = 0; i < x.tokens; ++i) {
      float* dscore = s.dscores + i * plan.lanes + lane;
      const auto p = hn::LoadU(d, s.scores + i * plan.lanes + lane);
      hn::StoreU(hn::Mul(p, hn::Sub(hn::LoadU(d, dscore), delta)), d, dscore);
    }
  }
  if (plan.dropout.active()) DropTokens(x, s.scores);
}

// dx += dscores u + weights a
inline void AddTokenGradients(const ReassociatedTask& x) {
  const ReassociatedPlan& plan = x.plan;
  for (idx_t i = 0; i < x.tokens; i += kTileRows) {
    const idx_t m = std::min(kTileRows, x.tokens - i);
    for (idx_t c = 0; c < plan.C; c += kPanel) {
      const TileTerm terms[2] = {{x.s.dscores + i * plan.lanes, x.s.u_panels + c * x.rows, x.rows},
                                 {x.s.scores + i * plan.lanes, x.s.a_panels + c * x.rows, x.rows}};
      TileMultiply<false>(m, std::min(kPanel, plan.C - c), terms, 2, plan.lanes, false, x.s.dx + c,
                          plan.channels);
    }
    for (idx_t r = 0; r < m; ++r) {
      if (!x.shown[i + r]) continue;
      AddRow(x.s.dx + r * plan.channels, &x.args.gradients.dx(x.b, x.first + i + r, 0), plan.C);
    }
  }
}

// u and a in panels of channels, and the constants of the rows.
inline void StartBackward(const ReassociatedTask& x) {
  const ReassociatedPlan& plan = x.plan;
  const ReassociatedScratch& s = x.s;
  PackPanels(x.args.BatchRows(x.args.u, x.b), plan.channels, x.rows, plan.C, s.u_panels);
  PackPanels(x.args.BatchRows(x.args.a, x.b), plan.channels, x.rows, plan.C, s.a_panels);
  for (float* constants : {s.shift, s.delta, s.bias}) std::fill_n(constants, plan.lanes, 0.0f);
  for (idx_t r = 0; r < x.rows; ++r) {
    const auto row = x.Row(r);
    const float* dout = x.FloatRow(x.args.dout(x.b, row.h, row.token), 1);
    s.shift[r] = x.args.lse(x.b, row.h, row.token) - KeyBias(x, row);
    s.delta[r] = DotRow(dout, x.FloatRow(x.args.out(x.b, row.h, row.token), 0), plan.D);
    if (!x.args.bv.empty()) {
      s.bias[r] = DotRow(dout, x.args.bv.data + row.h * plan.D, plan.D);
    }
  }
}

inline void UseBackwardSide(ReassociatedTask& x, idx_t task) {
  x.s.du = x.args.side + task * x.plan.SideFloats(true);
  x.s.z = x.s.du + x.plan.rows * x.plan.channels;
  x.s.kept = x.s.z + x.plan.rows * x.plan.channels;
}

inline void ReassociatedBackwardTask(const ReassociatedArguments& args,
                                     const ReassociatedScratch& scratch, idx_t batch, idx_t task) {
  const ReassociatedPlan& plan = args.plan;
  ReassociatedTask x(args, scratch, task / plan.parts, batch, task % plan.parts);
  if (x.rows == 0) return;
  UseBackwardSide(x, task);
  StartBackward(x);
  ClearScratch(x);
  std::fill_n(x.s.du, x.rows * plan.channels, 0.0f);
  std::fill_n(x.s.z, x.rows * plan.channels, 0.0f);
  std::fill_n(x.s.kept, plan.lanes, 0.0f);
  for (idx_t first = x.begin; first < x.end; first += ReassociatedPlan::kTokens) {
    EnterTokens(x, first);
    TokenScores(x, args.BatchRows(args.u, x.b), x.s.scores);
    TokenScores(x, args.BatchRows(args.a, x.b), x.s.dscores);
    BackwardTokens(x);
    AddKept(x, x.s.scores);
    AddTokens(x, x.s.dscores, x.s.du);
    if (!args.gradients.dwv.empty()) AddTokens(x, x.s.scores, x.s.z);  // for dwv alone
    AddTokenGradients(x);
  }
}

// What a batch's rows of head h leave for the parameters and the queries: dwk, dwv, dbv, dqg, from
// du and z of all parts, added in their order.
inline void ReassociatedBackwardSum(const ReassociatedArguments& args,
                                    const ReassociatedScratch& scratch, idx_t batch, idx_t h) {
  const ReassociatedPlan& plan = args.plan;
  float *du = scratch.dx, *z = scratch.dx + plan.channels;  // rows of scratch
  const bool dwk = !args.gradients.dwk.empty(), dwv = !args.gradients.dwv.empty();
  for (idx_t b = 0; b < plan.B; ++b) {
    ReassociatedTask x(args, scratch, b, batch, 0);
    for (idx_t r = 0; r < x.rows; ++r) {
      const auto row = x.Row(r);
      if (row.h != h) continue;
      std::fill_n(du, 2 * plan.channels, 0.0f);
      float kept = 0.0f;
      for (idx_t part = 0; part < plan.parts; ++part) {
        UseBackwardSide(x, b * plan.parts + part);
        AddRow(x.s.du + r * plan.channels, du, plan.C);
        if (dwv) AddRow(x.s.z + r * plan.channels, z, plan.C);
        kept += x.s.kept[r];
      }
      const float* q = x.FloatRow(args.qg(b, h, row.g), 0);
      const float* dout = x.FloatRow(args.dout(b, h, row.token), 1);
      for (idx_t d = 0; d < plan.D; ++d) {
        const idx_t out = h * plan.D + d;
        args.gradients.dqg(b, h, row.g, d) +=
            plan.scale * DotRow(x.Weight(args.wk, h, d), du, plan.C);
        if (dwk) AddScaledRow(du, plan.scale * q[d], &args.gradients.dwk(out, 0), plan.C);
        if (dwv) AddScaledRow(z, dout[d], &args.gradients.dwv(out, 0), plan.C);
        if (!args.gradients.dbv.empty()) args.gradients.dbv(out) += kept * dout[d];
      }
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_WINDOW_GLOBAL_REASSOCIATED_INL_H_
