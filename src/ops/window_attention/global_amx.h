// Rows of global tokens, projected, in bf16 on the tile unit (ops/amx_attention): the tasks of
// global_rows.h, with larger batches.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "ops/amx_attention/amx_attention.h"
#include "ops/window_attention/global_rows.h"

namespace longspan {

// Rows of a batch: a multiple of what meets at once in the backward. Each batch packs all keys.
inline constexpr idx_t kGlobalRowsOnTiles = 256;

// Plans of calls that run together, and bytes of a thread's scratch for the largest.
struct GlobalTiles {
  std::vector<AmxPlan> plans;
  std::size_t bytes = 0;
};
GlobalTiles PlanGlobalTiles(std::span<const GlobalArguments> calls, bool backward);

// The tasks of GlobalForwardTask and GlobalBackwardTask (global_rows-inl.h).
void GlobalForwardOnTiles(const GlobalArguments& args, const AmxPlan& amx, void* scratch,
                          idx_t task);
void GlobalBackwardOnTiles(const GlobalArguments& args, const AmxPlan& amx, void* scratch,
                           idx_t batch, idx_t task);

}  // namespace longspan
