// From which numbers a Reformer's random numbers derive their keys.
#pragma once

#include <cstdint>

namespace longspan {

// Random sites of the model. Layer i owns the sites from kFirstLayer + 2 i on for dropout and
// rounding; the key of its mechanism derives from kMechanisms.
enum ReformerSite : std::uint64_t {
  kWords = 0,
  kPositions = 1,
  kFinal = 2,
  kMechanisms = 3,
  kRounding = 4,
  kFirstLayer = 16
};

}  // namespace longspan
