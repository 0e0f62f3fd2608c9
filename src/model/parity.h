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

struct ParityReport {
  bool ok = false;
  std::vector<TensorParity> tensors;
};

// Settings that differ from the model's config.
struct VerifyOptions {
  idx_t num_hashes = 0;         // of a Reformer's LSH layers; 0: the config's
  std::optional<bool> lm_bias;  // of a Reformer's language models
};

// Runs the case's inputs through the model of `directory`. A tensor holds when
// max|diff| <= 1e-4 max(1, max|expected|) and its relative L2 error is <= 2e-5 (outputs) or 1e-4
// (gradients); a gradient whose norm is below 1e-4 of the largest is held to the absolute part
// alone. Where the original itself recorded NaN or infinity there is nothing to compare with: such
// values are skipped and counted, and what is computed here must be finite. kFormat when the model
// or the case cannot be read or does not fit, or when nothing is left to compare.
ParityReport VerifyCase(Context& context, const std::filesystem::path& directory,
                        const std::filesystem::path& case_file, const VerifyOptions& options = {});

}  // namespace longspan
