// What holds for the whole process: instruction sets, memory, how strictly files are taken. A
// program sets it before its first other call.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#pragma GCC visibility push(default)
namespace longspan {

// ---- instruction sets ---------------------------------------------------------------------------

// Caps the instruction set of the whole process ("portable", "sse4", "avx2", "avx512",
// "avx512_bf16", "amx"), before the first operation: a later call with another value throws kUsage,
// and so does another name. The environment's LONGSPAN_ISA does the same.
void CapIsa(std::string_view name);
// The names of all that this machine can run, lowest first.
std::vector<std::string> RunnableIsas();
// The one that kernels use.
std::string_view KernelIsa();
// How kernels multiply bf16 in attention: "widen" to fp32, "pairs" by the CPU's dot products, or
// "tiles" by its tile unit (AMX; full, window, chunked and LSH attention).
std::string_view KernelBf16();
// How dense layers multiply bf16: "widen" to fp32, "onednn" by its bf16 products, or "tiles" by our
// own on the CPU's tile unit (AMX), where the environment's LONGSPAN_DENSE says so. "tiles_twin" is
// the same in plain C++, for tests. Throws kUsage where LONGSPAN_DENSE names what cannot run.
std::string_view KernelDenseBf16();

// ---- memory -------------------------------------------------------------------------------------

// Bytes of memory that the machine has.
std::uint64_t MachineMemory();
// What the system grants this process: the least of the limits of its control groups, RLIMIT_AS and
// the machine's memory. Read anew each time.
std::uint64_t SystemMemoryLimit();
// The same, unless SetMemoryLimit named a limit. What needs more is refused (kLimit) before it is
// begun: weights, gradients, tensors of files, texts to learn from. Context::LimitMemory bounds
// what a call takes beside them.
std::uint64_t MemoryLimit();
void SetMemoryLimit(std::uint64_t bytes);  // 0: the system's again
// "20 GB", "1.5 MB": three digits of a power of 1000.
std::string BytesText(std::uint64_t bytes);

// ---- threads ------------------------------------------------------------------------------------

// `tell` is called when the system gives fewer threads than a context wants, on the thread that
// begins the work; null: nobody is.
void TellThreadWarnings(void (*tell)(const char* warning));

}  // namespace longspan
#pragma GCC visibility pop
