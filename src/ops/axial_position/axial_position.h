// Axial positional encodings (Kitaev et al. 2020, "Axial positional embeddings" in trax and
// Hugging Face): two small tables stand for one of l1*l2 rows. Position p of a (S0, S1) grid,
// row-major, has the vector T0[p / S1] ++ T1[p % S1].
#pragma once

#include "base/rng.h"
#include "longspan/context.h"
#include "longspan/tensor.h"

namespace longspan {

struct AxialTables {
  View<const float, 2> t0;  // (S0, D0)
  View<const float, 2> t1;  // (S1, D1)
};
struct AxialGradients {  // accumulate (+=)
  View<float, 2> dt0, dt1;
};

// Whole position vectors are dropped, by column p % S1 of the grid and batch row, as Hugging Face
// does in training: column c of batch row b is element b*S1 + c of the site.
// x (B*T, C) += E(start + t) for each of the B rows of T tokens; C = D0 + D1.
// Throws kUsage when start + T exceeds S0*S1 or the widths do not add up to C.
void AxialForward(Context& context, const AxialTables& tables, const Dropout& columns, idx_t batch,
                  idx_t start, const View<float, 2>& x);

// dT0[r] += sum of dx[..., :D0] over all p with p / S1 = r, dT1[c] likewise with p % S1 = c.
void AxialBackward(Context& context, const AxialTables& tables, const Dropout& columns, idx_t batch,
                   idx_t start, const View<const float, 2>& dx, const AxialGradients& gradients);

}  // namespace longspan
