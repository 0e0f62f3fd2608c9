// A backward pass ends where nothing below is trained, what is trained has the same gradients, and
// they are told as soon as they are whole.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <vector>

#include "families/family_step_test.h"

namespace longspan {
namespace {

// Whether nothing is computed for a frozen parameter. Sums of biases cost next to nothing.
bool IsLeftOut(const ParameterInfo& info) { return info.kind != ParameterKind::kBias; }

// The trained parameters have the bits that they have if all are trained, and for the matrices of
// the others nothing is computed.
void ExpectSameGradients(const FrozenStep& all, const FrozenStep& some) {
  EXPECT_EQ(all.loss, some.loss);
  for (std::size_t i = 0; i < all.table().list().size(); ++i) {
    const auto id = static_cast<ParameterId>(i);
    const View<float, 1> a = all.table().vector_gradient(id), b = some.table().vector_gradient(id);
    if (!some.table().trains(id)) {
      if (!IsLeftOut(some.table().at(id)) || b.data == nullptr) continue;
      EXPECT_EQ(std::count(b.data, b.data + b.size(), 0.0f), b.size()) << some.table().at(id).name;
      continue;
    }
    ASSERT_NE(b.data, nullptr) << all.table().at(id).name;
    EXPECT_EQ(std::memcmp(a.data, b.data, static_cast<std::size_t>(a.size()) * sizeof(float)), 0)
        << all.table().at(id).name;
  }
}

const IsFrozen kFreezes[] = {
    IsOfEncoder,
    IsEmbedding,
    [](std::string_view name) { return IsEmbedding(name) || IsOfLayer(name, 0); },
    // A layer of which a part is trained; nothing is frozen above it.
    [](std::string_view name) {
      return IsEmbedding(name) || (IsOfLayer(name, 0) && name.find("dense.weight") == name.npos &&
                                   name.find("Wo.weight") == name.npos);
    },
    // Above what is trained.
    [](std::string_view name) { return !IsEmbedding(name) && !IsOfLayer(name, 1); },
    // Norms, and a part of the embeddings.
    [](std::string_view name) {
      return name.find("orm") != name.npos || name.find("word_embeddings") != name.npos ||
             name.find("tok_embeddings") != name.npos;
    },
    // Positions, and a Longformer's global projections.
    [](std::string_view name) {
      return name.find("position_embeddings") != name.npos || name.find("_global") != name.npos;
    },
    // No matrix of the layers is trained, only biases, norms and embeddings.
    [](std::string_view name) {
      return name.ends_with(".weight") && name.find("orm") == name.npos && !IsEmbedding(name);
    },
};

TEST(FrozenStages, TrainedParametersKeepTheirGradients) {
  for (const HeadKind head : {HeadKind::kMaskedLm, HeadKind::kSequence}) {
    for (const auto& config : Models(head, 32)) {
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        StepPolicy policy;
        policy.compute = dtype;
        const FrozenStep all(*config, policy, {});
        for (const IsFrozen& frozen : kFreezes) {
          SCOPED_TRACE(std::string(config->info().title) + " " + DTypeName(dtype));
          ExpectSameGradients(all, FrozenStep(*config, policy, frozen));
        }
      }
    }
  }
}

// Whatever is recomputed, or kept by a Reformer.
TEST(FrozenStages, ALayerThatIsRecomputedIsNoDifference) {
  for (const auto& config : Models(HeadKind::kSequence, 32)) {
    StepPolicy policy;
    const FrozenStep all(*config, policy, {});
    if (config->info().title.find("Reformer") != std::string_view::npos) {
      policy.keep = std::size_t{1} << 30;
    } else {
      policy.recompute = 2;
    }
    for (const IsFrozen& frozen : kFreezes) {
      SCOPED_TRACE(std::string(config->info().title));
      ExpectSameGradients(all, FrozenStep(*config, policy, frozen));
    }
  }
}

TEST(FrozenStages, VectorsTrainSomeLayers) {
  for (const auto& config : Models(HeadKind::kNone, 32)) {
    const FrozenStep all(*config, {}, {});
    SCOPED_TRACE(std::string(config->info().title));
    ExpectSameGradients(all, FrozenStep(*config, {}, kFreezes[2]));
  }
}

// ---- gradients that are whole before the pass has ended -----------------------------------------

struct Whole {
  idx_t begin;
  std::vector<float> gradients;  // from there on, at that time
};

// The step, and what it says of whole gradients.
std::vector<Whole> WholesOf(const ModelConfig& config, const StepPolicy& policy,
                            const IsFrozen& frozen, std::unique_ptr<FrozenStep>* step) {
  std::vector<Whole> told;
  *step = std::make_unique<FrozenStep>(config, policy, frozen, [&](ParameterTable& table) {
    table.OnWhole([&](idx_t begin) {
      const View<float, 1> all = table.gradients();
      told.push_back({begin, {all.data + begin, all.data + all.size()}});
    });
  });
  (*step)->model->parameters().OnWhole(nullptr);
  return told;
}

// Stages are told from the last to the first one that is trained, and nothing is added behind them
// afterwards.
TEST(WholeGradients, AreToldStageByStageAndStayAsTheyAre) {
  for (const HeadKind head : {HeadKind::kMaskedLm, HeadKind::kNone}) {
    for (const auto& config : Models(head, 32)) {
      const bool reversible = config->info().title.find("Reformer") != std::string_view::npos;
      for (const bool again : {false, true}) {
        StepPolicy policy;
        if (again && reversible) policy.keep = std::size_t{1} << 30;
        if (again && !reversible) policy.recompute = 1;
        for (const IsFrozen& frozen : {IsFrozen(), kFreezes[2]}) {
          SCOPED_TRACE(std::string(config->info().title));
          std::unique_ptr<FrozenStep> step;
          const std::vector<Whole> told = WholesOf(*config, policy, frozen, &step);
          const std::size_t first = step->table().first_stage();
          ASSERT_GE(told.size(), 3u - (first > 0 ? 1 : 0));
          EXPECT_EQ(told.back().begin, 0);
          const View<float, 1> all = step->table().gradients();
          idx_t before = all.size();
          for (const Whole& whole : told) {
            EXPECT_LE(whole.begin, before);
            before = whole.begin;
            ASSERT_EQ(std::memcmp(whole.gradients.data(), all.data + whole.begin,
                                  whole.gradients.size() * sizeof(float)),
                      0)
                << "from " << whole.begin << " on";
          }
          if (first > 0) continue;
          // The embeddings' come last: before that there is something whole without them.
          const Whole& layers = told[told.size() - 2];
          EXPECT_EQ(layers.begin, step->table().StageBegin(1));
          EXPECT_GT(std::count_if(layers.gradients.begin(), layers.gradients.end(),
                                  [](float g) { return g != 0.0f; }),
                    0);
        }
      }
    }
  }
}

TEST(WholeGradients, AreNotToldWhilePassesAreToCome) {
  ParameterTable table;
  table.Add("numbers", {4}, ParameterKind::kBias);
  table.Allocate();
  table.AllocateGradients();
  int told = 0;
  table.OnWhole([&](idx_t) { ++told; });
  const Context context(1), rehearsal = Context::Rehearsal(1);
  {
    const PassesToCome groups(table, true), rows(table, false);
    table.EndStage(context, 0);
  }
  EXPECT_EQ(told, 0);
  const PassesToCome last(table, false);
  table.EndStage(rehearsal, 0);
  EXPECT_EQ(told, 0);
  table.EndStage(context, 0);
  EXPECT_EQ(told, 1);
}

// ---- what it costs ------------------------------------------------------------------------------

// A rehearsal books what the step books, less than with all parameters, and counts less work.
TEST(FrozenStages, TakeLessMemoryAndWork) {
  for (const auto& config : Models(HeadKind::kSequence, 0)) {
    SCOPED_TRACE(std::string(config->info().title));
    StepPolicy policy;
    const StepNeeds all = RehearseStep(*config, kStageRows, kStageTokens, 2, policy);
    double work = all.gflop;
    std::size_t gradients = all.memory.gradients;
    for (const IsFrozen& frozen : {kFreezes[1], kFreezes[2], kFreezes[0]}) {
      policy.frozen = frozen;
      const StepNeeds needs = RehearseStep(*config, kStageRows, kStageTokens, 2, policy);
      EXPECT_LE(needs.gflop, work);
      EXPECT_LE(needs.memory.gradients, gradients);
      EXPECT_LT(needs.memory.moments, all.memory.moments);
      EXPECT_EQ(needs.memory.weights, all.memory.weights);
      work = needs.gflop;
      gradients = needs.memory.gradients;
      FrozenStep step(*config, policy, frozen);
      EXPECT_EQ(step.context.arena().most_capacity(), needs.memory.streams + needs.memory.scratch);
      EXPECT_EQ(needs.memory.gradients,
                static_cast<std::size_t>(step.table().gradient_extent()) * sizeof(float));
    }
    // The head alone: a forward pass of the encoder, and a few numbers.
    EXPECT_LT(work, 0.45 * all.gflop);
    EXPECT_LT(gradients, all.memory.gradients / 4);
  }
}

// Products that are left out do not count as work: two flop for each number and token. Without a
// head all layers compute all tokens.
TEST(FrozenStages, ProductsOfFrozenMatricesAreNoWork) {
  for (const auto& config : Models(HeadKind::kNone, 32)) {
    SCOPED_TRACE(std::string(config->info().title));
    StepPolicy policy;
    const double all = RehearseStep(*config, kStageRows, kStageTokens, 2, policy).gflop;
    policy.frozen = [](std::string_view name) {
      return (IsOfLayer(name, 0) || IsOfLayer(name, 1)) && name.ends_with(".weight");
    };
    const double some = RehearseStep(*config, kStageRows, kStageTokens, 2, policy).gflop;
    const auto model = config->Make(ParameterMemory::kOwn);
    double numbers = 0.0;
    for (const ParameterInfo& info : model->parameters().list()) {
      const bool every_token = info.name.find("_global") == info.name.npos;
      const bool matrix = info.kind == ParameterKind::kMatrix && every_token;
      if (matrix && policy.frozen(info.name)) numbers += static_cast<double>(info.size);
    }
    EXPECT_GT(numbers, 0.0);
    EXPECT_NEAR(all - some, 2e-9 * kStageRows * kStageTokens * numbers, 1e-9 * all);
  }
}

// The layers below the first that is trained save nothing. A Reformer's layers never do.
TEST(FrozenStages, SaveNoActivations) {
  for (const auto& config : Models(HeadKind::kSequence, 0)) {
    if (config->info().title.find("Reformer") != std::string_view::npos) continue;
    SCOPED_TRACE(std::string(config->info().title));
    StepPolicy policy;
    const std::size_t all = RehearseStep(*config, 8, 512, 2, policy).memory.scratch;
    policy.frozen = IsOfEncoder;
    EXPECT_LT(RehearseStep(*config, 8, 512, 2, policy).memory.scratch, 3 * all / 4);
  }
}

}  // namespace
}  // namespace longspan
