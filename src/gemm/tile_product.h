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
// zeros. An element of c depends on its row of a, its column of b, how many terms there are and c's
// type, not on what stands beside it.
void RunTileProduct(Context& context, const PackedProduct& product, bool twin);

inline constexpr const char* kSplitName = "longspan:tiles_split";

// The same for a, b and c of fp32. Each number of a and b is the sum of three bf16 parts, and six
// of their nine products are added in fp32, smallest first. What is left out is at most 2^-23 of a
// term, so over hundreds of terms the error is below that of fp32 multiply-adds, which round each
// sum. Returns false, and has done nothing, where a number is NaN, infinite, or neither 0 nor
// between 2^-50 and 2^50 in size: parts or products of it might be lost as subnormal numbers or
// overflow, so the caller takes the product of fp32. Cost: six times the unit's work of a bf16
// product, and one read of both operands for that look. No model asks for it.
bool RunSplitProduct(Context& context, const PackedProduct& product, bool twin);

}  // namespace longspan::gemm
