// Which instruction set the kernels use, and how a user or a test caps it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace longspan {

// In rising order; a path may use everything below its own.
enum class Isa { kPortable, kSse4, kAvx2, kAvx512, kAvx512Bf16, kAmx };

// "portable", "sse4", "avx2", "avx512", "avx512_bf16", "amx".
std::string_view IsaName(Isa isa);

// Throws kUsage and lists the names when `name` is none of them.
Isa ParseIsa(std::string_view name);

// The best that this CPU and its operating system offer.
Isa DetectedIsa();

// The smaller of DetectedIsa(), the environment's LONGSPAN_ISA and CapIsa(). The first call reads
// the environment; a bad name there throws kUsage.
Isa ActiveIsa();

// Caps the whole process. oneDNN can be capped only once, so the cap holds from the first kernel
// call on: a later call with another value throws kUsage.
void CapIsa(Isa isa);

// The names of every path that this machine can run, lowest first.
std::vector<std::string> RunnableIsas();

// The cap as one Highway target mask and whether it was applied: kernels call this before their
// first dispatch. Idempotent and cheap (one atomic load).
void ApplyIsaCap();

// The Highway target that dispatched code runs now ("AVX2", "AVX3", ...). Empty before a dispatch.
std::string DispatchedTarget();

}  // namespace longspan
