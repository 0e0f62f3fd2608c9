// Window attention in bf16 on the tile unit (ops/amx_attention): how it is cut into tasks. Global
// keys are met beside the window in the forward; in the backward they have a pass of their own, as
// everywhere (window_attention-inl.h).
#pragma once

#include <span>

#include "longspan/context.h"
#include "ops/amx_attention/amx_attention.h"
#include "ops/window_attention/window_attention.h"

namespace longspan {

// Whether the call's operands are multiplied by the tile unit or its twin.
bool RunsOnTiles(const WindowArguments& args);

// Calls of one shape but for their lengths, together: texts side by side, or one call alone.
// All rows of out and lse that are not global.
void AmxWindowForward(Context& context, std::span<const WindowArguments> calls);
// dq, dk and dv of window keys.
void AmxWindowBackward(Context& context, std::span<const WindowArguments> calls);

// The tasks of WindowGlobalKeysTask (window_attention-inl.h) on tiles: global keys from number
// `first` on, with a part of the queries, which begins at a multiple of kAmxGlobalPart.
inline constexpr idx_t kAmxGlobalPart = 512;
AmxPlan PlanAmxGlobalKeys(const WindowArguments& args);
void AmxGlobalKeysTask(const WindowArguments& args, const AmxPlan& amx, void* scratch, idx_t first,
                       idx_t task);

}  // namespace longspan
