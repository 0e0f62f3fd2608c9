// Full attention in bf16 on the tile unit (ops/amx_attention): how it is cut into tasks.
#pragma once

#include <span>

#include "longspan/context.h"
#include "ops/full_attention/full_attention.h"

namespace longspan {

// Whether the call's operands are multiplied by the tile unit or its twin.
bool RunsOnTiles(const FullPlan& plan);

// Calls of one shape but for their lengths, together: texts side by side, or one call alone.
void AmxFullForward(Context& context, std::span<const FullArguments> calls);
void AmxFullBackward(Context& context, std::span<const FullArguments> calls);

}  // namespace longspan
