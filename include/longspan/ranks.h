// What the processes of one world (longspan/world.h) compare before they work together.
#pragma once

#include <map>
#include <string>

#include "longspan/world.h"

#pragma GCC visibility push(default)
namespace longspan {

// What must be the same on all ranks, by name: {"the version of longspan", "1.0.0"}.
using RankFacts = std::map<std::string, std::string>;

// The version, the checksum of the file that this code was loaded from, and how its kernels
// compute: results are the same bits on every rank only where these are the same. kIo.
RankFacts ProgramFacts();
// Together. kFormat, on all ranks, when one has another value of anything than rank 0: the message
// names the rank, the fact and both values. Nobody misses the others afterwards (World::Finish).
void CheckSameFacts(World& world, const RankFacts& facts);

}  // namespace longspan
#pragma GCC visibility pop
