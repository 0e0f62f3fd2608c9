// How dense layers multiply bf16, and how a user, a benchmark or a test chooses.
#pragma once

#include <optional>
#include <string_view>

namespace longspan {

enum class DensePath {
  kWiden,    // to fp32 slab by slab
  kLibrary,  // oneDNN's bf16 products: AVX512_BF16 or AMX
  kTiles,    // AMX: our own product on the tile unit (gemm/tile_product.h)
  kTwin,     // the same over the tile unit's twin: for tests
};
std::string_view DensePathName(DensePath path);  // "widen", "onednn", "tiles", "tiles_twin"

// What the environment's LONGSPAN_DENSE names ("onednn", "tiles", "tiles_twin"), else a fixed rule:
// oneDNN from avx512_bf16 on, below it widened. kTiles is not taken by itself, because no machine
// has shown yet which of the two is faster there: gemm_bench times both. A bad name throws kUsage,
// and so does kTiles where ActiveIsa() is below amx or the operating system refuses. "onednn" below
// avx512_bf16 is kWiden.
DensePath ActiveDensePath();

// For benchmarks and tests: the path of the whole process from now on, under the same conditions.
// std::nullopt: back to the rule.
void ForceDensePath(std::optional<DensePath> path);
std::optional<DensePath> ForcedDensePath();

}  // namespace longspan
