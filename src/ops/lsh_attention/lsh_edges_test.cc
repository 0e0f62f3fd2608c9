// LSH attention: what it promises, edges, bits, bad arguments.

#include "ops/lsh_attention/lsh_attention_test.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

// ---- what the mechanism promises ----------------------------------------------------------------

// Values that tell the keys apart: v_j = 1 in column j. Row t of out is row t of the weights.
std::vector<float> Weights(const Case& c) {
  Context context(1);
  Inputs x(c);
  std::fill(x.v.begin(), x.v.end(), 0.0f);
  for (idx_t t = 0; t < c.shape.T; ++t) {
    x.v[static_cast<std::size_t>(t * c.shape.D + t)] = 1.0f;
  }
  return RunKernel(context, c, x).out;
}

TEST(LshAttention, ATokenSeesItselfOnlyWhenAlone) {
  for (const bool causal : {false, true}) {
    for (const idx_t rounds : {1, 3}) {
      const Case c = MakeCase(30, 8, 1, 0, rounds, causal, 30, 1, 1);
      const auto weights = Weights(c);
      const auto order = OrderOf(c);
      int lone = 0;
      for (idx_t t = 0; t < 30; ++t) {
        bool sees = false;
        for (idx_t r = 0; r < rounds; ++r) {
          for (idx_t i = 0; i < 30; ++i) {
            if (order[static_cast<std::size_t>(r * 30 + i)] != t) continue;
            for (const auto& e : ref::LshWindow(c.spec, c.shape, order.data(), {}, 0, r, i)) {
              sees = sees || (e.visible && !e.itself);
            }
          }
        }
        lone += sees ? 0 : 1;
        EXPECT_EQ(weights[static_cast<std::size_t>(t * 30 + t)], sees ? 0.0f : 1.0f) << t;
      }
      // Causal: the first token has nobody else. Not causal: it is no exception.
      EXPECT_EQ(weights[0], causal ? 1.0f : 0.0f);
      EXPECT_EQ(lone > 0, causal);
    }
  }
}

TEST(LshAttention, NobodySeesTheFuture) {
  const auto weights = Weights(MakeCase(30, 8, 1, 0, 2, true, 30, 1, 1));
  for (std::size_t t = 0; t < 30; ++t) {
    for (std::size_t j = t + 1; j < 30; ++j) EXPECT_EQ(weights[t * 30 + j], 0.0f);
  }
}

// Bugs that must not hide behind the tolerances.
TEST(LshAttention, PlantedBugsBreakTheTolerance) {
  Context context(2);
  const Case right = MakeCase(61, 8, 1, 0, 2, false, 16);
  const Inputs x(right);
  const auto oracle = RunReference<double>(right, x);
  const Tolerances tolerance = ToleranceOf(right);
  const auto far = [](const std::vector<float>& a, const std::vector<double>& e,
                      const test::Tolerance& t) {
    return test::Compare(std::span<const float>(a), e, t).max_abs / (10.0 * t.max_abs);
  };
  const auto expect_tenfold = [&](const char* what, const Case& wrong) {
    const auto y = RunKernel(context, wrong, x);
    EXPECT_GT(far(y.out, oracle.out, tolerance.out), 1.0) << what;
    EXPECT_GT(far(y.dqk, oracle.dqk, tolerance.dqk), 1.0) << what;
    EXPECT_GT(far(y.dv, oracle.dv, tolerance.dv), 1.0) << what;
  };
  Case wrong = right;
  wrong.spec.before = 0;
  expect_tenfold("no look-back", wrong);
  wrong = right;
  wrong.spec.causal = true;
  expect_tenfold("causal", wrong);
  wrong = right;
  wrong.mask = Mask(61, 1);
  wrong.mask[30] = 0;
  expect_tenfold("one key hidden", wrong);
  wrong = right;
  std::copy_n(right.buckets.begin(), 61, wrong.buckets.begin() + 61);
  expect_tenfold("a round that repeats another", wrong);
  // An unstable sort: within each bucket of round 0 the tokens the other way round.
  wrong = right;
  wrong.spec.buckets = {122};
  for (std::size_t t = 0; t < 61; ++t) {
    wrong.buckets[t] = static_cast<std::uint16_t>(right.buckets[t] * 61 + 60 - t);
  }
  wrong.spec.buckets = {4 * 61};
  expect_tenfold("unstable sort", wrong);
}

// The mean over rounds, instead of their logsumexp weights, is another result.
TEST(LshAttention, RoundsAreNotAveraged) {
  Context context(1);
  const Case both = MakeCase(61, 8, 1, 0, 2, false, 16, 1, 1);
  const Inputs x(both);
  const auto oracle = RunReference<double>(both, x);
  const auto order = OrderOf(both);
  const auto places = ref::LshPlaces(order.data(), 2, 61);
  const std::vector<double> qk = ToDouble(x.qk), v = ToDouble(x.v);
  const std::vector<double> keys = ref::LshKeys(both.shape, qk.data());
  double far = 0.0;
  for (idx_t t = 0; t < 61; ++t) {
    const auto token = ref::LshCombine<double>(both.spec, both.shape, qk.data(), keys.data(),
                                               v.data(), order.data(), places, {}, 0, 0, t);
    for (std::size_t d = 0; d < 16; ++d) {
      const double mean = 0.5 * (token.rounds[0].out[d] + token.rounds[1].out[d]);
      far = std::max(far, std::abs(mean - oracle.out[static_cast<std::size_t>(t) * 16 + d]));
    }
  }
  EXPECT_GT(far, 10.0 * ToleranceOf(both).out.max_abs);
}

// ---- edges --------------------------------------------------------------------------------------

// (B, T, H D) rows with NaN between them and around them.
TEST(LshAttention, StridedViewsReadNothingElse) {
  Context context(2);
  for (const idx_t D : {5, 16}) {
    Case c = MakeCase(45, 8, 1, 1, 2, false, D, 2, 3);
    c.mask = MakeMask(c, Padding::kRight);
    c.DrawBuckets();
    const Inputs x(c);
    const auto want = RunKernel(context, c, x);
    const idx_t B = c.shape.B, H = c.shape.H, T = c.shape.T, row = H * D + 3;
    const auto spread = [&](const std::vector<float>& a) {
      std::vector<float> wide(static_cast<std::size_t>(B * (T + 2) * row), kNan);
      for (idx_t i = 0; i < c.size(); ++i) {
        const idx_t d = i % D, t = i / D % T, h = i / D / T % H, b = i / D / T / H;
        wide[static_cast<std::size_t>((b * (T + 2) + t + 1) * row + h * D + d)] =
            a[static_cast<std::size_t>(i)];
      }
      return wide;
    };
    const auto view = [&](std::vector<float>& a) {
      return View<float, 4>(a.data() + row, {B, H, T, D}, {(T + 2) * row, D, row, 1});
    };
    auto qk = spread(x.qk), v = spread(x.v), dout = spread(x.dout);
    const std::vector<float> zeros(x.qk.size(), 0.0f);
    auto out = spread(zeros), dqk = spread(zeros), dv = spread(zeros);
    std::vector<float> max(want.max.size()), sum(want.sum.size());
    const SharedQkv qkv{view(qk), view(v)};
    const SharedSaved saved{view(out), {max.data(), {B, H, T}}, {sum.data(), {B, H, T}}};
    const KeyMask mask(c.mask.data(), {B, T});
    const View<const std::uint16_t, 4> buckets(c.buckets.data(), {B, H, 2, T});
    LshForward(context, c.spec, qkv, mask, buckets, saved);
    LshBackward(context, c.spec, qkv, mask, buckets, saved, view(dout), {view(dqk), view(dv)});
    EXPECT_SAME_BITS(out, spread(want.out));
    EXPECT_SAME_BITS(max, want.max);
    EXPECT_SAME_BITS(sum, want.sum);
    EXPECT_SAME_BITS(dqk, spread(want.dqk));
    EXPECT_SAME_BITS(dv, spread(want.dv));
  }
}

// With T <= chunk nothing is hashed: any rounds and buckets are the same attention.
TEST(LshAttention, AShortTextIgnoresItsBuckets) {
  Context context(1);
  const Case one = MakeCase(8, 8, 1, 1, 1, true, 6);
  Case many = MakeCase(8, 8, 1, 1, 4, true, 6);
  std::fill(many.buckets.begin(), many.buckets.end(), std::uint16_t{9999});
  const Inputs x(one);
  EXPECT_SAME_BITS(RunKernel(context, one, x).out, RunKernel(context, many, x).out);
  EXPECT_SAME_BITS(RunKernel(context, one, x).dqk, RunKernel(context, many, x).dqk);
}

TEST(LshAttention, GradientsAccumulate) {
  Context context(2);
  const Case c = MakeCase(2200, 16, 1, 1, 2, false, 4, 1, 1);
  const Inputs x(c);
  const auto once = RunKernel(context, c, x);
  const std::array<idx_t, 4> shape = {1, 1, 2200, 4};
  auto dqk = once.dqk, dv = once.dv, out = once.out, max = once.max, sum = once.sum;
  LshBackward(context, c.spec, {{x.qk.data(), shape}, {x.v.data(), shape}}, {},
              {c.buckets.data(), {1, 1, 2, 2200}},
              {{out.data(), shape}, {max.data(), {1, 1, 2200}}, {sum.data(), {1, 1, 2200}}},
              {x.dout.data(), shape}, {{dqk.data(), shape}, {dv.data(), shape}});
  for (std::size_t i = 0; i < dqk.size(); ++i) {
    ASSERT_NEAR(dqk[i], 2 * once.dqk[i], 1e-5 * (1 + std::abs(once.dqk[i])));
    ASSERT_NEAR(dv[i], 2 * once.dv[i], 1e-5 * (1 + std::abs(once.dv[i])));
  }
}

// ---- same bits ----------------------------------------------------------------------------------

TEST(LshAttention, SameBitsForAnyThreads) {
  Case c = MakeCase(4205, 16, 2, 1, 2, false, 8, 1, 2);
  c.mask = MakeMask(c, Padding::kHoles);
  c.DrawBuckets();
  c.spec.dropout = {0.1f, 9};
  const Inputs x(c);
  test::ExpectSameBitsForAnyThreads([&](Context& context) {
    auto y = RunKernel(context, c, x);
    for (const auto* part : {&y.max, &y.sum, &y.dqk, &y.dv}) {
      y.out.insert(y.out.end(), part->begin(), part->end());
    }
    return y.out;
  });
}

// ---- bad arguments ------------------------------------------------------------------------------

struct Arguments {
  std::vector<float> a = std::vector<float>(80), out = a, dqk = a, dv = a;
  std::vector<float> max = std::vector<float>(20), sum = max;
  std::vector<std::uint16_t> ids = std::vector<std::uint16_t>(20);
  std::vector<std::uint8_t> shown = std::vector<std::uint8_t>(10, 1);
  LshSpec spec;
  SharedQkv qkv{{a.data(), {1, 2, 10, 4}}, {a.data(), {1, 2, 10, 4}}};
  KeyMask mask{shown.data(), {1, 10}};
  View<const std::uint16_t, 4> buckets{ids.data(), {1, 2, 1, 10}};
  SharedSaved saved{
      {out.data(), {1, 2, 10, 4}}, {max.data(), {1, 2, 10}}, {sum.data(), {1, 2, 10}}};
  View<const float, 4> dout{a.data(), {1, 2, 10, 4}};
  DSharedQkv gradients{{dqk.data(), {1, 2, 10, 4}}, {dv.data(), {1, 2, 10, 4}}};
};

template <class Change>
std::string MessageAfter(const Change& change) {
  Arguments a;
  a.spec.chunk = 4;
  a.spec.buckets = {4};
  change(a);
  Context context(1);
  try {
    LshForward(context, a.spec, a.qkv, a.mask, a.buckets, a.saved);
    LshBackward(context, a.spec, a.qkv, a.mask, a.buckets, a.saved, a.dout, a.gradients);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void ExpectMentions(const std::string& message, std::initializer_list<const char*> words) {
  for (const char* word : words) {
    EXPECT_NE(message.find(word), std::string::npos) << "'" << word << "' in: " << message;
  }
}

TEST(LshAttention, BadArgumentsNameBothValues) {
  EXPECT_EQ(MessageAfter([](Arguments&) {}), "no error");
  ExpectMentions(MessageAfter([](Arguments& a) { a.qkv.v.extent[3] = 3; }),
                 {"v", "(1, 2, 10, 3)", "(1, 2, 10, 4)"});
  ExpectMentions(MessageAfter([](Arguments& a) { a.qkv.qk.stride[3] = 2; }), {"qk", "stride", "2"});
  ExpectMentions(MessageAfter([](Arguments& a) { a.mask.extent[1] = 11; }),
                 {"mask", "(1, 11)", "(1, 10)"});
  ExpectMentions(MessageAfter([](Arguments& a) { a.saved.sum.extent[2] = 4; }),
                 {"sum", "(1, 2, 4)", "(1, 2, 10)"});
  ExpectMentions(MessageAfter([](Arguments& a) { a.buckets.extent[2] = 2; }),
                 {"buckets", "(1, 2, 2, 10)", "(1, 2, 1, 10)"});
  ExpectMentions(MessageAfter([](Arguments& a) { a.gradients.dv.extent[0] = 2; }), {"dv"});
  ExpectMentions(MessageAfter([](Arguments& a) { a.ids[7] = 6; }), {"bucket", "head 0", "5"});
  ExpectMentions(MessageAfter([](Arguments& a) { a.spec.chunk = 0; }), {"chunk 0"});
  ExpectMentions(MessageAfter([](Arguments& a) { a.spec.before = -1; }), {"before -1"});
  ExpectMentions(MessageAfter([](Arguments& a) { a.spec.after = 5000; }), {"after 5000", "1024"});
  ExpectMentions(MessageAfter([](Arguments& a) { a.spec.buckets = {3}; }), {"factor 3", "even"});
  ExpectMentions(MessageAfter([](Arguments& a) { a.spec.dropout.p = 1.0f; }), {"dropout 1"});
}

}  // namespace
}  // namespace longspan
