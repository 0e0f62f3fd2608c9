#include "train/eval_hooks.h"

#include "base/errors.h"
#include "families/families.h"
#include "model/model_options.h"
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

std::unique_ptr<TextModel> LoadToEvaluate(const std::filesystem::path& folder,
                                          const ReformerOptions& reformer,
                                          std::optional<HeadKind> head,
                                          std::vector<std::string>* notes) {
  LoadOptions load;
  load.family = OptionsOf(reformer);
  auto model = LoadTextModel(folder, load, notes);
  if (head) CheckHead(folder, model->info(), *head);
  return model;
}

}  // namespace longspan
