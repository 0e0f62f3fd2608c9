// How sliding-window attention is cut into tasks, and what a task needs. The operations themselves
// are declared in longspan/attention.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "longspan/attention.h"
#include "ops/window_attention/row_block.h"
#include "ops/window_attention/setup.h"

namespace longspan {

// The tokens of one residue modulo a head's dilation: a plain window sequence.
struct WindowSequence {
  idx_t b = 0, h = 0;
  idx_t residue = 0, dilation = 1;
  idx_t count = 0;  // tokens
  idx_t first_query = 0, last_query = 0;
};

struct WindowSlab;  // ops/window_attention/window_slab.h

// Everything that follows from the shapes, the spec and the number of global tokens: the same on
// every machine and for any number of threads.
struct WindowPlan {
  BlockPlan forward, backward;

  idx_t B = 0, H = 0, T = 0;
  ProbabilityDropout drawn;  // how its elements are numbered
  // Which of the T tokens are queries: all, or a slab's. Their arrays begin with the first of them.
  // The T tokens are part of a row of row_tokens, from row_begin on.
  idx_t first_query = 0, last_query = 0;
  idx_t row_tokens = 0, row_begin = 0;
  bool slab = false;
  bool beside = false;        // other texts run at the same time
  idx_t left = 0, right = 0;  // at most row_tokens - 1
  bool causal = false;
  std::vector<idx_t> dilation;        // (H), at most T
  std::vector<idx_t> first_sequence;  // (H + 1): a row of the batch has the sequences of all heads
  idx_t longest = 0;                  // tokens of the longest sequence

  // Forward: a task is a run of query rows of a sequence.
  idx_t run = 0, runs = 0;
  // Window keys lie in a ring and each block of rows meets all it sees at once. Otherwise the keys
  // pass by in blocks, and the whole run keeps maxima and sums.
  bool ring = false;
  TaskScratch forward_rings;
  idx_t forward_rows = 0;  // of scratch

  // Backward: a task is a group of keys with some of their queries. In a wave no two tasks share a
  // query or a key.
  idx_t group = 0, groups = 0;
  bool alternate = false;  // even groups, then odd ones, with all queries they reach
  TaskScratch backward_rings;
  // Global keys: parts of the queries, each with sums of its own for dk and dv.
  idx_t part = 0, parts = 0;
  static constexpr idx_t kGlobalKeys = BlockPlan::kPanelUnit;  // at a time
  static constexpr idx_t kFewKeys = 3;                         // without tiles

  idx_t Sequences() const { return B * first_sequence.back(); }
  WindowSequence Sequence(idx_t number) const {
    const idx_t each = first_sequence.back(), i = number % each;
    const auto next = std::upper_bound(first_sequence.begin(), first_sequence.end(), i);
    const auto h = static_cast<std::size_t>(next - first_sequence.begin() - 1);
    WindowSequence s{number / each, static_cast<idx_t>(h), i - first_sequence[h], dilation[h], 0};
    s.count = CeilDiv(T - s.residue, s.dilation);
    const auto from = [&](idx_t token) {
      return CeilDiv(std::max<idx_t>(0, token - s.residue), s.dilation);
    };
    s.first_query = from(first_query);
    s.last_query = from(last_query);
    return s;
  }

  // Waves: two alternating ones; or the group pairs (g, g + wave), around the circle.
  idx_t Waves() const { return groups == 1 ? 1 : (alternate ? 2 : groups); }
  idx_t PairsOfWave(idx_t wave) const { return alternate ? (groups - wave + 1) / 2 : groups; }
  struct Pair {
    idx_t keys = 0, last_keys = 0;  // [keys, last_keys)
    idx_t queries = 0, last_queries = 0;
  };
  Pair PairOf(idx_t wave, idx_t i) const {
    if (groups == 1) return {0, longest, 0, longest};
    if (alternate) {
      const idx_t g = 2 * i + wave;
      return {g * group, (g + 1) * group, 0, longest};
    }
    const idx_t q = (i + wave) % groups;
    return {i * group, (i + 1) * group, q * group, (q + 1) * group};
  }
};

// shape: (B, H, T, D), of one of the texts where spec.starts has some.
// With a slab, T is that of its keys with the halo.
WindowPlan MakeWindowPlan(const WindowSpec& spec, const std::array<idx_t, 4>& shape, idx_t globals,
                          const WindowSlab* slab = nullptr);

// Cuts the backward into groups of a multiple of `unit` keys: group, groups and alternate.
void PlanGroups(idx_t unit, WindowPlan* plan);

// What the tasks share.
struct WindowArguments {
  WindowPlan plan;
  InView q, k, v;
  TokenRoles roles;
  OutView out;
  View<float, 3> lse;
  InView dout;
  DQkv gradients;
  GlobalTokens globals;
  // Backward, global keys, more than one part: dk and dv (B*H, parts, 2, keys, row) of the keys at
  // hand, and whether a part has any.
  float* side = nullptr;
  std::uint8_t* side_used = nullptr;
  idx_t side_keys = 0;

  float* Side(idx_t task, int which) const {
    return side + (task * 2 + which) * side_keys * plan.backward.row;
  }
  QueryRows Queries(idx_t b, idx_t h, const TokenMap& tokens, idx_t count) const {
    QueryRows rows;
    rows.count = count;
    rows.tokens = tokens;
    rows.roles = RolesOf(roles, b);
    rows.head_row = plan.drawn.Head(b, h, plan.H) * plan.row_tokens + plan.row_begin;
    TokenMap at = tokens;  // where they lie
    at.origin -= plan.first_query;
    rows.q = HeadRows(q, b, h, at);
    rows.out = HeadRows(out, b, h, at);
    rows.lse = HeadRows(lse, b, h, at);
    rows.dout = HeadRows(dout, b, h, at);
    rows.dq = HeadRows(gradients.dq, b, h, at);
    return rows;
  }
  KeyRows Keys(idx_t b, idx_t h, const TokenMap& tokens, idx_t count) const {
    KeyRows rows;
    rows.count = count;
    rows.tokens = tokens;
    rows.k = HeadRows(k, b, h, tokens);
    rows.v = HeadRows(v, b, h, tokens);
    rows.dk = HeadRows(gradients.dk, b, h, tokens);
    rows.dv = HeadRows(gradients.dv, b, h, tokens);
    return rows;
  }
  KeyRows WindowKeys(const WindowSequence& s) const {
    KeyRows rows = Keys(s.b, s.h, {s.residue, s.dilation, nullptr}, s.count);
    rows.roles = RolesOf(roles, s.b);
    rows.band = true;
    rows.left = plan.left;
    rows.right = plan.right;
    return rows;
  }
  KeyRows GlobalKeys(idx_t b, idx_t h) const {
    KeyRows rows = Keys(b, h, {0, 1, globals.List(b)}, globals.Count(b));
    rows.causal = plan.causal;
    rows.slot = plan.left + 1 + plan.right;
    return rows;
  }
};

}  // namespace longspan
