// How much memory this process may have, asked before much of it is taken: a refusal in one line
// instead of the system's, which comes late or kills.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "longspan/process.h"
#include "longspan/types.h"

namespace longspan {

// As in longspan/process.h; `root` stands before /proc and /sys, for tests.
std::uint64_t MachineMemory(const std::string& root);
std::uint64_t SystemMemoryLimit(const std::string& root);

// Throws kLimit "<what>: needs 412 GB, limit 20 GB" for more than MemoryLimit(). `what` names the
// thing and its sizes.
void CheckMemory(std::string_view what, std::uint64_t bytes);

// A product of sizes that are not negative; the largest number there is instead of an overflow.
std::uint64_t SaturatingProduct(std::initializer_list<idx_t> factors);
std::uint64_t SaturatingSum(std::initializer_list<std::uint64_t> terms);

}  // namespace longspan
