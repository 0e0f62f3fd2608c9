// NumPy's format for one array.
#pragma once

#include <cstddef>
#include <string>

#include "longspan/types.h"

namespace longspan::cli {

// What stands before the values of a matrix (rows, cols) of float32, int8 or uint8 in a .npy file,
// version 1.0, little-endian. Of one length for any number of rows and columns, so that it can be
// written again when the rows have been counted.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
inline constexpr std::size_t kNpyHeaderBytes = 128;
std::string NpyHeader(idx_t rows, idx_t cols, DType type = DType::kF32);

}  // namespace longspan::cli
