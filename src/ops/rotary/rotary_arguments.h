// What the tasks of a rotary embedding share.
#pragma once

#include <cstdint>

#include "ops/rotary/rotary.h"
#include "tensor/mixed_view.h"

namespace longspan {

struct RotaryArguments {
  OutView x;  // (B, H, T, D)
  RotaryTable table;
  const std::int32_t* positions;  // (B * T), or null: token t has position t
  float sign;                     // 1, or -1: backwards
};

}  // namespace longspan
