// How long the rows of each update are.
#pragma once

#include <string>

#include "longspan/train.h"

namespace longspan {

// Tokens of a row of update `step`, which counts from 1: those of its stage, or options.tokens
// without stages.
idx_t TokensAt(const TrainOptions& options, idx_t step);

// "512:1000,4096:", as ParseLengths reads it.
std::string LengthsText(const std::vector<LengthStage>& stages);

// Makes options.tokens the longest of the stages, if there are any: memory and evaluations go by
// it. kUsage for stages that ParseLengths would refuse, and with `packed` for any.
void ResolveLengths(bool packed, TrainOptions* options);

}  // namespace longspan
