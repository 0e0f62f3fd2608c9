// Full attention in bf16 on the tile unit (ops/amx_attention): how it is cut into tasks.
#pragma once

#include "longspan/context.h"
#include "ops/full_attention/full_attention.h"

namespace longspan {

// Whether the call's operands are multiplied by the tile unit or its twin.
bool RunsOnTiles(const FullPlan& plan);

void AmxFullForward(Context& context, const FullArguments& args);
void AmxFullBackward(Context& context, const FullArguments& args);

}  // namespace longspan
