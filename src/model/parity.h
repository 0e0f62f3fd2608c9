// Does a checkpoint mean the same here as where it was recorded? A parity case holds inputs and
// what the original computed for them, outputs and gradients (golden/PROVENANCE.md).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "longspan/context.h"

namespace longspan {

struct TensorParity {
  std::string name;      // "logits", "grad.lm_head.decoder.weight"
  double max_abs = 0.0;  // largest difference
  double rel_l2 = 0.0;   // ||difference|| / ||expected||
  idx_t values = 0;      // of the tensor
  idx_t skipped = 0;     // of these, recorded as NaN or infinity: nothing to compare with
  bool ok = false;
};

// A tensor holds when max|diff| <= 1e-4 max(1, max|expected|) and its relative L2 error is <= 2e-5
// (outputs) or 1e-4 (gradients); a gradient whose norm is below 1e-4 of the largest is held to the
// absolute part alone. Where the original itself recorded NaN or infinity there is nothing to
// compare with: such values are skipped and counted, and what is computed here must be finite.
struct ParityReport {
  bool ok = false;
  std::vector<TensorParity> tensors;
};

}  // namespace longspan
