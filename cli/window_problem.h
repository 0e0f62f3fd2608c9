// Longformer's attention as a benchmark's problem: sliding window, global keys and global rows.
#pragma once

#include <memory>

#include "cli/attention_problem.h"

namespace longspan::cli {

// The first options.globals tokens are global. Their rows are computed in the re-associated form
// from random activations where that is the cheaper one, else from projected keys and values.
std::unique_ptr<AttentionProblem> MakeWindowProblem(const AttentionProblemOptions& options);

}  // namespace longspan::cli
