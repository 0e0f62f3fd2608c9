// How an evaluation runs and tells its progress, alone or within a training.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "longspan/context.h"
#include "longspan/model_info.h"
#include "model/parameters.h"
#include "model/text_model.h"

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

// The model of such an evaluation. kFormat unless it has this head, if one is wanted; errors of
// LoadTextModel, whose warnings go to `notes`.
std::unique_ptr<TextModel> LoadToEvaluate(const std::filesystem::path& folder,
                                          const ReformerOptions& reformer,
                                          std::optional<HeadKind> head,
                                          std::vector<std::string>* notes);

}  // namespace longspan
