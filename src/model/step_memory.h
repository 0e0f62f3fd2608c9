// Computes the memory of a training step before it runs, without formulas: the step is rehearsed
// (longspan/context.h), and every operation books its memory as in a real step.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "longspan/types.h"
#include "model/parameters.h"
#include "model/step_needs.h"

namespace longspan {

class ModelConfig;

// Rehearses a step; takes milliseconds and next to no memory. `threads` as for a Context: each one
// has its own scratch. A masked language model that reads labelled tokens has labels on 15 % of
// them, other heads on all. The first token is global for heads that read it. Of an encoder alone
// it is a step of a training of vectors: a forward pass, then another one with its backward. Throws
// what the step itself would throw before it computes: kUsage for a model without positions for
// `tokens`, kUsage or kLimit for a length that a layer refuses.
StepNeeds RehearseStep(const ModelConfig& config, idx_t rows, idx_t tokens, int threads = 0,
                       const StepPolicy& policy = {});

// Freezes what the policy says; and what a policy says to freeze the same as in this table.
void FreezeAsPlanned(const StepPolicy& policy, ParameterTable& table);
std::function<bool(std::string_view name)> FrozenIn(const ParameterTable& table);

// Throws kLimit, with the numbers, unless `least`, the step that saves nothing, needs at most
// `bytes`. With `program` bytes (StepPolicy::program) the numbers contain them, and the message
// says the least --memory.
void CheckFits(const StepNeeds& least, std::size_t bytes, std::size_t program);

// The longest step that fits.
struct LongestStep {
  StepNeeds needs;
  std::string refused;  // why a longer text does not run; empty: its memory would not suffice
};

// Lengths are multiples of this many tokens.
constexpr idx_t kPlanTokens = 64;

// The longest rows of which a step needs `bytes` at most. `rehearse` says what one of so many
// tokens needs, as if there were positions for any length (ModelConfig::GrowPositions). kLimit when
// not even kPlanTokens tokens fit; Cancelled where `rehearse` throws it.
LongestStep FindLongestStep(const std::function<StepNeeds(idx_t tokens)>& rehearse, idx_t rows,
                            std::size_t bytes);

}  // namespace longspan
