// The processes that mpirun started together with this one, as calls of Python use them.
#pragma once

#include "longspan/context.h"
#include "longspan/world.h"

namespace longspan::python {

// The world of this process; null: it was started alone, or it is a forked child. The first call
// starts MPI and waits for the other ranks: they all call it. It lives as long as the process, and
// serves one call at a time, whatever its thread: the module asks MPI to allow that. kUsage as
// World::Start.
World* SharedWorld();

// While it lives, a context has joined the world. `world`: null joins none.
class Joined {
 public:
  Joined(Context& context, World* world) : context_(context) { context_.Join(world); }
  ~Joined() { context_.Join(nullptr); }
  Joined(const Joined&) = delete;
  Joined& operator=(const Joined&) = delete;

 private:
  Context& context_;
};

// The interpreter ends: this rank waits for the others, so that nobody misses it. With `failed` it
// gives up instead: the others learn that, whatever they wait for. Never throws.
void LeaveRanks(bool failed) noexcept;

}  // namespace longspan::python
