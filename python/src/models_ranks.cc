#include "models_ranks.h"

#include <pthread.h>

#include <exception>
#include <mutex>
#include <new>

#include "longspan/error.h"

namespace longspan::python {
namespace {

std::mutex ranks_mutex;
// Never destroyed: threads of MPI's and of the world's own may outlive main().
World* shared_world = nullptr;
bool is_child = false;

// MPI's connections are the parent's, and its lock may be held by nobody.
void ForgetRanks() {
  new (&ranks_mutex) std::mutex;
  shared_world = nullptr;
  is_child = true;
}
const int forget_handler = pthread_atfork(nullptr, nullptr, ForgetRanks);

}  // namespace

World* SharedWorld() {
  const std::lock_guard lock(ranks_mutex);
  if (shared_world == nullptr) {
    if (is_child || World::LaunchedRanks() == 1) return nullptr;
    shared_world = new World(World::Start());
  }
  return shared_world->size() > 1 ? shared_world : nullptr;
}

void LeaveRanks(bool failed) noexcept {
  const std::lock_guard lock(ranks_mutex);
  if (shared_world == nullptr) return;
  try {
    if (!failed) return shared_world->Finish();
    // What made a training fail is known to all already.
    if (shared_world->Failure().empty())
      shared_world->Abandon("its Python program ends with an exception");
  } catch (const std::exception&) {
    // Another rank has failed. Its own message says why.
  }
}

}  // namespace longspan::python
