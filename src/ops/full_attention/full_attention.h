// How full attention is cut into tasks, and what a task needs. The operations themselves are
// declared in longspan/attention.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/math.h"
#include "base/rng.h"
#include "longspan/attention.h"
#include "tensor/mixed_view.h"

namespace longspan {

// Everything that follows from the shapes and the spec: the same on every machine and for any
// number of threads. Rows of scratch are padded to kRowUnit floats (the widest vector), panels of
// B to kPanelUnit columns (the widest panel of simd/tile-inl.h).
struct FullPlan {
  static constexpr idx_t kRowUnit = 16, kPanelUnit = 64;

  idx_t B = 0, H = 0, T = 0, D = 0;
  bool causal = false;
  bool bf16 = false;         // q, k, v, out and dout are bf16
  bool shared = false;       // keys are normalised queries, and tokens hardly see themselves
  float query_scale = 0.0f;  // what queries are multiplied by: the scale, shared form 1
  Dropout dropout;
  ProbabilityDropout drawn;  // how its elements are numbered

  idx_t keys = 0;          // of a key block
  idx_t block = 0;         // query rows at a time
  idx_t columns = 0;       // keys, padded
  idx_t score_stride = 0;  // between rows of scores
  idx_t row = 0;           // D, padded

  idx_t run = 0;     // forward: query rows of a task
  idx_t runs = 0;    // tasks of one head
  idx_t group = 0;   // backward: tokens of a group
  idx_t groups = 0;  // of one head

  idx_t ForwardTasks() const { return B * H * runs; }

  // Backward: pairs of groups meet in waves. In a wave no group occurs twice, so its tasks share no
  // gradient. Wave 0 pairs every group with itself; the others are the rounds of a tournament (the
  // circle method), with a bye when the number of groups is odd.
  idx_t Players() const { return groups + groups % 2; }
  idx_t Waves() const { return groups == 1 ? 1 : Players(); }
  idx_t PairsOfWave(idx_t wave) const { return wave == 0 ? groups : Players() / 2; }

  struct Pair {
    idx_t low = 0, high = 0;  // high == groups: a bye
  };
  Pair PairOf(idx_t wave, idx_t i) const {
    if (wave == 0) return {i, i};
    const idx_t ring = Players() - 1;  // one player stays, the others turn
    const idx_t x = i == 0 ? ring : (wave - 1 + i) % ring, y = (wave - 1 - i + ring) % ring;
    return {std::min(x, y), std::max(x, y)};
  }
  idx_t GroupBegin(idx_t g) const { return g * group; }
  idx_t GroupEnd(idx_t g) const { return std::min(T, (g + 1) * group); }
};

// What the tasks share. In the shared form q and k are the same view, and so are dq and dk.
struct FullArguments {
  FullPlan plan;
  InView q, k, v;
  KeyMask mask;
  OutView out;
  View<float, 3> lse;       // separate form
  View<float, 3> max, sum;  // shared form
  View<float, 3> delta;     // computed before, or empty
  InView dout;
  View<float, 4> dq, dk, dv;
  // (B): position of the first visible key, T when there is none. Null without a mask.
  idx_t* first_visible = nullptr;
};

// A thread's scratch. Sizes are in full_attention.cc.
struct FullScratch {
  float* key_panels = nullptr;    // K^T of a key block
  float* value_panels = nullptr;  // forward V, backward V^T
  float* visible = nullptr;       // (columns): 1 or 0
  float* keys = nullptr;          // (keys, row): normalised keys (shared form), or bf16 gathered
  float* queries = nullptr;       // (run, row); backward (block, row): scaled queries
  float* scores = nullptr;        // (block, score_stride)
  float* output = nullptr;        // (run, row): out before normalisation; backward (block, row): dq
  // Forward only.
  float* max = nullptr;  // (run): of the keys so far
  float* sum = nullptr;  // (run): of exp(score - max) so far
  // Backward only.
  float* key_rows = nullptr;      // K of a key block, in panels
  float* dk = nullptr;            // (columns, row)
  float* dv = nullptr;            // (columns, row)
  float* douts = nullptr;         // (block, row)
  float* dscores = nullptr;       // (block, score_stride)
  float* query_panels = nullptr;  // scaled queries of a block
  float* dout_panels = nullptr;   // dout of a block
  float* pairs = nullptr;         // (block, score_stride / 2): dscores as bf16
  float* factors = nullptr;       // (columns): dropout
};

// The plan for a problem whose arguments were checked, or for one of its texts (spec.starts), of
// which q shows the tokens.
FullPlan MakeFullPlan(const FullSpec& spec, const InView& q, bool shared);

}  // namespace longspan
