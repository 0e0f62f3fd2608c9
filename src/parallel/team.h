// How many threads a parallel region begins with. libgomp ends the process when it can have none,
// or waits for ever for those that a fork left behind: both are found out before.
#pragma once

#include <atomic>

#include "longspan/context.h"
#include "longspan/process.h"

namespace longspan {

// Bytes of stack of a thread that computes: kernels take up to 32 KiB, whoever begins a region 64.
inline constexpr std::size_t kLeastStack = std::size_t{512} << 10;

// The threads of the calling thread's next region: context.threads(), or, where the system gives no
// more, fewer; context.Warning() then says so. After the first region of a size this costs two
// comparisons. kUsage in a forked child that has lost its threads, kLimit where the caller's own
// stack is too small.
int TeamThreads(const Context& context);

// What Context::CancelWhen was given.
const std::atomic<bool>* CancelFlagOf(const Context& context);

}  // namespace longspan
