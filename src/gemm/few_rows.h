// Dense layers of a few tokens: generation, where reading the weights is all the work. Nothing is
// packed; every output is one dot product of a row of x and a row of w.
#pragma once

#include "gemm/gemm.h"

namespace longspan::gemm {

// Up to here reading the weights costs more than multiplying by them.
inline constexpr idx_t kFewRows = 8;

// y (T, N) = x (T, K) w (N, K)^T [+ bias (N)] [+ y], all fp32, T from 1 to kFewRows; what
// gemm::Forward does for them. The order of a sum follows from K alone: a row of x has the same
// bits whatever rows stand beside it, and for any number of threads. Tasks are runs of rows of w.
// Cost 2 T N K flop and one read of w.
void FewRowsForward(Context& context, const ConstMatrix& x, const ConstMatrix& w, const float* bias,
                    const Matrix& y, Store store);

// What LastImplementation says of it.
inline constexpr const char* kFewRowsName = "longspan:few_rows";

}  // namespace longspan::gemm
