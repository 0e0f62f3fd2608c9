// LSH attention given its plan (orders of tokens): reference, gradients, kernels.

#include "ops/lsh_attention/lsh_attention.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "longspan/attention.h"
#include "longspan/error.h"
#include "ops/lsh_attention/lsh_attention_ref.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::Complex;
using test::RandomNormal;
using test::ToDouble;
using Mask = std::vector<std::uint8_t>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Case {
  ref::LshShape shape;
  LshSpec spec;
  Mask mask;                           // (B, T) or empty
  std::vector<std::uint16_t> buckets;  // (B, H, R, T)
  std::uint64_t seed = 1;

  idx_t rows() const { return shape.B * shape.H * shape.T; }
  idx_t size() const { return rows() * shape.D; }
  std::string Name() const {
    return fmt::format("B{} H{} T{} D{} chunk {} before {} after {} rounds {} buckets {}{}{}{}",
                       shape.B, shape.H, shape.T, shape.D, spec.chunk, spec.before, spec.after,
                       spec.rounds, spec.buckets[0], spec.causal ? " causal" : "",
                       mask.empty() ? "" : " masked", spec.dropout.p > 0 ? " dropout" : "");
  }
  // Buckets drawn at random; hidden tokens in the last one, as the hash puts them.
  void DrawBuckets() {
    buckets.clear();
    Rng rng(seed + 99);
    for (idx_t i = 0; i < rows() * spec.rounds; ++i) {
      const idx_t b = i / (shape.H * spec.rounds * shape.T), t = i % shape.T;
      const bool hidden = !mask.empty() && mask[static_cast<std::size_t>(b * shape.T + t)] == 0;
      const idx_t bucket = rng.Below(spec.BucketCount());
      buckets.push_back(static_cast<std::uint16_t>(hidden ? spec.BucketCount() : bucket));
    }
  }
};

Case MakeCase(idx_t T, idx_t chunk, idx_t before, idx_t after, idx_t rounds, bool causal,
              idx_t D = 5, idx_t B = 1, idx_t H = 2) {
  Case c;
  c.shape = {B, H, T, D};
  c.spec.chunk = chunk;
  c.spec.before = before;
  c.spec.after = after;
  c.spec.rounds = rounds;
  c.spec.buckets = {4};
  c.spec.causal = causal;
  c.DrawBuckets();
  return c;
}

// The plan, without the code under test: std::stable_sort.
std::vector<std::int32_t> OrderOf(const Case& c) {
  const idx_t T = c.shape.T, heads = c.shape.B * c.shape.H;
  const idx_t rounds = ref::LshRounds(c.spec, T);
  std::vector<std::int32_t> order(static_cast<std::size_t>(heads * rounds * T));
  for (idx_t i = 0; i < heads * rounds; ++i) {
    auto* first = order.data() + i * T;
    std::iota(first, first + T, 0);
    if (!c.spec.Hashes(T)) continue;
    const std::uint16_t* ids = c.buckets.data() + i * T;
    std::stable_sort(first, first + T,
                     [&](std::int32_t a, std::int32_t b) { return ids[a] < ids[b]; });
  }
  return order;
}

struct Inputs {
  explicit Inputs(const Case& c)
      : qk(RandomNormal(c.seed, c.size())),
        v(RandomNormal(c.seed + 2000, c.size())),
        dout(RandomNormal(c.seed + 3000, c.size())) {}
  std::vector<float> qk, v, dout;
};

template <class T>
struct Outputs {
  explicit Outputs(const Case& c)
      : out(static_cast<std::size_t>(c.size())),
        max(static_cast<std::size_t>(c.rows())),
        sum(max.size()),
        dqk(out.size()),
        dv(out.size()) {}
  std::vector<T> out, max, sum, dqk, dv;
};

Outputs<float> RunKernel(Context& context, const Case& c, const Inputs& x) {
  Outputs<float> y(c);
  const std::array<idx_t, 4> shape = {c.shape.B, c.shape.H, c.shape.T, c.shape.D};
  const std::array<idx_t, 3> rows = {c.shape.B, c.shape.H, c.shape.T};
  const auto in = [&](const std::vector<float>& a) {
    return View<const float, 4>(a.data(), shape);
  };
  const auto out = [&](std::vector<float>& a) { return View<float, 4>(a.data(), shape); };
  const SharedQkv qkv{in(x.qk), in(x.v)};
  const SharedSaved saved{out(y.out), {y.max.data(), rows}, {y.sum.data(), rows}};
  KeyMask mask;
  if (!c.mask.empty()) mask = {c.mask.data(), {c.shape.B, c.shape.T}};
  const View<const std::uint16_t, 4> buckets(c.buckets.data(),
                                             {c.shape.B, c.shape.H, c.spec.rounds, c.shape.T});
  LshForward(context, c.spec, qkv, mask, buckets, saved);
  LshBackward(context, c.spec, qkv, mask, buckets, saved, in(x.dout), {out(y.dqk), out(y.dv)});
  return y;
}

template <class T>
Outputs<T> RunReference(const Case& c, const Inputs& x) {
  Outputs<T> y(c);
  const std::vector<T> qk(x.qk.begin(), x.qk.end()), v(x.v.begin(), x.v.end());
  const std::vector<T> dout(x.dout.begin(), x.dout.end());
  const auto order = OrderOf(c);
  ref::LshForward<T>(c.spec, c.shape, qk.data(), v.data(), order, c.mask, y.out.data(),
                     y.max.data(), y.sum.data());
  ref::LshBackward<T>(c.spec, c.shape, qk.data(), v.data(), order, c.mask, dout.data(),
                      y.dqk.data(), y.dv.data());
  return y;
}

struct Tolerances {
  test::Tolerance out, max, sum, dqk, dv;
};

// The rule of derived tolerances. A small problem's naive error is a matter of luck, so it is the
// largest over a few inputs of the same shape; a large one has enough elements of its own.
Tolerances ToleranceOf(const Case& c) {
  Tolerances most;
  const auto raise = [](test::Tolerance& t, const std::vector<float>& naive,
                        const std::vector<double>& oracle, double factor) {
    const bool zero = std::all_of(oracle.begin(), oracle.end(),
                                  [](double value) { return std::abs(value) < 1e-10; });
    if (zero) return;
    const auto derived = test::DerivedTolerance(naive, oracle, factor);
    t = {std::max(t.max_abs, derived.max_abs), std::max(t.rel_l2, derived.rel_l2)};
  };
  Case input = c;
  for (int i = 0; i < (c.size() > 5000 ? 1 : 4); ++i, ++input.seed) {
    const Inputs x(input);
    const auto naive = RunReference<float>(input, x);
    const auto oracle = RunReference<double>(input, x);
    raise(most.out, naive.out, oracle.out, 2);
    raise(most.max, naive.max, oracle.max, 2);
    raise(most.sum, naive.sum, oracle.sum, 2);
    raise(most.dqk, naive.dqk, oracle.dqk, 3);
    raise(most.dv, naive.dv, oracle.dv, 3);
  }
  return most;
}

// Where everything cancels (a query with one key has no gradient to it) rounding is all there is.
void ExpectClose(const char* what, const std::vector<float>& actual,
                 const std::vector<double>& oracle, const test::Tolerance& tolerance) {
  if (tolerance.max_abs > 0.0) {
    const auto difference = test::Compare(std::span<const float>(actual), oracle, tolerance);
    EXPECT_TRUE(difference.ok) << what << ": " << difference.reason;
    return;
  }
  for (const float value : actual) ASSERT_LE(std::abs(value), 3e-6f) << what;
}

void CheckCase(Context& context, const Case& c) {
  SCOPED_TRACE(c.Name());
  const Inputs x(c);
  const auto y = RunKernel(context, c, x);
  const auto oracle = RunReference<double>(c, x);
  const Tolerances tolerance = ToleranceOf(c);
  ExpectClose("out", y.out, oracle.out, tolerance.out);
  ExpectClose("max", y.max, oracle.max, tolerance.max);
  ExpectClose("sum", y.sum, oracle.sum, tolerance.sum);
  ExpectClose("dqk", y.dqk, oracle.dqk, tolerance.dqk);
  ExpectClose("dv", y.dv, oracle.dv, tolerance.dv);
}

enum class Padding { kLeft, kRight, kHoles, kEverything };

Mask MakeMask(const Case& c, Padding padding) {
  Mask mask(static_cast<std::size_t>(c.shape.B * c.shape.T), 1);
  const idx_t T = c.shape.T;
  for (idx_t b = 0; b < c.shape.B; ++b) {
    for (idx_t t = 0; t < T; ++t) {
      bool shown = true;
      if (padding == Padding::kLeft) shown = t >= T / 3 + b;
      if (padding == Padding::kRight) shown = t < T - T / 2 - b;
      if (padding == Padding::kHoles) shown = (t * 7 + b) % 5 > 1;
      if (padding == Padding::kEverything) shown = false;
      mask[static_cast<std::size_t>(b * T + t)] = shown ? 1 : 0;
    }
  }
  return mask;
}

// ---- the reference ------------------------------------------------------------------------------

// Worked by hand (8 tokens, chunks of 4, 2 rounds, one chunk of look-back): the circle is c0 c1 c2
// c3, and c0 looks back on c3, the last chunk of the other round.
TEST(LshReference, WindowsWrapOverRounds) {
  Case c = MakeCase(8, 4, 1, 0, 2, false, 2, 1, 1);
  c.buckets = {0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0};
  const auto order = OrderOf(c);
  EXPECT_EQ(order, (std::vector<std::int32_t>{0, 2, 4, 6, 1, 3, 5, 7, 4, 5, 6, 7, 0, 1, 2, 3}));
  const auto keys = [&](idx_t r, idx_t i) {
    std::vector<idx_t> list;
    for (const auto& e : ref::LshWindow(c.spec, c.shape, order.data(), {}, 0, r, i)) {
      list.push_back(e.key);
    }
    return list;
  };
  EXPECT_EQ(keys(0, 1), (std::vector<idx_t>{0, 1, 2, 3, 0, 2, 4, 6}));
  EXPECT_EQ(keys(0, 5), (std::vector<idx_t>{0, 2, 4, 6, 1, 3, 5, 7}));
  EXPECT_EQ(keys(1, 0), (std::vector<idx_t>{1, 3, 5, 7, 4, 5, 6, 7}));
  EXPECT_EQ(keys(1, 7), (std::vector<idx_t>{4, 5, 6, 7, 0, 1, 2, 3}));
}

void CheckReferenceGradient(const Case& c) {
  SCOPED_TRACE(c.Name());
  const Inputs x(c);
  const auto size = static_cast<std::size_t>(c.size());
  const auto order = OrderOf(c);
  std::vector<double> inputs = ToDouble(x.qk);
  inputs.insert(inputs.end(), x.v.begin(), x.v.end());
  const auto loss = [&](std::span<const Complex> in) {
    std::vector<Complex> out(size), max(static_cast<std::size_t>(c.rows())), sum(max.size());
    ref::LshForward<Complex>(c.spec, c.shape, in.data(), in.data() + size, order, c.mask,
                             out.data(), max.data(), sum.data());
    Complex total = 0.0;
    for (std::size_t i = 0; i < size; ++i) total += out[i] * static_cast<double>(x.dout[i]);
    return total;
  };
  const auto y = RunReference<double>(c, x);
  std::vector<double> gradient = y.dqk;
  gradient.insert(gradient.end(), y.dv.begin(), y.dv.end());
  EXPECT_EQ(test::CheckGradient(loss, inputs, gradient), "");
}

TEST(LshReference, GradientByComplexStep) {
  for (const bool causal : {false, true}) {
    CheckReferenceGradient(MakeCase(11, 4, 1, 0, 1, causal, 3));
    CheckReferenceGradient(MakeCase(11, 4, 1, 1, 3, causal, 3));
    CheckReferenceGradient(MakeCase(7, 4, 2, 3, 1, causal, 3));
    CheckReferenceGradient(MakeCase(3, 4, 1, 0, 2, causal, 3));
    CheckReferenceGradient(MakeCase(1, 4, 1, 0, 2, causal, 3));
    Case c = MakeCase(13, 3, 1, 1, 2, causal, 3);
    c.mask = MakeMask(c, Padding::kLeft);
    c.spec.dropout = {0.5f, 77};
    c.DrawBuckets();
    CheckReferenceGradient(c);
  }
}

// ---- kernel against reference -------------------------------------------------------------------

TEST(LshAttention, LengthsWindowsAndRounds) {
  Context context(2);
  const idx_t chunk = 7;
  for (const idx_t T : {idx_t{1}, chunk - 1, chunk, chunk + 1, 2 * chunk + 1, 5 * chunk + 3}) {
    for (const auto& [before, after] :
         {std::pair{0, 0}, {1, 0}, {0, 1}, {1, 1}, {2, 1}, {3, 3}, {9, 0}}) {
      for (const idx_t rounds : {1, 2, 4}) {
        for (const bool causal : {false, true}) {
          CheckCase(context, MakeCase(T, chunk, before, after, rounds, causal));
        }
      }
    }
  }
}

TEST(LshAttention, ChunkAndHeadSizes) {
  Context context(2);
  for (const idx_t chunk : {1, 2, 5, 8, 16, 17, 31, 64, 65}) {
    for (const idx_t D : {1, 3, 4, 8, 15, 16, 17, 33, 64, 65}) {
      CheckCase(context, MakeCase(2 * chunk + 3, chunk, 1, 0, 2, chunk % 2 == 0, D, 1, 1));
    }
  }
}

TEST(LshAttention, LargeChunksAreCutIntoBlocks) {
  Context context(2);
  for (const bool causal : {false, true}) {
    CheckCase(context, MakeCase(700, 256, 1, 0, 2, causal, 16, 1, 1));
    CheckCase(context, MakeCase(300, 1000, 1, 0, 2, causal, 24, 1, 1));
  }
}

// Several tasks per head and round: what a run leaves for its neighbours, in its own round and in
// others.
TEST(LshAttention, RunsOfOneHead) {
  Context context(2);
  for (const bool causal : {false, true}) {
    for (const auto& [before, after] : {std::pair{1, 0}, {0, 1}, {2, 1}, {3, 3}}) {
      for (const idx_t rounds : {1, 2}) {
        Case c = MakeCase(2405, 16, before, after, rounds, causal, 6, 1, 1);
        const std::vector<float> qk(static_cast<std::size_t>(c.size()));
        ASSERT_GT(MakeLshPlan(c.spec, {qk.data(), {1, 1, 2405, 6}}).runs, 2);
        CheckCase(context, c);
        c.mask = MakeMask(c, Padding::kHoles);
        c.DrawBuckets();
        CheckCase(context, c);
      }
    }
  }
}

TEST(LshAttention, Masks) {
  Context context(2);
  for (const Padding padding :
       {Padding::kLeft, Padding::kRight, Padding::kHoles, Padding::kEverything}) {
    for (const bool causal : {false, true}) {
      for (const idx_t T : {5, 8, 9, 17, 61}) {
        for (const auto& [before, after] : {std::pair{1, 0}, {0, 0}, {1, 1}, {2, 3}}) {
          Case c = MakeCase(T, 8, before, after, 2, causal, 5, 2, 2);
          c.mask = MakeMask(c, padding);
          c.DrawBuckets();
          CheckCase(context, c);
        }
      }
    }
  }
}

TEST(LshAttention, DropoutIsReplayed) {
  Context context(2);
  for (const bool causal : {false, true}) {
    for (const idx_t chunk : {3, 16, 64}) {
      for (const idx_t T : {3 * chunk + 2, chunk}) {
        Case c = MakeCase(T, chunk, 1, 1, 2, causal, 9, 2, 2);
        c.spec.dropout = {0.5f, 1234};
        CheckCase(context, c);
        c.mask = MakeMask(c, Padding::kLeft);
        c.DrawBuckets();
        c.spec.dropout.p = 0.1f;
        CheckCase(context, c);
      }
    }
  }
}

TEST(LshAttention, AllTokensInOneBucket) {
  Context context(2);
  Case c = MakeCase(61, 8, 1, 0, 3, true, 12);
  std::fill(c.buckets.begin(), c.buckets.end(), std::uint16_t{2});
  CheckCase(context, c);
}

// Equal tokens: every visible key weighs the same.
TEST(LshAttention, AllTokensEqual) {
  Context context(2);
  Case c = MakeCase(40, 8, 1, 0, 1, false, 4, 1, 1);
  std::fill(c.buckets.begin(), c.buckets.end(), std::uint16_t{0});
  Inputs x(c);
  for (idx_t i = 0; i < c.size(); ++i) {
    x.qk[static_cast<std::size_t>(i)] = static_cast<float>(1 + i % 4);
    x.v[static_cast<std::size_t>(i)] = static_cast<float>(i / 4);
  }
  const auto y = RunKernel(context, c, x);
  // Token 20 sees 8 .. 23 but not itself.
  EXPECT_NEAR(y.out[80], (248.0 - 20.0) / 15.0, 1e-4);
  EXPECT_NEAR(y.sum[20], 15.0, 1e-4);
}

// Tokens that are all zero: keys are zero too, and nothing divides by it.
TEST(LshAttention, ZeroTokens) {
  Context context(1);
  Case c = MakeCase(40, 8, 1, 0, 2, true, 4, 1, 1);
  Inputs x(c);
  std::fill(x.qk.begin(), x.qk.end(), 0.0f);
  const auto y = RunKernel(context, c, x);
  const auto oracle = RunReference<double>(c, x);
  for (std::size_t i = 0; i < y.out.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(y.out[i]), oracle.out[i], 1e-5);
    EXPECT_NEAR(static_cast<double>(y.dqk[i]), oracle.dqk[i], 2e-3 * (1 + std::abs(oracle.dqk[i])));
  }
}

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
  const std::vector<double> qk = ToDouble(x.qk), v = ToDouble(x.v);
  const std::vector<double> keys = ref::LshKeys(both.shape, qk.data());
  double far = 0.0;
  for (idx_t t = 0; t < 61; ++t) {
    const auto token = ref::LshCombine<double>(both.spec, both.shape, qk.data(), keys.data(),
                                               v.data(), order.data(), {}, 0, 0, t);
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
  Case c = MakeCase(2405, 16, 2, 1, 2, false, 8, 1, 2);
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
