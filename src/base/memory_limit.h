// How much memory this process may have, asked before much of it is taken: a refusal in one line
// instead of the system's, which comes late or kills.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "longspan/types.h"

namespace longspan {

// Bytes of memory that the machine has. `root` stands before /proc, for tests.
std::uint64_t MachineMemory(const std::string& root = "");

// What the system grants: the least of the memory limits of this process's control group and of
// those above it (v2 or v1), RLIMIT_AS and the machine's memory. Read anew each time. `root` stands
// before /proc and /sys, for tests.
std::uint64_t SystemMemoryLimit(const std::string& root = "");

// The same, unless the user has named a limit.
std::uint64_t MemoryLimit();
// Names one for the whole process (`--memory`); 0: the system's again.
void SetMemoryLimit(std::uint64_t bytes);

// Throws kLimit "<what>: needs 412 GB, limit 20 GB" for more than MemoryLimit(). `what` names the
// thing and its sizes.
void CheckMemory(std::string_view what, std::uint64_t bytes);

// A product of sizes that are not negative; the largest number there is instead of an overflow.
std::uint64_t SaturatingProduct(std::initializer_list<idx_t> factors);
std::uint64_t SaturatingSum(std::initializer_list<std::uint64_t> terms);

// "20 GB", "1.5 MB": three digits of a power of 1000.
std::string BytesText(std::uint64_t bytes);

}  // namespace longspan
