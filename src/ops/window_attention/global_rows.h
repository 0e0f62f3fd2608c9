// How the rows of global tokens are cut into tasks. The operations themselves are declared in
// longspan/attention.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include "longspan/attention.h"
#include "ops/window_attention/row_block.h"
#include "ops/window_attention/setup.h"

namespace longspan {

struct WindowSlab;  // ops/window_attention/window_slab.h

// A task is a batch of query rows of one head with a part of all keys. Parts leave maxima, sums and
// outputs (forward) or dq (backward) of their own, which are put together in order.
struct GlobalPlan {
  BlockPlan block;
  idx_t B = 0, H = 0, T = 0;
  // The T keys are part of a row of row_tokens, from row_begin on (a slab), or all of it. A slab's
  // rows of out, lse and dout are packed as those of qg.
  idx_t row_tokens = 0, row_begin = 0;
  bool slab = false;
  ProbabilityDropout drawn;  // how its elements are numbered
  bool causal = false;
  TaskScratch rings;
  idx_t rows = 0;             // of a batch
  idx_t batches = 0;          // forward: of a head, all at once; backward: one after another
  idx_t part = 0, parts = 0;  // keys of a part, parts
  bool tiles = false;         // on the tile unit: batches are larger

  idx_t SideFloats() const {
    return RoundUp(rows * (block.row + 2), BlockPlan::kRowUnit);
  }  // of a task
};

GlobalPlan MakeGlobalPlan(const WindowSpec& spec, const std::array<idx_t, 4>& shape, idx_t globals,
                          bool backward, bool bf16, const WindowSlab* slab = nullptr);

// Which head, rows and keys a task has.
struct GlobalArguments;
struct GlobalTask {
  idx_t b = 0, h = 0;
  idx_t first = 0, rows = 0;  // queries; rows <= 0: none
  idx_t begin = 0, end = 0;   // keys

  GlobalTask(const GlobalArguments& args, idx_t batch, idx_t head, idx_t part);
};

// What the tasks share.
struct GlobalArguments {
  GlobalPlan plan;
  InView qg, kg, vg;
  TokenRoles roles;
  OutView out;
  View<float, 3> lse;
  InView dout;
  DGlobalQkv gradients;
  GlobalTokens globals;
  // More than one part, by task: rows of out or dq (rows, row), maxima (rows), sums (rows).
  float* side = nullptr;

  float* Side(idx_t task) const { return side + task * plan.SideFloats(); }
  QueryRows Queries(idx_t b, idx_t h) const {
    const TokenMap tokens{0, 1, globals.List(b)};
    QueryRows rows;
    rows.count = globals.Count(b);
    rows.tokens = tokens;
    const TokenMap at = plan.slab ? TokenMap{} : tokens;
    rows.head_row = plan.drawn.Head(b, h, plan.H) * plan.row_tokens;
    rows.q = HeadRows(qg, b, h, {});  // packed
    rows.out = HeadRows(out, b, h, at);
    rows.lse = HeadRows(lse, b, h, at);
    rows.dout = HeadRows(dout, b, h, at);
    rows.dq = HeadRows(gradients.dqg, b, h, {});
    return rows;
  }
  KeyRows Keys(idx_t b, idx_t h) const {
    KeyRows rows;
    rows.count = plan.T;
    rows.roles = RolesOf(roles, b);
    rows.shows_global = true;
    rows.k = HeadRows(kg, b, h, {});
    rows.v = HeadRows(vg, b, h, {});
    rows.dk = HeadRows(gradients.dkg, b, h, {});
    rows.dv = HeadRows(gradients.dvg, b, h, {});
    rows.causal = plan.causal;
    rows.slot = plan.row_begin;
    return rows;
  }
};

inline GlobalTask::GlobalTask(const GlobalArguments& args, idx_t batch, idx_t head, idx_t part)
    : b(head / args.plan.H), h(head % args.plan.H) {
  const GlobalPlan& plan = args.plan;
  first = batch * plan.rows;
  rows = std::min(plan.rows, args.globals.Count(b) - first);
  begin = part * plan.part;
  end = std::min(plan.T, begin + plan.part);
}

}  // namespace longspan
