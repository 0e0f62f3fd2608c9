// Chunked attention in bf16 on the tile unit (ops/amx_attention): how it is cut into tasks.
#pragma once

#include "longspan/context.h"
#include "ops/chunked_attention/chunked_attention.h"

namespace longspan {

// Whether the call's operands are multiplied by the tile unit or its twin. A row that has no more
// chunks than a window reaches to one side takes the other kernels: it is short.
bool RunsOnTiles(const ChunkedPlan& plan);

// Backward: a task is a run of queries with all keys that they see. Runs whose keys overlap stand
// next to each other around the circle, so even ones run first, then odd ones, and the last one by
// itself where their number is odd. In a wave no two tasks share a query or a key.
struct AmxChunkedRuns {
  idx_t queries = 0, unit = 0;  // runs begin at multiples of the unit
  idx_t runs = 0;               // of a head

  idx_t Begin(idx_t r) const { return r == runs ? queries : queries / unit * r / runs * unit; }
  idx_t Waves() const { return runs == 1 ? 1 : 2 + runs % 2; }
  idx_t RunsOfWave(idx_t wave) const { return wave == 2 || runs == 1 ? 1 : runs / 2; }
  idx_t RunOf(idx_t wave, idx_t i) const { return wave == 2 ? runs - 1 : 2 * i + wave; }
};
AmxChunkedRuns PlanAmxChunkedRuns(const ChunkedPlan& plan, idx_t unit);

void AmxChunkedForward(Context& context, const ChunkedArguments& args);
void AmxChunkedBackward(Context& context, const ChunkedArguments& args);

}  // namespace longspan
