#include "train/eval_hooks.h"

#include "base/errors.h"
#include "train/run_ranks.h"

namespace longspan {

void Tell(const EvalHooks& hooks, idx_t done, idx_t all) {
  if (hooks.on_progress) hooks.on_progress(done, all);
  if (done < all && hooks.should_stop && hooks.should_stop()) throw Cancelled();
}

EvalHooks HooksOf(Context& context) {
  EvalHooks hooks;
  hooks.on_progress = [&](idx_t done, idx_t all) { context.TellProgress(done, all); };
  hooks.should_stop = [&] { return context.cancelled(); };
  return hooks;
}

EvalHooks AgreedHooks(Context& context, const ParameterTable& weights,
                      const std::string& fingerprint) {
  const RunRanks ranks(context);
  if (ranks.many()) {
    RunRanks::Facts facts = ProgramFacts();
    facts["the model's checksum"] = WeightsChecksum(weights);
    facts["the texts' fingerprint"] = fingerprint;
    ranks.CheckSame(facts);
  }
  return HooksOf(context);
}

}  // namespace longspan
