#include "ops/adafactor/adafactor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "longspan/error.h"
#include "ops/adafactor/adafactor_ref.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/recorded_updates.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::RandomNormal;
using Shape = std::vector<idx_t>;

View<float, 1> Of(std::vector<float>& values) {
  return {values.data(), {static_cast<idx_t>(values.size())}};
}

idx_t SizeOf(const Shape& shape) {
  idx_t size = 1;
  for (const idx_t extent : shape) size *= extent;
  return size;
}

AdafactorSpec Spec(double rate, double decay = 0.0, double clip = 1.0) {
  AdafactorSpec spec;
  spec.learning_rate = rate;
  spec.weight_decay = decay;
  spec.update_clip = clip;
  return spec;
}

std::vector<float> Gradient(idx_t update, idx_t count, std::uint64_t seed = 0) {
  return RandomNormal(1000 * seed + 50 + static_cast<std::uint64_t>(update), count,
                      update % 3 == 0 ? 10.0f : 0.01f);
}

using State = ref::AdafactorState<float>;

void RunKernel(Context& context, AdafactorSpec spec, idx_t step, const Shape& shape,
               std::vector<float> gradient, State& state) {
  spec.step = step;
  AdafactorMoments moments;
  if (shape.size() < 2) {
    moments.each = Of(state.each);
  } else {
    moments.rows = Of(state.rows);
    moments.columns = Of(state.columns);
  }
  AdafactorStep(context, spec, shape, Of(state.w), Of(gradient), moments);
  EXPECT_THAT(gradient, testing::Each(0.0f));
}

template <class T>
void RunReference(AdafactorSpec spec, idx_t step, const Shape& shape,
                  const std::vector<float>& gradient, ref::AdafactorState<T>& state) {
  spec.step = step;
  ref::AdafactorStep<T>(spec, shape, {gradient.begin(), gradient.end()}, state);
}

constexpr idx_t kUpdates = 5;

State TrainKernel(Context& context, const Shape& shape, const AdafactorSpec& spec) {
  const idx_t count = SizeOf(shape);
  State state = ref::BeginAdafactor<float>(RandomNormal(1, count), shape);
  for (idx_t t = 1; t <= kUpdates; ++t) {
    RunKernel(context, spec, t, shape, Gradient(t, count), state);
  }
  return state;
}

template <class T>
ref::AdafactorState<T> TrainReference(const Shape& shape, const AdafactorSpec& spec,
                                      std::uint64_t seed = 0) {
  const auto w = RandomNormal(1000 * seed + 1, SizeOf(shape));
  auto state = ref::BeginAdafactor<T>({w.begin(), w.end()}, shape);
  for (idx_t t = 1; t <= kUpdates; ++t) {
    RunReference<T>(spec, t, shape, Gradient(t, SizeOf(shape), seed), state);
  }
  return state;
}

TEST(Adafactor, OneAndTenUpdatesEqualTorchs) {
  Context context(1);
  AdafactorSpec slower = Spec(0.1, 0.0, 1.5);
  slower.beta2_decay = -0.5;
  const std::pair<const char*, AdafactorSpec> cases[] = {{"adafactor.matrix", Spec(0.01)},
                                                         {"adafactor.decayed", Spec(0.5, 0.1)},
                                                         {"adafactor.clipped", slower},
                                                         {"adafactor.cube", Spec(0.1)},
                                                         {"adafactor.vector", Spec(0.1)}};
  for (const auto& [name, spec] : cases) {
    SCOPED_TRACE(name);
    const test::RecordedUpdates recorded(name);
    const auto reference = [&]<class T>(T, idx_t updates) {
      auto s =
          ref::BeginAdafactor<T>({recorded.before.begin(), recorded.before.end()}, recorded.shape);
      for (idx_t t = 1; t <= updates; ++t) {
        RunReference<T>(spec, t, recorded.shape,
                        recorded.gradients[static_cast<std::size_t>(t - 1)], s);
      }
      return s.w;
    };
    const auto kernel = [&](idx_t updates) {
      State s = ref::BeginAdafactor<float>(recorded.before, recorded.shape);
      for (idx_t t = 1; t <= updates; ++t) {
        RunKernel(context, spec, t, recorded.shape,
                  recorded.gradients[static_cast<std::size_t>(t - 1)], s);
      }
      return s.w;
    };
    test::ExpectTorchs(
        recorded, kernel, [&](idx_t updates) { return reference(0.0f, updates); },
        [&](idx_t updates) { return reference(0.0, updates); });
  }
}

TEST(Adafactor, UpdatesAgreeWithTheReference) {
  Context context(2);
  const Shape shapes[] = {{1},    {17},    {16391},   {1, 1},    {1, 9},
                          {9, 1}, {7, 33}, {600, 70}, {3, 1, 5}, {2, 130, 3}};
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(testing::PrintToString(shape));
    const AdafactorSpec spec = Spec(0.3, 0.1);
    const auto oracle = TrainReference<double>(shape, spec);
    const State actual = TrainKernel(context, shape, spec);
    // Of few numbers the naive error is a matter of luck: the largest of some inputs counts.
    test::Tolerance w, rows, columns, each;
    for (std::uint64_t seed = 0; seed < (SizeOf(shape) < 300 ? 8u : 1u); ++seed) {
      const auto exact = TrainReference<double>(shape, spec, seed);
      const auto naive = TrainReference<float>(shape, spec, seed);
      test::RaiseTolerance(naive.w, exact.w, 2.0, &w);
      if (shape.size() < 2) {
        test::RaiseTolerance(naive.each, exact.each, 2.0, &each);
      } else {
        test::RaiseTolerance(naive.rows, exact.rows, 2.0, &rows);
        test::RaiseTolerance(naive.columns, exact.columns, 2.0, &columns);
      }
    }
    EXPECT_MATCHES(actual.w, oracle.w, w);
    if (shape.size() < 2) {
      EXPECT_MATCHES(actual.each, oracle.each, each);
    } else {
      EXPECT_MATCHES(actual.rows, oracle.rows, rows);
      EXPECT_MATCHES(actual.columns, oracle.columns, columns);
    }
  }
}

TEST(Adafactor, PlantedBugsBreakTheToleranceTenfold) {
  const Shape shape = {20, 25};
  const AdafactorSpec spec = Spec(0.3, 0.1);
  const auto oracle = TrainReference<double>(shape, spec);
  auto tolerance = test::DerivedTolerance(TrainReference<float>(shape, spec).w, oracle.w, 2.0);
  tolerance.max_abs *= 10.0;
  tolerance.rel_l2 *= 10.0;
  AdafactorSpec decay = spec, share = spec, clip = spec;
  decay.weight_decay = 0.0;
  share.beta2_decay = -0.79;
  clip.update_clip = 1.01;
  for (const AdafactorSpec& wrong : {decay, share, clip}) {
    const auto w = TrainReference<double>(shape, wrong).w;
    EXPECT_FALSE(
        test::Compare(std::span<const double>(w), std::span<const double>(oracle.w), tolerance).ok);
  }
  // Rows and columns taken for each other.
  const auto turned = TrainReference<double>({25, 20}, spec).w;
  EXPECT_FALSE(
      test::Compare(std::span<const double>(turned), std::span<const double>(oracle.w), tolerance)
          .ok);
}

TEST(Adafactor, TheScaleOfTheGradientIsClipping) {
  Context context(1);
  const Shape shape = {6, 11};
  AdafactorSpec scaled = Spec(0.1);
  scaled.gradient_scale = 0.25f;
  State with = ref::BeginAdafactor<float>(RandomNormal(1, 66), shape), by_hand = with;
  std::vector<float> gradient = RandomNormal(2, 66, 1e-6f);
  RunKernel(context, scaled, 1, shape, gradient, with);
  for (float& g : gradient) g *= 0.25f;
  RunKernel(context, Spec(0.1), 1, shape, gradient, by_hand);
  EXPECT_SAME_BITS(with.w, by_hand.w);
}

TEST(Adafactor, NoGradientMovesNothingAndHugeOnesStayFinite) {
  Context context(1);
  for (const Shape& shape : {Shape{5}, Shape{5, 1}, Shape{1, 5}}) {
    State state = ref::BeginAdafactor<float>(RandomNormal(2, 5), shape);
    const std::vector<float> before = state.w;
    RunKernel(context, Spec(0.1), 1, shape, std::vector<float>(5), state);
    EXPECT_SAME_BITS(state.w, before);
    RunKernel(context, Spec(0.1), 2, shape, {1e18f, -1e18f, 1e-30f, -1e-42f, 0.0f}, state);
    for (const float value : state.w) EXPECT_TRUE(std::isfinite(value));
  }
}

TEST(Adafactor, RemembersLittleOfAMatrix) {
  const auto optimizer = kAdafactorRow.make({});
  const auto sizes = [&](const Shape& shape) {
    std::vector<idx_t> found;
    for (const OptimizerSlot& slot : optimizer->State(shape)) found.push_back(slot.size());
    return found;
  };
  EXPECT_THAT(sizes({300, 40}), testing::ElementsAre(300, 40));
  EXPECT_THAT(sizes({2, 3, 4}), testing::ElementsAre(6, 8));
  EXPECT_THAT(sizes({300}), testing::ElementsAre(300));
}

TEST(Adafactor, SameBitsForAnyThreads) {
  test::ExpectSameBitsForAnyThreads([](Context& context) {
    std::vector<float> all;
    for (const Shape& shape : {Shape{40000}, Shape{300, 130}}) {
      const State s = TrainKernel(context, shape, Spec(0.1, 0.1));
      for (const auto* part : {&s.w, &s.rows, &s.columns, &s.each}) {
        all.insert(all.end(), part->begin(), part->end());
      }
    }
    return all;
  });
}

TEST(Adafactor, BadArgumentsNameTheValues) {
  Context context(1);
  std::vector<float> w(12), g(12), rows(3), columns(4);
  const auto refuses = [&](const AdafactorSpec& spec, const Shape& shape, const char* text) {
    AdafactorMoments moments;
    moments.rows = Of(rows);
    moments.columns = Of(columns);
    return test::Throws([&] { AdafactorStep(context, spec, shape, Of(w), Of(g), moments); },
                        ErrorCode::kUsage, text);
  };
  EXPECT_TRUE(refuses(Spec(-1.0), {3, 4}, "learning rate -1 is not from 0"));
  EXPECT_TRUE(refuses(Spec(0.1, 0.0, 0.5), {3, 4}, "update clip 0.5 is not from 1"));
  EXPECT_TRUE(refuses(Spec(0.1), {4, 3}, "second moments of rows has 3 elements, not 4"));
  EXPECT_TRUE(refuses(Spec(0.1), {3, 5}, "parameter has 12 elements, not 15"));
  AdafactorSpec rising = Spec(0.1);
  rising.beta2_decay = 0.5;
  EXPECT_TRUE(refuses(rising, {3, 4}, "beta2 decay 0.5"));
}

}  // namespace
}  // namespace longspan
