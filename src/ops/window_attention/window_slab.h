// Window attention of a slab: the queries [begin, end) of a longer row, whose keys reach beyond it
// on both sides (the halo), and the row's global tokens. Slabs on several machines give what the
// row gives on one, up to the order of sums.
#pragma once

#include <vector>

#include "longspan/attention.h"

namespace longspan {

// One row (B is 1) of `tokens` tokens, of which `begin` to `end` are queries and `before` and
// `after` more tokens are there as keys: all that the window reaches (else kUsage), its width times
// the largest dilation. `globals` are the places of all of the row's global tokens, ascending.
//
// q, out, dq, dout (1, H, M, D) and lse (1, H, M) have the M = end - begin queries. k, v, dk, dv
// (1, H, M', D) have M' = Keys() + G keys: those of the slab with its halo, and behind them those
// of all global tokens once more, wherever they stand; or with `global_keys` more keys in between,
// which nobody looks at, and after them. Roles (1, Keys()) are those of the former.
// Without `globals` no role may be that of a global token.
//
// Positions, dropout and causality are those of the row. `spec.globals` and `spec.starts` must be
// empty, and no global token may be in a causal row. Gradients of the halo's and of global keys are
// this slab's part: their owners add them.
struct WindowSlab {
  idx_t tokens = 0, begin = 0, end = 0;
  idx_t before = 0, after = 0;
  std::vector<idx_t> globals;
  idx_t global_keys = 0;  // the first global token's row of k; 0: Keys()

  // What a spec's window needs beside a slab.
  static WindowSlab Of(const WindowSpec& spec, idx_t tokens, idx_t begin, idx_t end);
  idx_t Queries() const { return end - begin; }
  idx_t Keys() const { return before + Queries() + after; }
  idx_t GlobalKeys() const { return global_keys > 0 ? global_keys : Keys(); }
  idx_t Globals() const { return static_cast<idx_t>(globals.size()); }
};

// The rows of local tokens of the slab. Those of global tokens are left as they are.
void WindowForward(Context& context, const WindowSpec& spec, const WindowSlab& slab, const Qkv& qkv,
                   const TokenRoles& roles, const AttentionSaved& saved);
void WindowForward(Context& context, const WindowSpec& spec, const WindowSlab& slab,
                   const Bf16Qkv& qkv, const TokenRoles& roles, const Bf16AttentionSaved& saved);
void WindowBackward(Context& context, const WindowSpec& spec, const WindowSlab& slab,
                    const Qkv& qkv, const TokenRoles& roles, const AttentionSaved& saved,
                    const View<const float, 4>& dout, const DQkv& gradients);
void WindowBackward(Context& context, const WindowSpec& spec, const WindowSlab& slab,
                    const Bf16Qkv& qkv, const TokenRoles& roles, const Bf16AttentionSaved& saved,
                    const View<const bfloat16, 4>& dout, const DQkv& gradients);

// ---- rows of global tokens ----------------------------------------------------------------------
// Each slab computes its part of all of them, over its own keys alone: qg (1, H, G, D), kg and vg
// (1, H, M, D), roles (1, M) or none. before and after count for nothing.

// Writes out (1, H, G, D) and lse (1, H, G) of the softmax over this slab's keys. Where it has
// none, out is 0 and lse -inf. Parts are fp32 whatever is multiplied: out is rounded once, joined.
void GlobalForward(Context& context, const WindowSpec& spec, const WindowSlab& slab,
                   const GlobalQkv& qkv, const TokenRoles& roles, const AttentionSaved& saved);
void GlobalForward(Context& context, const WindowSpec& spec, const WindowSlab& slab,
                   const Bf16GlobalQkv& qkv, const TokenRoles& roles, const AttentionSaved& saved);
// Takes `saved` of the whole row, which JoinParts made, and dout (1, H, G, D). dkg and dvg are
// those of the slab's keys, whole; dqg is the slab's part of a sum over all slabs.
void GlobalBackward(Context& context, const WindowSpec& spec, const WindowSlab& slab,
                    const GlobalQkv& qkv, const TokenRoles& roles, const AttentionSaved& saved,
                    const View<const float, 4>& dout, const DGlobalQkv& gradients);
void GlobalBackward(Context& context, const WindowSpec& spec, const WindowSlab& slab,
                    const Bf16GlobalQkv& qkv, const TokenRoles& roles,
                    const Bf16AttentionSaved& saved, const View<const bfloat16, 4>& dout,
                    const DGlobalQkv& gradients);

// Puts the parts of softmaxes together, in their order: out = sum of e^(lse_i - lse) out_i, lse =
// log sum of e^lse_i. All parts have one shape, and so has `saved`. A part of lse -inf counts for
// nothing; where all are, out is 0 and lse -inf.
void JoinParts(Context& context, const std::vector<AttentionSaved>& parts,
               const AttentionSaved& saved);

}  // namespace longspan
