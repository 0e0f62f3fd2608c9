// MPI between ranks, out of a module that is loaded only where ranks were started together.
#pragma once

#include <memory>
#include <string>

#include "world/transport.h"

namespace longspan {

// Loads the module at `path`, starts MPI and the watch (world/watch.h). `launched`: the processes
// that the launcher says it has started; 0: it does not say. Together. kUsage, kIo.
std::unique_ptr<Transport> StartMpi(const std::string& path, int launched, const std::string& host);

}  // namespace longspan
