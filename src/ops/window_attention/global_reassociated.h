// How the re-associated form of the global rows is cut into tasks. The operations themselves are
// declared in longspan/attention.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/math.h"
#include "base/rng.h"
#include "longspan/attention.h"
#include "ops/window_attention/row_block.h"
#include "ops/window_attention/setup.h"

namespace longspan {

// A row is a global token of one head: row n of a sequence with G global tokens is token n % G of
// head n / G. Batches of rows follow each other. A task is a batch with a part of the tokens of one
// sequence; parts leave sums of their own, which are put together in order.
struct ReassociatedPlan {
  static constexpr idx_t kTokens = 48;  // at a time: whole tiles
  static constexpr idx_t kRows = 24;    // of a batch, at most

  idx_t B = 0, H = 0, T = 0, D = 0, C = 0;
  bool causal = false;
  float scale = 0.0f;
  Dropout dropout;
  ProbabilityDropout drawn;   // how its elements are numbered
  idx_t slots = 0;            // of a row, for dropout
  idx_t rows = 0;             // of a batch
  idx_t lanes = 0;            // rows, padded
  idx_t channels = 0;         // C, padded
  idx_t batches = 0;          // of a sequence
  idx_t part = 0, parts = 0;  // tokens of a part, parts

  idx_t Tasks() const { return B * parts; }  // of a batch
  // Floats of u or a of a batch.
  idx_t BatchFloats() const { return B * rows * channels; }
  // Floats of one part's sums: forward z, max, sum, kept; backward du, z, kept.
  idx_t SideFloats(bool backward) const {
    return (backward ? 2 : 1) * rows * channels + (backward ? 1 : 3) * lanes;
  }
};

// shape: (B, H, T, D).
ReassociatedPlan MakeReassociatedPlan(const WindowSpec& spec, const std::array<idx_t, 4>& shape,
                                      idx_t channels, idx_t globals, bool backward);

// What the tasks share.
struct ReassociatedArguments {
  ReassociatedPlan plan;
  InView x;  // (B, 1, T, C)
  InView qg;
  View<const float, 2> wk, wv;
  View<const float, 1> bk, bv;
  TokenRoles roles;
  OutView out;
  View<float, 3> lse;
  InView dout;
  DGlobalProjection gradients;
  GlobalTokens globals;
  // Of the batch at hand, (B, rows, channels): u = scale qg wk; backward also a = dout wv.
  float *u = nullptr, *a = nullptr;
  float* side = nullptr;  // by task

  // Row n of sequence b: its head, its number among the global tokens, its position.
  struct Row {
    idx_t h, g, token;
  };
  Row RowOf(idx_t b, idx_t n) const {
    const idx_t count = globals.Count(b), g = n % count;
    return {n / count, g, globals.List(b)[g]};
  }
  const float* BatchRows(const float* of_batch, idx_t b) const {
    return of_batch + b * plan.rows * plan.channels;
  }
  // Rows of a batch that sequence b has.
  idx_t RowsOf(idx_t b, idx_t batch) const {
    return std::clamp<idx_t>(plan.H * globals.Count(b) - batch * plan.rows, 0, plan.rows);
  }
};

// A thread's scratch. Sizes are in global_reassociated.cc.
struct ReassociatedScratch {
  float* scores = nullptr;   // (kTokens, lanes)
  float* last = nullptr;     // (lanes): the last token of the block that a row sees
  float* factors = nullptr;  // (kTokens): dropout
  float* x_rows = nullptr;   // (kTokens, channels): x of a block, where it is copied
  float* rows[2] = {};       // (D): widened rows of heads
  // In the task's side.
  float* z = nullptr;     // (rows, channels): sum of dropped weights times x
  float* kept = nullptr;  // (lanes): sum of what dropout leaves of exp(score - max)
  float* max = nullptr;   // (lanes), forward: of the tokens so far
  float* sum = nullptr;   // (lanes), forward: of exp(score - max) so far
  float* du = nullptr;    // (rows, channels), backward
  // Backward only.
  float* u_panels = nullptr;  // u in panels of channels: [rows][kPanel] each
  float* a_panels = nullptr;
  float* dscores = nullptr;  // (kTokens, lanes)
  float* dx = nullptr;       // (kTileRows, channels)
  float* shift = nullptr;    // (lanes): lse without the share of the key bias
  float* delta = nullptr;    // (lanes): dout . out
  float* bias = nullptr;     // (lanes): dout . bv
};

}  // namespace longspan
