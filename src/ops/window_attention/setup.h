// What the three operations of this folder share before their tasks start: checks of arguments,
// extents of blocks, scratch, and the lists of global tokens.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "base/arena.h"
#include "longspan/attention.h"
#include "ops/attention_call.h"
#include "ops/window_attention/row_block.h"

namespace longspan {

inline constexpr AttentionCheck CheckWindow{{"window attention"}};

// Throws kUsage on a spec out of range, an extent below 1 in (B, H, T, D), and on roles, out and
// lse of other shapes.
template <class T>  // float or bfloat16
void CheckWindowCall(const WindowSpec& spec, const std::array<idx_t, 4>& shape, const char* name,
                     const TokenRoles& roles, const AttentionSavedOf<T>& saved);

// Throws kUsage unless the view is (B, H, G, D) with room for the global tokens of a row: of texts
// side by side, those of all.
template <class T>
void CheckGlobalQueries(const View<const T, 4>& view, const char* name,
                        const std::array<idx_t, 4>& shape, const WindowSpec& spec,
                        const GlobalTokens& globals) {
  const idx_t most = spec.starts.empty() ? globals.most : globals.first.back();
  CheckWindow(view, name, {shape[0], shape[1], view.extent[2], shape[3]});
  Check(view.extent[2] >= most, ErrorCode::kUsage,
        "window attention: {} has {} rows for {} global tokens", name, view.extent[2], most);
}

// The call's global tokens: the caller's, or found now. kUsage for those of another batch.
GlobalTokens GlobalTokensOf(const WindowSpec& spec, const TokenRoles& roles, idx_t batch);

// Those of one text.
GlobalTokens GlobalTokensOfText(const GlobalTokens& row, idx_t text);

// Everything but score_stride, which depends on how many keys a row meets at once.
BlockPlan MakeBlockPlan(const WindowSpec& spec, idx_t tokens, idx_t head_size);

// Room for `columns` scores: an odd number of cache lines, so that columns of scores spread over
// all sets of the cache.
idx_t ScoreStride(idx_t columns);

// Keys that are packed at a time where they do not lie in a ring: they, their gradients and the
// scores of a block fill half of a 512 KB L2 cache.
idx_t BlockKeys(idx_t head_size);

// A thread's scratch: `rows` query rows, rings of keys. The rings say how much of each.
struct TaskScratch {
  RowScratch rows;
  PackedKeys keys;     // of the window, or of global rows
  PackedKeys globals;  // forward, beside the window; ring 0: none
};

std::size_t TaskScratchBytes(const BlockPlan& plan, idx_t rows, bool backward,
                             const TaskScratch& rings);

// The same in `memory`, of so many bytes.
TaskScratch TaskScratchAt(void* memory, const BlockPlan& plan, idx_t rows, bool backward,
                          const TaskScratch& rings);

}  // namespace longspan
