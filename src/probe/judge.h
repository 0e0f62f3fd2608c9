// When to believe the fp32 probe.
#pragma once

#include "longspan/machine.h"
#include "longspan/types.h"

namespace longspan::probe {

// Fills plausible and note from the measured figures. check_gflops is the same machine's rate with
// 8 chains, which no instruction set spills; lanes are the floats of a vector.
void Judge(idx_t lanes, int threads, double check_gflops, Peaks& peaks);

}  // namespace longspan::probe
