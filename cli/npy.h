// NumPy's format for one array.
#pragma once

#include <string>

#include "longspan/tensor.h"

namespace longspan::cli {

// A matrix (rows, cols) of float32 as the bytes of a .npy file, version 1.0, little-endian.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
std::string NpyBytes(const float* values, idx_t rows, idx_t cols);

}  // namespace longspan::cli
