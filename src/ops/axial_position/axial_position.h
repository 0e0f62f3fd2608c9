// Axial positional encodings with dropout of whole vectors, as models in training want them.
#pragma once

#include "base/rng.h"
#include "longspan/axial_position.h"

namespace longspan {

// Whole position vectors are dropped, by column p % S1 of the grid and batch row, as Hugging Face
// does in training: column c of batch row b is element b*S1 + c of the site. The first of the
// call's rows is number `first_row` of the batch.
void AxialForward(Context& context, const AxialTables& tables, const Dropout& columns, idx_t batch,
                  idx_t start, const View<float, 2>& x, idx_t first_row = 0);
void AxialBackward(Context& context, const AxialTables& tables, const Dropout& columns, idx_t batch,
                   idx_t start, const View<const float, 2>& dx, const AxialGradients& gradients,
                   idx_t first_row = 0);

}  // namespace longspan
