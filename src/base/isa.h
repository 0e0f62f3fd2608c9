// Which instruction set the kernels use, and how a user or a test caps it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/process.h"

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

// True on AMD's processors. Some rules differ between families of one instruction set.
bool IsAmd();

// How attention multiplies bf16.
enum class Bf16Path {
  kWiden,  // to fp32 on the way into panels
  kPairs,  // AVX512_BF16's dot products of pairs
  kTiles,  // AMX: the tile unit multiplies 16 x 32 by 32 x 16 (see docs/reference/dispatch.md)
  kTwin,   // the same kernels with a tile unit in plain C++ that gives the same bits: for tests
};
std::string_view Bf16PathName(Bf16Path path);  // "widen", "pairs", "tiles", "tiles_twin"

// A fixed rule on CPU family and features, so that a run's results do not depend on a timing:
// tiles where AMX is active and the operating system lets the process use it, pairs on AMD with
// AVX512_BF16 (twice the rate of fp32 there), widened elsewhere (Intel's cores run that instruction
// at half the rate, so it gains nothing). `longspan bench bf16` checks the rule on the machine at
// hand. Below avx512_bf16 always widened.
Bf16Path ActiveBf16Path();
// Whether operands, which are bf16 or not, are multiplied in pairs, or by the tile unit or its
// twin.
inline bool MultipliesPairs(bool bf16) { return bf16 && ActiveBf16Path() == Bf16Path::kPairs; }
inline bool MultipliesTiles(bool bf16) { return bf16 && ActiveBf16Path() >= Bf16Path::kTiles; }

// For that benchmark and for tests: the path of the whole process from now on. kPairs throws kUsage
// where ActiveIsa() is below avx512_bf16, kTiles where it is below amx or the operating system
// refuses; kTwin runs everywhere. std::nullopt: back to the rule.
void ForceBf16Path(std::optional<Bf16Path> path);
// What was forced, if anything.
std::optional<Bf16Path> ForcedBf16Path();

// Asks the operating system once for the 8 KiB of tile state that each thread then has. False: it
// refuses, or this CPU has no tile unit.
bool PermitTiles();

// The cap as one Highway target mask and whether it was applied: kernels call this before their
// first dispatch. Idempotent and cheap (one atomic load).
void ApplyIsaCap();

// The Highway target that dispatched code runs now ("AVX2", "AVX3", ...). Empty before a dispatch.
std::string DispatchedTarget();

}  // namespace longspan
