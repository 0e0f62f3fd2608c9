// How fast messages between the ranks of a world are.
#pragma once

#include <vector>

#include "longspan/types.h"
#include "longspan/world.h"

namespace longspan {

struct PairTimes {
  int low = 0, high = 0;     // ranks
  double latency_s = 0.0;    // of 8 bytes, one way: half of the median round trip
  double bytes_per_s = 0.0;  // of a large message, one way, in the same way
};

// Ranks two at a time send 8 bytes, then `bytes`, there and back `repeats` times, while the others
// wait. The large ones are compared with what was sent. Every rank gets the times of all pairs,
// (0, 1), (0, 2), ..., (1, 2), ...; one process gets none. Together. kUsage for bytes that are not
// from 8 to 2^30 or repeats below 1, kIo for a message that is not as it was sent, kPeer.
std::vector<PairTimes> TimeWorld(World& world, idx_t bytes, idx_t repeats);

}  // namespace longspan
