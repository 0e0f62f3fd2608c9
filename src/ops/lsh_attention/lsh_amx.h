// LSH attention in bf16 on the tile unit (ops/amx_attention): a task of a round as lists of queries
// and keys.
#pragma once

#include "ops/amx_attention/amx_attention.h"
#include "ops/lsh_attention/lsh_attention.h"

namespace longspan {

// Whether a call's operands are multiplied by the tile unit or its twin. A text with no more chunks
// in all rounds than a window reaches to one side takes the other kernels: it is short.
bool LshRunsOnTiles(const LshPlan& plan);

// Entries of a task's list of keys: its chunks, and those before and behind that their windows
// reach. Lists are readable up to a multiple of 32.
inline idx_t LshEntries(const LshPlan& plan) {
  return (plan.run + plan.before + plan.after) * plan.chunk;
}

AmxPlan PlanLshForwardOnTiles(const LshPlan& plan);
AmxPlan PlanLshBackwardOnTiles(const LshPlan& plan);

// One task of a phase. `memory`: AmxForwardBytes or AmxBackwardBytes of the plan.
void LshForwardOnTiles(const LshArguments& args, const AmxPlan& amx, const LshScratch& scratch,
                       void* memory, idx_t phase, idx_t task);
void LshBackwardOnTiles(const LshArguments& args, const AmxPlan& amx, const LshScratch& scratch,
                        void* memory, idx_t phase, idx_t task);

}  // namespace longspan
