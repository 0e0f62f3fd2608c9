// Full attention: edges, same bits, bad arguments.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "longspan/attention.h"
#include "longspan/error.h"
#include "ops/full_attention/full_attention.h"
#include "ops/full_attention/full_attention_test.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"
#include "tests/support/runners.h"

namespace longspan::test {
namespace {

// ---- edges --------------------------------------------------------------------------------------

TEST(FullAttention, WavesPairEveryGroupOnce) {
  for (idx_t groups = 1; groups <= 12; ++groups) {
    FullPlan plan;
    plan.groups = groups;
    std::set<std::pair<idx_t, idx_t>> met;
    for (idx_t wave = 0; wave < plan.Waves(); ++wave) {
      std::set<idx_t> busy;
      for (idx_t i = 0; i < plan.PairsOfWave(wave); ++i) {
        const auto [low, high] = plan.PairOf(wave, i);
        ASSERT_LE(low, high);
        ASSERT_TRUE(busy.insert(low).second) << groups << " groups, wave " << wave;
        ASSERT_TRUE(low == high || busy.insert(high).second) << groups << " groups, wave " << wave;
        ASSERT_TRUE(high == groups || met.insert({low, high}).second);
      }
    }
    EXPECT_EQ(static_cast<idx_t>(met.size()), groups * (groups + 1) / 2);
  }
}

// A lone token has itself as the last resort; any other gives itself exactly nothing.
TEST(FullAttention, SharedFormAndItself) {
  Context context(2);
  for (const idx_t T : {1, 2, 70, 450}) {
    const Case c = MakeCase(Form::kShared, T, true, 8);
    const Inputs x(c);
    const auto y = RunKernel(context, c, x);
    for (std::size_t d = 0; d < 8; ++d) EXPECT_EQ(y.out[d], x.v[d]);
    EXPECT_EQ(y.max[0], kSelfScore);
    EXPECT_EQ(y.sum[0], 1.0f);
    Inputs changed = x;
    for (idx_t t = 1; t < T; ++t) {
      std::copy_n(x.v.data(), c.size(), changed.v.data());
      for (idx_t d = 0; d < 8; ++d) changed.v[static_cast<std::size_t>(t * 8 + d)] += 1e6f;
      if (T > 70 && t % 37 != 0) continue;
      const auto z = RunKernel(context, c, changed);
      const auto row = static_cast<std::ptrdiff_t>((t + 1) * 8);
      EXPECT_TRUE(std::equal(y.out.begin(), y.out.begin() + row, z.out.begin())) << T << " " << t;
      EXPECT_TRUE(t + 1 == T ||
                  y.out[static_cast<std::size_t>(row)] != z.out[static_cast<std::size_t>(row)]);
    }
  }
}

// All that a lone token's gradient reaches is its own value, times the dropout factor.
TEST(FullAttention, LoneTokensGiveGradientToTheirValueOnly) {
  Context context(2);
  for (const float p : {0.0f, 0.5f}) {
    Case c = MakeCase(Form::kShared, 300, false, 6, 1, 2);
    c.mask = Mask(300, 0);
    c.spec.dropout = {p, 4};
    const Inputs x(c);
    const auto y = RunKernel(context, c, x);
    EXPECT_EXACTLY_ZERO(std::span<const float>(y.dq));
    const Dropout dropout{p, 4};
    for (idx_t i = 0; i < c.rows(); ++i) {
      const float factor = p > 0 ? dropout.Factor(i * 300 + i % 300) : 1.0f;
      for (idx_t d = 0; d < 6; ++d) {
        const auto at = static_cast<std::size_t>(i * 6 + d);
        ASSERT_EQ(y.out[at], factor * x.v[at]);
        ASSERT_EQ(y.dv[at], factor * x.dout[at]);
      }
    }
  }
}

TEST(FullAttention, QueryWithoutVisibleKeyTakesTheMeanOfAll) {
  Context context(1);
  for (const bool causal : {false, true}) {
    Case c = MakeCase(Form::kSeparate, 300, causal, 3);
    c.mask = Mask(300, 0);
    if (causal) c.mask[250] = 1;
    const Inputs x(c);
    const auto y = RunKernel(context, c, x);
    for (const std::size_t d : {0u, 1u, 2u}) {
      double mean = 0.0;
      for (std::size_t t = 0; t < 300; ++t) mean += static_cast<double>(x.v[t * 3 + d]) / 300;
      for (const std::size_t t : {0u, 100u, 249u}) {
        EXPECT_NEAR(y.out[t * 3 + d], mean, 1e-6);
        EXPECT_EQ(y.dq[t * 3 + d], 0.0f);
        EXPECT_NEAR(y.lse[t], std::log(300.0), 1e-6);
      }
      if (causal) {  // one key: times its weight and the weight's inverse
        EXPECT_FLOAT_EQ(y.out[270 * 3 + d], x.v[250 * 3 + d]);
      }
    }
  }
}

// A hidden key may hold anything, and a row shows no trace of keys that it does not see.
TEST(FullAttention, HiddenKeysLeaveNoTrace) {
  Context context(2);
  for (const Form form : {Form::kSeparate, Form::kShared}) {
    for (const bool causal : {false, true}) {
      Case c = MakeCase(form, 450, causal, 12);
      c.mask = MakeMask(c, Padding::kHoles);
      c.mask[0] = 1;  // no blind row
      Inputs x(c);
      const auto want = RunKernel(context, c, x);
      for (const idx_t key : {5, 200, 445}) {  // hidden
        ASSERT_EQ(c.mask[static_cast<std::size_t>(key)], 0);
        for (idx_t d = 0; d < 12; ++d) {
          const auto at = static_cast<std::size_t>(key * 12 + d);
          (form == Form::kShared ? x.q : x.k)[at] = kNan;
          x.v[at] = -1e6f;
        }
      }
      const auto y = RunKernel(context, c, x);
      for (idx_t t = 0; t < 450; ++t) {
        if (form == Form::kShared && (t == 5 || t == 200 || t == 445)) continue;  // NaN queries
        for (idx_t d = 0; d < 12; ++d) {
          const auto at = static_cast<std::size_t>(t * 12 + d);
          ASSERT_EQ(y.out[at], want.out[at]) << c.Name() << " row " << t;
        }
      }
    }
  }
}

// (B, T, H D) rows with NaN between them and around them.
TEST(FullAttention, StridedViewsReadNothingElse) {
  Context context(2);
  for (const Form form : {Form::kSeparate, Form::kShared}) {
    for (const idx_t D : {5, 16, 64}) {
      Case c = MakeCase(form, 205, D == 5, D, 2, 3);
      c.mask = MakeMask(c, Padding::kRight);
      const Inputs x(c);
      const auto want = RunKernel(context, c, x);
      const idx_t B = c.shape.B, H = c.shape.H, T = c.shape.T, row = H * D + 3;
      const auto spread = [&](const std::vector<float>& a) {
        std::vector<float> wide(static_cast<std::size_t>(B * (T + 2) * row), kNan);
        for (idx_t i = 0; i < static_cast<idx_t>(a.size()); ++i) {
          const idx_t d = i % D, t = i / D % T, h = i / D / T % H, b = i / D / T / H;
          wide[static_cast<std::size_t>((b * (T + 2) + t + 1) * row + h * D + d)] =
              a[static_cast<std::size_t>(i)];
        }
        return wide;
      };
      Inputs wide = x;
      for (auto* a : {&wide.q, &wide.k, &wide.v, &wide.dout}) *a = spread(*a);
      Outputs<float> y(c);
      for (auto* a : {&y.out, &y.dq, &y.dk, &y.dv}) *a = spread(*a);
      RunOnViews(context, c, wide, y, [&](std::vector<float>& a) {
        return View<float, 4>(a.data() + row, {B, H, T, D}, {(T + 2) * row, D, row, 1});
      });
      EXPECT_SAME_BITS(y.out, spread(want.out));
      EXPECT_SAME_BITS(y.dq, spread(want.dq));
      EXPECT_SAME_BITS(y.dv, spread(want.dv));
      if (form == Form::kSeparate) {
        EXPECT_SAME_BITS(y.dk, spread(want.dk));
        EXPECT_SAME_BITS(y.lse, want.lse);
      } else {
        EXPECT_SAME_BITS(y.max, want.max);
        EXPECT_SAME_BITS(y.sum, want.sum);
      }
    }
  }
}

TEST(FullAttention, GradientsAccumulate) {
  Context context(2);
  for (const Form form : {Form::kSeparate, Form::kShared}) {
    const Case c = MakeCase(form, 500, true, 4);
    Inputs x(c);
    const auto once = RunKernel(context, c, x);
    auto twice = once;
    RunOnViews(context, c, x, twice,
               [&](std::vector<float>& a) { return View<float, 4>(a.data(), c.extents()); });
    for (std::size_t i = 0; i < once.dq.size(); ++i) {
      ASSERT_NEAR(twice.dq[i], 2 * once.dq[i], 1e-5 * (1 + std::abs(once.dq[i])));
      ASSERT_NEAR(twice.dv[i], 2 * once.dv[i], 1e-5 * (1 + std::abs(once.dv[i])));
      if (form == Form::kShared) continue;
      ASSERT_NEAR(twice.dk[i], 2 * once.dk[i], 1e-5 * (1 + std::abs(once.dk[i])));
    }
  }
}

// ---- same bits ----------------------------------------------------------------------------------

TEST(FullAttention, SameBitsForAnyThreads) {
  for (const Form form : {Form::kSeparate, Form::kShared}) {
    for (const bool causal : {false, true}) {
      Case c = MakeCase(form, 1000, causal, 8, 1, 2);
      c.mask = MakeMask(c, Padding::kHoles);
      c.spec.dropout = {0.1f, 9};
      const Inputs x(c);
      ExpectSameBitsForAnyThreads([&](Context& context) {
        const auto y = RunKernel(context, c, x);
        std::vector<float> all;
        for (const auto& [name, part] : y.Parts())
          all.insert(all.end(), part->begin(), part->end());
        return all;
      });
    }
  }
}

// ---- bad arguments ------------------------------------------------------------------------------

constexpr std::array<idx_t, 4> kShape = {1, 2, 10, 4};

struct Arguments {
  std::vector<float> floats = std::vector<float>(80);
  std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(10, 1);
  View<const float, 4> x{floats.data(), kShape};
  View<float, 4> y{floats.data(), kShape};
  View<float, 3> rows{floats.data(), {1, 2, 10}};
  FullSpec spec;
  KeyMask mask{bytes.data(), {1, 10}};
  View<const float, 4> dout = x;
  Qkv qkv{x, x, x};
  AttentionSaved saved{y, rows};
  DQkv gradients{y, y, y};
  SharedQkv shared_qkv{x, x};
  SharedSaved shared_saved{y, rows, rows};
  DSharedQkv shared_gradients{y, y};
};

template <class Change>
void ExpectRefused(const Change& change, std::string_view fragment, bool separate, bool shared) {
  Arguments a;
  change(a);
  Context context(1);
  const auto both = [&] {
    FullForward(context, a.spec, a.qkv, a.mask, a.saved);
    FullBackward(context, a.spec, a.qkv, a.mask, a.saved, a.dout, a.gradients);
  };
  const auto both_shared = [&] {
    FullSharedForward(context, a.spec, a.shared_qkv, a.mask, a.shared_saved);
    FullSharedBackward(context, a.spec, a.shared_qkv, a.mask, a.shared_saved, a.dout,
                       a.shared_gradients);
  };
  EXPECT_TRUE(!separate || Throws(both, ErrorCode::kUsage, fragment));
  EXPECT_TRUE(!shared || Throws(both_shared, ErrorCode::kUsage, fragment));
}

TEST(FullAttention, BadArgumentsNameBothValues) {
  const auto separate = [](const auto& change, std::string_view fragment) {
    ExpectRefused(change, fragment, true, false);
  };
  const auto shared = [](const auto& change, std::string_view fragment) {
    ExpectRefused(change, fragment, false, true);
  };
  const auto either = [](const auto& change, std::string_view fragment) {
    ExpectRefused(change, fragment, true, true);
  };
  separate([](Arguments& a) { a.qkv.q.extent[1] = 0; }, "q is (1, 0, 10, 4)");
  separate([](Arguments& a) { a.qkv.k.extent[2] = 9; },
           "k is (1, 2, 9, 4), expected (1, 2, 10, 4)");
  separate([](Arguments& a) { a.qkv.v.extent[3] = 3; }, "v is (1, 2, 10, 3)");
  separate([](Arguments& a) { a.qkv.q.stride[3] = 2; }, "stride of q is 2, expected 1");
  separate([](Arguments& a) { a.saved.out.extent[0] = 2; }, "out is (2, 2, 10, 4)");
  separate([](Arguments& a) { a.saved.lse.extent[2] = 4; }, "lse is (1, 2, 4)");
  separate([](Arguments& a) { a.gradients.dq.extent[0] = 2; }, "dq is (2, 2, 10, 4)");
  separate([](Arguments& a) { a.gradients.dk.stride[3] = 3; }, "stride of dk is 3");
  separate([](Arguments& a) { a.gradients.dv.extent[0] = 2; }, "dv is (2, 2, 10, 4)");
  separate([](Arguments& a) { a.spec.scale = kNan; }, "scale nan");
  shared([](Arguments& a) { a.shared_qkv.qk.extent[3] = 0; }, "qk is (1, 2, 10, 0)");
  shared([](Arguments& a) { a.shared_qkv.v.extent[2] = 9; }, "v is (1, 2, 9, 4)");
  shared([](Arguments& a) { a.shared_saved.max.extent[2] = 9; }, "max is (1, 2, 9)");
  shared([](Arguments& a) { a.shared_saved.sum.extent[2] = 9; }, "sum is (1, 2, 9)");
  shared([](Arguments& a) { a.shared_gradients.dqk.extent[2] = 9; }, "dqk is (1, 2, 9, 4)");
  shared([](Arguments& a) { a.spec.scale = 0.5f; }, "scale 0.5 in the shared form");
  either([](Arguments& a) { a.mask.extent[1] = 11; }, "mask is (1, 11), expected (1, 10)");
  either([](Arguments& a) { a.dout.extent[1] = 1; }, "dout is (1, 1, 10, 4)");
  either([](Arguments& a) { a.spec.dropout.p = 1.0f; }, "dropout 1 is not in [0, 1)");
}

}  // namespace
}  // namespace longspan::test
