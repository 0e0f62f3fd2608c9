// Axial positional encodings (Kitaev et al. 2020, "Axial positional embeddings" in trax and
// Hugging Face): two small tables stand for one of S0*S1 rows. Position p of a (S0, S1) grid,
// row-major, has the vector T0[p / S1] ++ T1[p % S1].
#pragma once

#include "longspan/context.h"
#include "longspan/tensor.h"

#pragma GCC visibility push(default)
namespace longspan {

// The two tables: rows and columns of the grid.
struct AxialTables {
  View<const float, 2> t0;  // (S0, D0)
  View<const float, 2> t1;  // (S1, D1)
};
// Gradients accumulate (+=): the caller zeroes them.
struct AxialGradients {
  View<float, 2> dt0, dt1;  // as the tables
};

// x (B*T, D0 + D1) += E(start + t) for each of the B = `batch` rows of T tokens. kUsage if start +
// T exceeds S0*S1, or the widths do not add up to those of x.
void AxialForward(Context& context, const AxialTables& tables, idx_t batch, idx_t start,
                  const View<float, 2>& x);

// dT0[r] += sum of dx[..., :D0] over all p with p / S1 = r, dT1[c] likewise with p % S1 = c.
void AxialBackward(Context& context, const AxialTables& tables, idx_t batch, idx_t start,
                   const View<const float, 2>& dx, const AxialGradients& gradients);

}  // namespace longspan
#pragma GCC visibility pop
