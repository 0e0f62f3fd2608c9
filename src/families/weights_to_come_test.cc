// Weights that are still on their way from other ranks: no family reads one before it has asked for
// it, and each asks for a layer's when it runs the layer.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/bfloat16.h"
#include "families/family_step_test.h"
#include "model/bf16_weights.h"
#include "tests/support/files.h"
#include "tests/support/late_values.h"

namespace longspan {
namespace {

// The step with weights that come when they are asked for has the bits of the step without. Returns
// LateValues::turns() and layers().
std::pair<int, int> ExpectSameStepWithLateWeights(const ModelConfig& config,
                                                  const StepPolicy& policy, const IsFrozen& frozen,
                                                  bool one_stage) {
  const FrozenStep plain(config, policy, frozen);
  std::optional<test::LateValues> late;
  const FrozenStep step(config, policy, frozen,
                        [&](ParameterTable& table) { late.emplace(table, one_stage); });
  const std::pair<int, int> turns(late->turns(), late->layers());
  late.reset();
  EXPECT_EQ(plain.loss, step.loss);
  const View<float, 1> a = plain.table().gradients(), b = step.table().gradients();
  EXPECT_EQ(std::memcmp(a.data, b.data, static_cast<std::size_t>(a.size()) * sizeof(float)), 0);
  return turns;
}

constexpr HeadKind kHeads[] = {HeadKind::kNone,     HeadKind::kCausalLm, HeadKind::kMaskedLm,
                               HeadKind::kSequence, HeadKind::kToken,    HeadKind::kQuestion,
                               HeadKind::kChoice};

// use(config, policy) for the models of every family with this head, in fp32 and in bf16.
template <class Use>
void ForEachModel(HeadKind head, const Use& use) {
  for (const auto& config : Models(head, 16)) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(fmt::format("{} {} head {}", config->info().title, DTypeName(dtype),
                               static_cast<int>(head)));
      StepPolicy policy;
      policy.compute = dtype;
      use(*config, policy);
    }
  }
}

TEST(WeightsToCome, AreNotReadBeforeTheyAreAskedFor) {
  for (const HeadKind head : kHeads) {
    ForEachModel(head, [](const ModelConfig& config, const StepPolicy& policy) {
      ExpectSameStepWithLateWeights(config, policy, {}, false);
    });
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

// Of a layer that has run nothing is read, and of one that will run neither: a pass does not ask
// for all weights when it begins.
TEST(WeightsToCome, AreAskedForLayerByLayer) {
  for (const HeadKind head : {HeadKind::kMaskedLm, HeadKind::kSequence, HeadKind::kNone}) {
    ForEachModel(head, [&](const ModelConfig& config, const StepPolicy& policy) {
      const auto [turns, layers] = ExpectSameStepWithLateWeights(config, policy, {}, true);
      // Forward and back, and forward once more where vectors are trained.
      const int passes = head == HeadKind::kNone ? 3 : 2;
      EXPECT_GE(layers, 1);
      EXPECT_GE(turns, passes * (layers - 1));
      EXPECT_LE(turns, passes * layers);
    });
  }
}

// bf16 weights of a layer are rounded when it is entered; before that they are refused, not old.
TEST(WeightsToCome, Bf16WeightsAreThoseOfLayersThatWereEntered) {
  ParameterTable table;
  const ParameterId first = table.Add("layers.0.w", {4, 8}, ParameterKind::kMatrix);
  const ParameterId second = table.Add("layers.1.w", {4, 8}, ParameterKind::kMatrix);
  table.Allocate();
  table.Draw(3, 0.5, 0.5);
  const auto copies = EncoderBf16Weights(table, LayerCopies::kKept, "layers.", kNoParameter);
  Context context(1);
  const auto is_fresh = [&](ParameterId id) {
    const float exact = std::as_const(table).matrix(id)(1, 2);
    return ToFloat(copies->matrix(id)(1, 2)) == ToFloat(ToBfloat16(exact));
  };
  copies->Refresh(context, table);
  EXPECT_TRUE(is_fresh(first) && is_fresh(second));
  table.Draw(4, 0.5, 0.5);
  {
    const test::LateValues late(table);
    copies->Refresh(context, table);
    EXPECT_TRUE(test::Throws([&] { copies->matrix(first); }, ErrorCode::kUsage, "not entered"));
    copies->Enter(context, table, 0);
    EXPECT_TRUE(is_fresh(first));
    EXPECT_TRUE(test::Throws([&] { copies->matrix(second); }, ErrorCode::kUsage, "not entered"));
  }
  copies->Refresh(context, table);
  EXPECT_TRUE(is_fresh(first) && is_fresh(second));
}

}  // namespace
}  // namespace longspan
