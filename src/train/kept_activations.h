// The activations that a Reformer's run saves.
#pragma once

#include <utility>

#include "families/families.h"
#include "families/reformer/family.h"
#include "families/reformer/reformer_files.h"
#include "longspan/context.h"
#include "longspan/train.h"
#include "model/model_options.h"
#include "train/rank_policy.h"

namespace longspan {

// Bytes of activations that steps of options.batch x options.tokens may keep so that they fit into
// options.compute.memory (Reformer::KeepUpTo); 0 without it. kLimit, with the numbers, when they
// cannot.
inline std::size_t KeptActivations(const Context& context, const TrainOptions& options) {
  if (options.compute.memory == 0) return 0;
  ReformerConfig config = LoadReformerConfig(OpenModelFolder(options.model));
  ApplyOptions(OptionsOf(options.compute.reformer), &config);
  const StepPolicy policy = PolicyOf(options, options.batch, HeadKind::kCausalLm);
  return MakeModelConfig(std::move(config))
      ->Fit(options.batch, options.tokens, options.compute.memory, policy, context.threads())
      .keep;
}

}  // namespace longspan
