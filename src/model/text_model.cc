#include "model/text_model.h"

#include "base/errors.h"
#include "model/model_config.h"
#include "model/step_memory.h"

namespace longspan {

GlobalPolicy ResolveGlobal(const TextModelInfo& info, const GlobalPolicy& given) {
  if (info.global_tokens) {
    CheckHasHead(info.heads, info.head, info.title);
    return given.For(info.head);
  }
  const std::string name = given.Name();
  Check(name == "auto" || name == "none", ErrorCode::kUsage,
        "global: '{}' is asked for, but a {} has no global tokens; leave --global out", name,
        info.title);
  return GlobalPolicy::Parse("none");
}

// ---- what families need not say -----------------------------------------------------------------

void TextModel::EncodeInStep(Context& /*context*/, const BatchView& /*batch*/,
                             const StepDropout& /*dropout*/, const View<float, 2>& /*hidden*/) {
  Fail(ErrorCode::kUsage, "model: vectors of a {} cannot be trained", info().title);
}

void TextModel::EncodeGradients(Context& /*context*/, const BatchView& /*batch*/,
                                const View<const float, 2>& /*dhidden*/,
                                const StepDropout& /*dropout*/) {
  Fail(ErrorCode::kUsage, "model: vectors of a {} cannot be trained", info().title);
}

void ModelConfig::SetOptions(const FamilyOptions& options) {
  for (const auto& [name, value] : options.values()) RefuseOption(info().title, name);
}

void ModelConfig::BeginWith(const WantedHead& wanted, bool /*preset*/) { PutHead(wanted); }

std::vector<StepVariant> ModelConfig::Variants(const StepPolicy& policy) const {
  std::vector<StepVariant> variants;
  variants.push_back({"step", Clone(), policy, 1.0});
  return variants;
}

StepPolicy ModelConfig::Fit(idx_t rows, idx_t tokens, std::size_t bytes, StepPolicy policy,
                            int threads) const {
  CheckFits(RehearseStep(*this, rows, tokens, threads, policy), bytes);
  return policy;
}

}  // namespace longspan
