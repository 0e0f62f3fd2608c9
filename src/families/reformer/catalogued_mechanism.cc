#include "families/reformer/catalogued_mechanism.h"

#include <utility>
#include <variant>

#include "base/arena.h"
#include "base/errors.h"
#include "catalogue/mechanism.h"
#include "families/reformer/separate_mechanism.h"
#include "families/reformer/separate_views.h"
#include "gemm/gemm.h"

namespace longspan {
namespace {

class CataloguedMechanism final : public AttentionMechanism {
 public:
  CataloguedMechanism(const catalogue::Mechanism& row, const ReformerConfig& config) : row_(row) {
    spec_.causal = config.is_decoder;
    spec_.window = spec_.chunk = config.local_chunk;
    spec_.before = config.local_before;
    spec_.after = config.local_after;
  }

  idx_t Statistics() const override { return kSeparateStatistics; }

  void Forward(Context& context, const MechanismCall& call,
               const AnyAttentionTensors& tensors) const override {
    if (const auto* t = std::get_if<AttentionTensors>(&tensors)) {
      row_.separate.forward(context, Spec(*t, call), SeparateInputs(*t), call.mask,
                            SeparateSavedViews(*t));
      return;
    }
    const auto& t = std::get<Bf16AttentionTensors>(tensors);
    if (row_.separate_bf16.forward != nullptr) {
      row_.separate_bf16.forward(context, Spec(t, call), SeparateInputs(t), call.mask,
                                 SeparateSavedViews(t));
      return;
    }
    Arena::Frame frame(context.arena(), WidenedBytes(t));
    const AttentionTensors wide = Widened(context, frame, t);
    Forward(context, call, wide);
    gemm::Round(context, wide.out, t.out);
  }

  void Backward(Context& context, const MechanismCall& call, const AnyAttentionTensors& tensors,
                const View<float, 2>& dprojected) const override {
    if (const auto* t = std::get_if<AttentionTensors>(&tensors)) {
      row_.separate.backward(context, Spec(*t, call), SeparateInputs(*t), call.mask,
                             SeparateSavedViews(*t), t->DOut(), SeparateGradients(*t, dprojected));
      return;
    }
    const auto& t = std::get<Bf16AttentionTensors>(tensors);
    if (row_.separate_bf16.backward != nullptr) {
      row_.separate_bf16.backward(context, Spec(t, call), SeparateInputs(t), call.mask,
                                  SeparateSavedViews(t), t.DOut(),
                                  SeparateGradients(t, dprojected));
      return;
    }
    Arena::Frame frame(context.arena(), WidenedBytes(t));
    const AttentionTensors wide = Widened(context, frame, t);
    gemm::Widen(context, t.dout, wide.dout);
    Backward(context, call, wide, dprojected);
  }

  double Pairs(idx_t tokens) const override { return row_.pairs(spec_, tokens); }
  DecodingRule Decoding() const override {
    Fail(ErrorCode::kUsage,
         "generate: layers of {} attention have no cache of earlier tokens; use --no-cache",
         row_.name);
  }

 private:
  catalogue::MechanismSpec Spec(const AttentionExtents& extents, const MechanismCall& call) const {
    catalogue::MechanismSpec spec = spec_;
    spec.dropout = extents.DropoutOf(call.dropout);
    return spec;
  }

  const catalogue::Mechanism& row_;
  catalogue::MechanismSpec spec_;
};

const catalogue::Mechanism* FindCatalogued(std::string_view name) {
  const catalogue::Mechanism* row = catalogue::FindMechanism(name);
  return row != nullptr && row->separate.forward != nullptr && row->separate.backward != nullptr
             ? row
             : nullptr;
}

}  // namespace

bool IsCatalogued(std::string_view name) { return FindCatalogued(name) != nullptr; }

std::string LayerKindNames() {
  std::vector<std::string_view> names = {LayerKind::kLocal.name(), LayerKind::kLsh.name()};
  for (const catalogue::Mechanism* row : catalogue::Mechanisms()) {
    if (IsCatalogued(row->name)) names.push_back(row->name);
  }
  std::string list;
  for (std::size_t i = 0; i < names.size(); ++i) {
    list.append(i == 0 ? "" : i + 1 == names.size() ? " or " : ", ").append(names[i]);
  }
  return list;
}

std::unique_ptr<AttentionMechanism> MakeCataloguedMechanism(const ReformerConfig& config,
                                                            LayerKind kind) {
  // The same weights with another attention, as config.attention says.
  if (config.attention == AttentionChoice::kFull || config.attention == AttentionChoice::kLocal) {
    return MakeSeparateMechanism(config, kind);
  }
  const catalogue::Mechanism* row = FindCatalogued(kind.name());
  Check(row != nullptr, ErrorCode::kUsage, "model: there is no attention '{}'; use {}", kind.name(),
        LayerKindNames());
  return std::make_unique<CataloguedMechanism>(*row, config);
}

}  // namespace longspan
