// MPI between ranks, out of a module that is loaded only where ranks were started together.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "world/launcher.h"
#include "world/transport.h"

namespace longspan {

// What MPI takes in a process: its libraries, their tables and rooms for messages. Measured with
// Open MPI 4.1, as resident memory of `bench world` beside one process: 10.2 to 10.6 MB, for two
// and four ranks of one machine and messages of 8 bytes to 64 MB, by shared memory and by TCP.
inline constexpr std::size_t kMpiBytes = 11'000'000;

// Loads the module at `path`, starts MPI and the watch (world/watch.h). Refuses processes of
// `launcher` that do not see each other. Together. kUsage, kIo.
std::unique_ptr<Transport> StartMpi(const std::string& path, const Launcher& launcher,
                                    const std::string& host);

}  // namespace longspan
