// Layers of several kinds that come in turn, as presets and trials have them.
#pragma once

#include <vector>

#include "base/errors.h"
#include "longspan/types.h"

namespace longspan {

// The kinds of `count` layers: those of `pattern`, again and again.
template <class Kind>
std::vector<Kind> RepeatLayers(const std::vector<Kind>& pattern, idx_t count) {
  std::vector<Kind> layers;
  for (idx_t i = 0; i < count; ++i) {
    layers.push_back(pattern[static_cast<std::size_t>(i) % pattern.size()]);
  }
  return layers;
}

// kUsage unless the heads divide the width.
inline void CheckHeadsDivide(idx_t width, idx_t heads) {
  Check(width % heads == 0, ErrorCode::kUsage,
        "init: a width of {} is not divisible by {} heads; choose --width as a multiple of --heads",
        width, heads);
}

}  // namespace longspan
