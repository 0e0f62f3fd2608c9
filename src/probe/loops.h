// The bare loops behind the peaks: each runs on the calling thread and returns what keeps the
// compiler from dropping it. Nothing outside this folder includes this file.
#pragma once

#include "base/isa.h"
#include "longspan/types.h"

namespace longspan::probe {

// How many independent FMA chains run side by side.
enum class Chains {
  kFull,     // enough for two pipes of latency 5, and all of them fit into registers
  kCheck,    // 8: the least that fills two pipes of latency 4; no instruction set spills it
  kStarved,  // 2: bound by latency, a quarter of the truth: for the test of the check
};

// `steps` multiply-adds on each chain. flop = 2 * FloatLanes() * ChainCount(chains) * steps.
float FmaLoop(Chains chains, idx_t steps);
idx_t ChainCount(Chains chains);
idx_t FloatLanes();

// a[i] = b[i] + 3 c[i] with streaming stores: 12 bytes moved per element. Multiple of 64 elements,
// 64-byte aligned.
void Triad(const float* b, const float* c, float* a, idx_t count);

// `steps` integer additions that wait for each other: one cycle each.
std::uint64_t AddChain(idx_t steps);

// bf16 products of the active instruction set. flop of one step, 0 where there is no such
// instruction; the loop must not be called then.
double Bf16FlopPerStep(Isa isa);
float Bf16Loop(Isa isa, idx_t steps);
// The operating system's leave to use AMX tiles in this process; true elsewhere.
bool AllowBf16(Isa isa);

}  // namespace longspan::probe
