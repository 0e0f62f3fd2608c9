#include "model/text_model.h"

#include <utility>

#include "base/errors.h"
#include "model/model_config.h"
#include "model/step_memory.h"

namespace longspan {

GlobalOrigin OriginOfGlobal(const TextModelInfo& info, const GlobalPolicy& given) {
  const auto kind = given.rule().kind;
  if (kind != GlobalRule::Kind::kAuto && kind != GlobalRule::Kind::kHead) {
    return GlobalOrigin::kGiven;
  }
  const bool saved = info.global.kind != GlobalRule::Kind::kAuto;
  return saved && kind == GlobalRule::Kind::kAuto ? GlobalOrigin::kModel : GlobalOrigin::kHead;
}

GlobalPolicy ResolveGlobal(const TextModelInfo& info, const GlobalPolicy& given,
                           std::vector<std::string>* notes) {
  if (info.global_tokens) {
    CheckHasHead(info.heads, info.head, info.title);
    const GlobalOrigin origin = OriginOfGlobal(info, given);
    GlobalPolicy policy =
        origin == GlobalOrigin::kModel ? GlobalPolicy::OfModel(info.global) : given.For(info.head);
    if (notes != nullptr) {
      notes->push_back(fmt::format("global tokens: {}, {}", policy.Name(), Phrase(origin)));
    }
    return policy;
  }
  const std::string name = given.Name();
  Check(name == "auto" || name == "head" || name == "none", ErrorCode::kUsage,
        "global: '{}' is asked for, but a {} has no global tokens; leave --global out", name,
        info.title);
  return GlobalPolicy::Parse("none");
}

std::optional<GlobalRule> GlobalToSave(const TextModelInfo& info, const GlobalPolicy& given) {
  if (given.rule().kind == GlobalRule::Kind::kAuto) return std::nullopt;
  const GlobalPolicy needed = GlobalPolicy(GlobalRule::Head()).For(info.head);
  if (given.For(info.head).Name() == needed.Name()) return GlobalRule();
  return given.rule();
}

void CheckRowRanks(const TextModelInfo& info, int row_ranks) {
  Check(row_ranks == 1 || info.most_row_ranks > 1, ErrorCode::kUsage,
        "row-ranks: ranks do not share the rows of this {}; leave --row-ranks out", info.title);
  Check(row_ranks <= info.most_row_ranks, ErrorCode::kUsage,
        "row-ranks: {} ranks share the {} heads of a layer, and each needs one; lower --row-ranks",
        row_ranks, info.most_row_ranks);
}

// ---- what families need not say -----------------------------------------------------------------

Tensor TextModel::LogitsOfTexts(Context& context, const BatchView& batch) const {
  Tensor hidden({batch.rows * batch.tokens, info().width});
  Encode(context, batch, hidden.view<2>());
  return Logits(context, batch, std::as_const(hidden).view<2>());
}

Tensor TextModel::LogitsInStep(Context& /*context*/, const BatchView& /*batch*/,
                               const StepDropout& /*dropout*/) {
  Fail(ErrorCode::kUsage, "model: a {} has no logits of a training step", info().title);
}

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
  CheckFits(RehearseStep(*this, rows, tokens, threads, policy), bytes, policy.program);
  return policy;
}

}  // namespace longspan
