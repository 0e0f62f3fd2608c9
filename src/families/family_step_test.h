// Steps of small models of all families, for tests of what every family keeps to.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "families/bert/family.h"
#include "families/longformer/family.h"
#include "families/modernbert/family.h"
#include "families/reformer/family.h"
#include "model/model_config.h"
#include "model/step_memory.h"
#include "model/targets.h"

namespace longspan {

inline constexpr idx_t kStageRows = 2, kStageTokens = 40;

// A small model of each family that has such a head. `width` 0: that of its smallest preset.
inline std::vector<std::unique_ptr<ModelConfig>> Models(HeadKind head, idx_t width) {
  std::vector<std::unique_ptr<ModelConfig>> models;
  const auto add = [&](auto config) {
    config.vocab_size = 300;
    models.push_back(MakeModelConfig(std::move(config)));
  };
  add(LongformerPreset("tiny"));
  add(BertPreset(BertTypeNamed("bert", "test"), "tiny"));
  add(ModernBertPreset("tiny"));
  add(ReformerPreset("tiny"));
  std::erase_if(models, [&](const auto& model) {
    return head != HeadKind::kNone && ClassOf(model->info().heads, head).empty();
  });
  for (const auto& model : models) {
    WantedHead wanted;
    wanted.head = head;
    if (head == HeadKind::kSequence) {
      wanted.labels = {"a", "b", "c"};
      wanted.problem = ProblemType::kSingleLabel;
    }
    model->PutHead(wanted);
    ModelSizes sizes;
    sizes.width = width;
    sizes.heads = width > 0 ? 2 : 0;
    if (width > 0) model->Resize(sizes);
  }
  return models;
}

using IsFrozen = std::function<bool(std::string_view name)>;

inline bool IsOfLayer(std::string_view name, int layer) {
  const std::string number = "." + std::to_string(layer) + ".";
  return name.find("layer" + number) != name.npos || name.find("layers" + number) != name.npos;
}
inline bool IsEmbedding(std::string_view name) { return name.find("embeddings") != name.npos; }
inline bool IsOfEncoder(std::string_view name) {
  return IsEmbedding(name) || name.find("layer.") != name.npos || name.find("layers.") != name.npos;
}

// A step of `config` with what `frozen` says: the model afterwards.
struct FrozenStep {
  std::unique_ptr<TextModel> model;
  Context context{2};
  double loss = 0.0;

  FrozenStep(const ModelConfig& config, StepPolicy policy, const IsFrozen& frozen,
             const std::function<void(ParameterTable&)>& prepare = {})
      : model(config.Make(ParameterMemory::kOwn)) {
    policy.frozen = frozen;
    FreezeAsPlanned(policy, model->parameters());
    model->Follow(policy);
    model->Initialise(7);
    model->parameters().AllocateGradients();
    if (prepare) prepare(model->parameters());
    const TextModelInfo& info = model->info();
    std::vector<std::int32_t> ids, room(kStageRows * kStageTokens);
    for (idx_t t = 0; t < kStageRows * kStageTokens; ++t) {
      ids.push_back(static_cast<std::int32_t>(10 + 7 * t % (info.vocab_size - 20)));
    }
    const Targets targets(info, kStageRows, kStageTokens, room);
    const std::vector<std::uint8_t> roles = RolesFor(info, kStageRows, kStageTokens);
    BatchView batch;
    batch.rows = kStageRows;
    batch.tokens = kStageTokens;
    batch.ids = ids;
    if (!roles.empty()) batch.roles = {roles.data(), {kStageRows, kStageTokens}};
    targets.AddTo(&batch);
    const StepDropout dropout{true, 5};
    if (info.head != HeadKind::kNone) {
      loss = model->LossAndGradients(context, batch, 1.0f, dropout).sum;
      return;
    }
    Tensor hidden({kStageRows * kStageTokens, info.width});
    model->EncodeInStep(context, batch, dropout, hidden.view<2>());
    model->EncodeGradients(context, batch, hidden.view<2>(), dropout);
  }
  const ParameterTable& table() const { return model->parameters(); }
};

}  // namespace longspan
