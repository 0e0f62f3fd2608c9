// Chooses the tokens that a masked language model predicts (Devlin et al. 2019; anew each time).
#pragma once

#include <cstdint>
#include <span>

#include "longspan/types.h"

namespace longspan {

struct MaskRule {
  double share = 0.15;       // of the positions that may be masked
  double with_mask = 0.8;    // of the chosen: become the mask token
  double with_random = 0.1;  // of the chosen: become a random id; the rest stays as it is
  std::int32_t mask_id = 0;
  idx_t vocabulary = 0;  // random ids are below it
};

// Chooses among the positions with fixed[t] == 0, each by itself with probability `share`; where
// chance chooses none, the one that came closest. ids (T) is changed in place; labels (T) gets the
// id that stood there, or kIgnoreLabel. Draws are functions of (key, t). Returns the number chosen.
idx_t MaskTokens(const MaskRule& rule, std::uint64_t key, std::span<const std::uint8_t> fixed,
                 std::span<std::int32_t> ids, std::span<std::int32_t> labels);

}  // namespace longspan
