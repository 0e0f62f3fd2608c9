// LSH attention given its plan (orders of tokens): reference, gradients, kernels.

#include "ops/lsh_attention/lsh_attention_test.h"

#include "tests/support/gradcheck.h"

namespace longspan {
namespace {

using test::Complex;

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

// Long queries leave the bound of their scores for their largest score, token by token.
TEST(LshAttention, QueriesOfAnyLength) {
  Context context(2);
  for (const float length : {1e-3f, 0.3f, 3.0f, 8.0f, 30.0f}) {
    for (const bool causal : {false, true}) {
      Case c = MakeCase(150, 16, 1, 0, 3, causal, 32, 1, 1);
      c.scale = length;
      CheckCase(context, c);
    }
  }
  Case c = MakeCase(150, 16, 1, 0, 3, false, 32, 1, 1);
  c.scale = 8.0f;  // |x| about 45: some tokens on either side of the limit
  const Inputs inputs(c);
  const auto y = RunKernel(context, c, inputs);
  idx_t bounded = 0;
  for (idx_t t = 0; t < 150; ++t) {
    const float* x = inputs.qk.data() + t * 32;
    const float norm = std::sqrt(std::inner_product(x, x + 32, x, 0.0f));
    const float max = y.max[static_cast<std::size_t>(t)];
    EXPECT_LE(max, norm * 1.0001f) << t;
    bounded += std::abs(max - norm) < 1e-3f ? 1 : 0;
  }
  EXPECT_GT(bounded, 5);
  EXPECT_LT(bounded, 145);
}

// A token that sees nobody in one round and somebody in another, in either order, has no weight on
// itself; with queries long enough for their largest score to count as well.
TEST(LshAttention, SeesNobodyInSomeRounds) {
  Context context(2);
  for (const auto& [scale, offset] : {std::pair{1.0f, 0.0f}, {0.5f, 20.0f}}) {
    for (const idx_t first : {0, 1}) {
      Case c = MakeCase(12, 3, 0, 0, 3, true, 8, 1, 1);
      c.scale = scale;
      c.offset = offset;
      // Round `first`: text order, so the first token of each chunk sees nobody. The others: token
      // pairs shifted by one.
      for (idx_t r = 0; r < 3; ++r) {
        for (idx_t t = 0; t < 12; ++t) {
          c.buckets[static_cast<std::size_t>(r * 12 + t)] =
              static_cast<std::uint16_t>(r == first ? 0 : (t % 2 == 0 ? 0 : 1));
        }
      }
      CheckCase(context, c);
    }
  }
}

// Several tasks per head and round: what a run leaves for its neighbours, in its own round and in
// others.
TEST(LshAttention, RunsOfOneHead) {
  Context context(2);
  for (const bool causal : {false, true}) {
    for (const auto& [before, after] : {std::pair{1, 0}, {0, 1}, {2, 1}, {3, 3}}) {
      for (const idx_t rounds : {1, 2}) {
        Case c = MakeCase(4205, 16, before, after, rounds, causal, 6, 1, 1);
        const std::vector<float> qk(static_cast<std::size_t>(c.size()));
        ASSERT_GT(MakeLshPlan(c.spec, View<const float, 4>{qk.data(), {1, 1, 4205, 6}}).runs, 2);
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

}  // namespace
}  // namespace longspan
