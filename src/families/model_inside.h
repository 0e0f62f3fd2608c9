// How the library makes and limits a Model (longspan/model.h).
#pragma once

#include <filesystem>
#include <memory>

#include "base/arena.h"
#include "base/cancel.h"
#include "longspan/model.h"
#include "model/model_config.h"
#include "model/text_model.h"
#include "parallel/team.h"
#include "tensor/tensor_meter.h"

namespace longspan {

// A model that was made in memory. `tokenizer` null: it has none. It computes as the options say.
Model MakeModel(std::unique_ptr<TextModel> model, std::shared_ptr<const text::Tokenizer> tokenizer,
                const ModelOptions& options = {});

// Model::Load. `tokenizer` null: it is read when it is asked for.
Model LoadModel(const std::filesystem::path& directory, const ModelOptions& options,
                std::shared_ptr<const text::Tokenizer> tokenizer);
// Model::Load, with the tokenizer read before the weights: what is wrong with it is told at once.
Model LoadWithTokenizer(const std::filesystem::path& directory, const ModelOptions& options);

// kLimit unless the weights of this config fit into the context's memory limit. Allocates none.
void CheckWeightsFit(const Context& context, const ModelConfig& config);
// The same of a folder's model.
void CheckWeightsFit(const Context& context, const std::filesystem::path& directory);

// Runs a call that has no context of its own; this one's flag ends it.
template <class Call>
auto WithinContext(const Context& context, const Call& call) {
  const CancelScope scope(CancelFlagOf(context));
  CancelScope::Check();
  return call();
}

// The bytes that a call takes: tensors that it makes, and its scratch. The call is rehearsed.
template <class Call>
std::size_t RehearseCall(const Context& context, const Call& call) {
  Context rehearsal = Context::Rehearsal(context.threads());
  rehearsal.SplitRows(context.row_group());
  const TensorMeter tensors;
  call(rehearsal);
  return tensors.most() + rehearsal.arena().peak();
}

// Runs call(context), unless it needs more than the context's limit: kLimit, before it allocates.
template <class Call>
auto WithinLimit(Context& context, const char* what, const Call& call) {
  if (context.memory_limit() > 0) context.CheckMemory(what, RehearseCall(context, call));
  return call(context);
}

}  // namespace longspan
