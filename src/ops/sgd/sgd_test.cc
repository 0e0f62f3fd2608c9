#include "ops/sgd/sgd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "longspan/error.h"
#include "ops/sgd/sgd_ref.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/recorded_updates.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::RandomNormal;

View<float, 1> Of(std::vector<float>& values) {
  return {values.data(), {static_cast<idx_t>(values.size())}};
}

SgdSpec Spec(float momentum, bool nesterov, float decay, float scale) {
  SgdSpec spec;
  spec.learning_rate = 0.0625f;
  spec.momentum = momentum;
  spec.nesterov = nesterov;
  spec.weight_decay = decay;
  spec.gradient_scale = scale;
  return spec;
}

const std::vector<SgdSpec> kSpecs = {Spec(0.0f, false, 0.1f, 1.0f), Spec(0.9f, false, 0.1f, 0.25f),
                                     Spec(0.8f, true, 0.1f, 1.0f)};

std::vector<float> Gradient(idx_t update, idx_t count, std::uint64_t seed = 0) {
  return RandomNormal(1000 * seed + 50 + static_cast<std::uint64_t>(update), count,
                      update % 3 == 0 ? 10.0f : 0.01f);
}

struct Weights {
  std::vector<float> w, m;
};

Weights TrainKernel(Context& context, idx_t count, const SgdSpec& spec, std::uint64_t seed = 0) {
  Weights s{RandomNormal(1000 * seed + 1, count),
            std::vector<float>(static_cast<std::size_t>(count))};
  for (idx_t t = 1; t <= 10; ++t) {
    std::vector<float> g = Gradient(t, count, seed);
    SgdStep(context, spec, Of(s.w), Of(g), Of(s.m));
    EXPECT_THAT(g, testing::Each(0.0f));
  }
  return s;
}

template <class T>
ref::SgdState<T> TrainReference(idx_t count, const SgdSpec& spec, std::uint64_t seed = 0) {
  const auto w = RandomNormal(1000 * seed + 1, count);
  ref::SgdState<T> s{{w.begin(), w.end()}, std::vector<T>(w.size())};
  for (idx_t t = 1; t <= 10; ++t) {
    const auto g = Gradient(t, count, seed);
    ref::SgdStep<T>(spec, {g.begin(), g.end()}, s);
  }
  return s;
}

TEST(Sgd, OneAndTenUpdatesEqualTorchs) {
  Context context(1);
  const std::pair<const char*, SgdSpec> cases[] = {
      {"sgd.plain", Spec(0.0f, false, 0.125f, 1.0f)},
      {"sgd.momentum", Spec(0.875f, false, 0.125f, 1.0f)},
      {"sgd.nesterov", Spec(0.75f, true, 0.0f, 1.0f)}};
  for (const auto& [name, spec] : cases) {
    SCOPED_TRACE(name);
    const test::RecordedUpdates recorded(name);
    const auto reference = [&]<class T>(T, idx_t updates) {
      ref::SgdState<T> s{{recorded.before.begin(), recorded.before.end()},
                         std::vector<T>(recorded.before.size())};
      for (idx_t t = 0; t < updates; ++t) {
        const auto& g = recorded.gradients[static_cast<std::size_t>(t)];
        ref::SgdStep<T>(spec, {g.begin(), g.end()}, s);
      }
      return s.w;
    };
    const auto kernel = [&](idx_t updates) {
      Weights s{recorded.before, std::vector<float>(recorded.before.size())};
      for (idx_t t = 0; t < updates; ++t) {
        std::vector<float> g = recorded.gradients[static_cast<std::size_t>(t)];
        SgdStep(context, spec, Of(s.w), Of(g), Of(s.m));
      }
      return s.w;
    };
    test::ExpectTorchs(
        recorded, kernel, [&](idx_t updates) { return reference(0.0f, updates); },
        [&](idx_t updates) { return reference(0.0, updates); });
  }
}

// Behind `all`.
template <class T>
void Append(const std::vector<T>& more, std::vector<T>* all) {
  all->insert(all->end(), more.begin(), more.end());
}

TEST(Sgd, TenUpdatesAgreeWithTheReference) {
  Context context(2);
  for (const idx_t count : {1, 3, 7, 8, 9, 17, 1000, 16391}) {
    for (const SgdSpec& spec : kSpecs) {
      // Of few numbers the naive error is a matter of luck: several inputs are one problem.
      ref::SgdState<double> oracle;
      ref::SgdState<float> naive, actual;
      for (std::uint64_t seed = 0; seed < (count < 100 ? 32u : 1u); ++seed) {
        const auto exact = TrainReference<double>(count, spec, seed);
        const auto plain = TrainReference<float>(count, spec, seed);
        const Weights kernel = TrainKernel(context, count, spec, seed);
        Append(exact.w, &oracle.w);
        Append(exact.m, &oracle.m);
        Append(plain.w, &naive.w);
        Append(plain.m, &naive.m);
        Append(kernel.w, &actual.w);
        Append(kernel.m, &actual.m);
      }
      EXPECT_MATCHES(actual.w, oracle.w, test::DerivedTolerance(naive.w, oracle.w, 2.0));
      if (spec.momentum == 0.0f) {
        EXPECT_EXACTLY_ZERO(actual.m);
      } else {
        EXPECT_MATCHES(actual.m, oracle.m, test::DerivedTolerance(naive.m, oracle.m, 2.0));
      }
    }
  }
}

TEST(Sgd, PlantedBugsBreakTheToleranceTenfold) {
  const idx_t count = 500;
  const auto oracle = TrainReference<double>(count, kSpecs[2]);
  auto tolerance = test::DerivedTolerance(TrainReference<float>(count, kSpecs[2]).w, oracle.w, 2.0);
  tolerance.max_abs *= 10.0;
  tolerance.rel_l2 *= 10.0;
  SgdSpec plain = kSpecs[2], decoupled = kSpecs[2];
  plain.nesterov = false;
  decoupled.weight_decay = 0.0f;
  for (const SgdSpec& wrong : {plain, decoupled}) {
    const auto w = TrainReference<double>(count, wrong).w;
    EXPECT_FALSE(
        test::Compare(std::span<const double>(w), std::span<const double>(oracle.w), tolerance).ok);
  }
}

TEST(Sgd, NothingBehindTheEndIsTouched) {
  Context context(1);
  for (const idx_t count : {1, 5, 13}) {
    std::vector<float> arrays[3];
    for (auto& array : arrays) array.assign(32, 3.0f);
    const auto part = [&](int k) { return View<float, 1>(arrays[k].data() + 1, {count}); };
    SgdStep(context, kSpecs[1], part(0), part(1), part(2));
    for (const auto& array : arrays) {
      EXPECT_EQ(array[0], 3.0f);
      for (std::size_t i = static_cast<std::size_t>(count) + 1; i < array.size(); ++i) {
        EXPECT_EQ(array[i], 3.0f);
      }
    }
  }
}

TEST(Sgd, SameBitsForAnyThreads) {
  test::ExpectSameBitsForAnyThreads([](Context& context) {
    Weights s = TrainKernel(context, 50000, kSpecs[1]);
    s.w.insert(s.w.end(), s.m.begin(), s.m.end());
    return s.w;
  });
}

TEST(Sgd, BadArgumentsNameTheValues) {
  Context context(1);
  std::vector<float> a(8), b(8), c(8), shorter(7);
  const auto refuses = [&](const SgdSpec& spec, std::vector<float>& momentum, const char* text) {
    return test::Throws([&] { SgdStep(context, spec, Of(a), Of(b), Of(momentum)); },
                        ErrorCode::kUsage, text);
  };
  EXPECT_TRUE(refuses(Spec(1.0f, false, 0.0f, 1.0f), c, "momentum 1 is not"));
  EXPECT_TRUE(refuses(Spec(0.0f, true, 0.0f, 1.0f), c, "nesterov needs a momentum"));
  EXPECT_TRUE(refuses(Spec(0.9f, false, -1.0f, 1.0f), c, "weight decay -1"));
  EXPECT_TRUE(refuses(Spec(0.9f, false, 0.0f, 1.0f), shorter, "momentum has 7 elements, not 8"));
  SgdStep(context, Spec(0.0f, false, 0.0f, 1.0f), Of(a), Of(b), {});  // there is none
}

}  // namespace
}  // namespace longspan
