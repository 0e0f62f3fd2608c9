// How an evaluation tells its progress, alone or within a training.
#pragma once

#include <functional>

#include "longspan/context.h"

namespace longspan {

// Callbacks of an evaluation. Both may be empty.
struct EvalHooks {
  std::function<void(idx_t done, idx_t all)> on_progress;  // rows or tokens, after each batch
  std::function<bool()> should_stop;                       // there too; true throws Cancelled
};

// Those of a context, which must outlive them.
EvalHooks HooksOf(Context& context);

}  // namespace longspan
