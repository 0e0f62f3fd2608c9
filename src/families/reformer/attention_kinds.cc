#include "families/reformer/attention_kinds.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "families/reformer/catalogued_mechanism.h"
#include "families/reformer/separate_mechanism.h"
#include "families/reformer/shared_mechanism.h"

namespace longspan {
namespace {

constexpr std::array<std::string_view, 3> kSeparateProjections = {"query", "key", "value"};
constexpr std::array<std::string_view, 2> kSharedProjections = {"query_key", "value"};

constexpr AttentionKind kAttentionKinds[] = {
    {LayerKind::kLocal, kSeparateProjections, false, &ReformerConfig::local_dropout,
     MakeSeparateMechanism},
    {LayerKind::kLsh, kSharedProjections, true, &ReformerConfig::lsh_dropout, MakeSharedMechanism},
};

}  // namespace

AttentionKind AttentionKindOf(LayerKind kind) {
  const auto* found = std::find_if(std::begin(kAttentionKinds), std::end(kAttentionKinds),
                                   [&](const AttentionKind& row) { return row.kind == kind; });
  if (found != std::end(kAttentionKinds)) return *found;
  return {kind, kSeparateProjections, false, &ReformerConfig::local_dropout,
          MakeCataloguedMechanism};
}

}  // namespace longspan
