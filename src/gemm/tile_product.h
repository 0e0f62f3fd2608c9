// A dense product on the tile unit of Intel's AMX (simd/amx-inl.h), or on its twin in plain C++,
// which gives the same bits. Both operands are ordered into tiles; rows of a are read as they lie
// where that costs nothing. DensePath (base/dense_path.h) says when gemm.cc takes it.
//
// No machine with a tile unit was at hand: sizes of blocks follow from the unit's figures
// (docs/record/known_gaps.md).
#pragma once

#include "gemm/packed_product.h"

namespace longspan::gemm {

inline constexpr const char* kTilesName = "longspan:tiles";
inline constexpr const char* kTwinName = "longspan:tiles_twin";

// `product` has a and b of bf16. `twin`: in plain C++, on any machine. Else PermitTiles()
// (base/isa.h) must have said yes. Sums are fp32, in the unit's order: subnormal numbers count as
// zeros. An element of c depends on its row of a, its column of b and the number of terms alone,
// not on what stands beside them.
void RunTileProduct(Context& context, const PackedProduct& product, bool twin);

}  // namespace longspan::gemm
