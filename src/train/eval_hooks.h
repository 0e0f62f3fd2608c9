// How an evaluation runs and tells its progress, alone or within a training.
#pragma once

#include <functional>
#include <string>

#include "longspan/context.h"
#include "model/parameters.h"

namespace longspan {

// How an evaluation runs. The callbacks may be empty.
struct EvalHooks {
  std::function<void(idx_t done, idx_t all)> on_progress;  // rows or tokens, after each batch
  std::function<bool()> should_stop;                       // there too; true throws Cancelled
  idx_t batch_tokens = 8192;  // of a batch at most, unless a row has more
};

// Reports that `done` of `all` rows or tokens are finished. Throws Cancelled if the caller wants
// it.
void Tell(const EvalHooks& hooks, idx_t done, idx_t all);

// Those of a context, which must outlive them.
EvalHooks HooksOf(Context& context);
// The same for an evaluation by itself, outside a training, whose ranks have compared all this. The
// ranks of the context's world call it together. kFormat where one has another program, other
// weights or texts with another fingerprint.
EvalHooks AgreedHooks(Context& context, const ParameterTable& weights,
                      const std::string& fingerprint);

}  // namespace longspan
