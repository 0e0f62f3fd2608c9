// Weights that are still on their way from other ranks: no family reads one before it has asked for
// it, and each asks for a layer's when it runs the layer.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "families/family_step_test.h"
#include "tests/support/late_values.h"

namespace longspan {
namespace {

// The step with weights that come when they are asked for has the bits of the step without.
void ExpectSameStepWithLateWeights(const ModelConfig& config, const StepPolicy& policy,
                                   const IsFrozen& frozen, bool one_stage) {
  const FrozenStep plain(config, policy, frozen);
  std::optional<test::LateValues> late;
  const FrozenStep step(config, policy, frozen,
                        [&](ParameterTable& table) { late.emplace(table, one_stage); });
  late.reset();
  EXPECT_EQ(plain.loss, step.loss);
  const View<float, 1> a = plain.table().gradients(), b = step.table().gradients();
  EXPECT_EQ(std::memcmp(a.data, b.data, static_cast<std::size_t>(a.size()) * sizeof(float)), 0);
}

constexpr HeadKind kHeads[] = {HeadKind::kNone,     HeadKind::kCausalLm, HeadKind::kMaskedLm,
                               HeadKind::kSequence, HeadKind::kToken,    HeadKind::kQuestion,
                               HeadKind::kChoice};

TEST(WeightsToCome, AreNotReadBeforeTheyAreAskedFor) {
  for (const HeadKind head : kHeads) {
    for (const auto& config : Models(head, 16)) {
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        SCOPED_TRACE(fmt::format("{} {} head {}", config->info().title, DTypeName(dtype),
                                 static_cast<int>(head)));
        StepPolicy policy;
        policy.compute = dtype;
        ExpectSameStepWithLateWeights(*config, policy, {}, false);
      }
    }
  }
}

// Whatever is frozen, recomputed, kept, or rounded in turn.
TEST(WeightsToCome, AreNotReadEarlyInAnyKindOfStep) {
  for (const auto& config : Models(HeadKind::kMaskedLm, 16)) {
    SCOPED_TRACE(std::string(config->info().title));
    const bool reversible = config->info().title.find("Reformer") != std::string_view::npos;
    StepPolicy policy;
    ExpectSameStepWithLateWeights(*config, policy, IsOfEncoder, false);
    ExpectSameStepWithLateWeights(*config, policy, IsEmbedding, false);
    if (reversible) {
      policy.keep = std::size_t{1} << 30;
      policy.gradient_streams = DType::kBF16;
    } else {
      policy.recompute = 1;
    }
    ExpectSameStepWithLateWeights(*config, policy, {}, false);
    if (reversible) continue;
    policy.compute = DType::kBF16;
    policy.copies = LayerCopies::kInTurn;
    ExpectSameStepWithLateWeights(*config, policy, {}, false);
  }
}

// Of a layer that has run nothing is read, and of one that will run neither.
TEST(WeightsToCome, AreAskedForLayerByLayer) {
  for (const HeadKind head : {HeadKind::kMaskedLm, HeadKind::kSequence, HeadKind::kNone}) {
    for (const auto& config : Models(head, 16)) {
      SCOPED_TRACE(fmt::format("{} head {}", config->info().title, static_cast<int>(head)));
      ExpectSameStepWithLateWeights(*config, {}, {}, true);
    }
  }
}

}  // namespace
}  // namespace longspan
