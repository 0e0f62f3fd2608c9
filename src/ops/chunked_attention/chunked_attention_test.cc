#include "ops/chunked_attention/chunked_attention.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "longspan/attention.h"
#include "longspan/error.h"
#include "ops/chunked_attention/chunked_attention_ref.h"
#include "ops/chunked_attention/chunked_attention_test.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random.h"
#include "tests/support/remember.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::Complex;
using test::RandomNormal;
using test::ToDouble;
using namespace chunked_test;  // NOLINT(build/namespaces): what this file is about

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// ---- the reference's gradient -------------------------------------------------------------------

void CheckReferenceGradient(const Case& c) {
  SCOPED_TRACE(c.Name());
  const Inputs x(c);
  const auto size = static_cast<std::size_t>(c.size());
  std::vector<double> inputs = ToDouble(x.q);
  for (const auto* part : {&x.k, &x.v}) inputs.insert(inputs.end(), part->begin(), part->end());
  const auto loss = [&](std::span<const Complex> in) {
    std::vector<Complex> out(size), lse(static_cast<std::size_t>(c.rows()));
    ref::ChunkedForward<Complex>(c.spec, c.shape, in.data(), in.data() + size, in.data() + 2 * size,
                                 c.mask, out.data(), lse.data());
    Complex sum = 0.0;
    for (std::size_t i = 0; i < size; ++i) sum += out[i] * static_cast<double>(x.dout[i]);
    return sum;
  };
  const auto y = RunReference<double>(c, x);
  std::vector<double> gradient = y.dq;
  gradient.insert(gradient.end(), y.dk.begin(), y.dk.end());
  gradient.insert(gradient.end(), y.dv.begin(), y.dv.end());
  EXPECT_EQ(test::CheckGradient(loss, inputs, gradient), "");
}

TEST(ChunkedReference, GradientByComplexStep) {
  for (const bool causal : {false, true}) {
    CheckReferenceGradient(MakeCase(11, 4, 1, 0, causal, 3));
    CheckReferenceGradient(MakeCase(7, 4, 1, 1, causal, 3));
    CheckReferenceGradient(MakeCase(3, 4, 1, 1, causal, 3));
    Case c = MakeCase(11, 3, 1, 1, causal, 3);
    c.mask = MakeMask(c, Padding::kLeft);
    c.spec.dropout = {0.5f, 77};
    c.spec.scale = 0.7f;
    CheckReferenceGradient(c);
  }
}

// ---- kernel against reference -------------------------------------------------------------------

TEST(ChunkedAttention, LengthsAndWindows) {
  Context context(2);
  const idx_t chunk = 7;
  for (const idx_t T : {idx_t{1}, chunk - 1, chunk, chunk + 1, 2 * chunk + 1, 5 * chunk + 3}) {
    for (idx_t before = 0; before <= 3; ++before) {
      for (idx_t after = 0; after <= 3; ++after) {
        for (const bool causal : {false, true}) {
          CheckCase(context, MakeCase(T, chunk, before, after, causal));
        }
      }
    }
  }
}

TEST(ChunkedAttention, ChunkAndHeadSizes) {
  Context context(2);
  for (const idx_t chunk : {1, 2, 5, 8, 16, 17, 31, 64, 65}) {
    for (const idx_t D : {1, 3, 4, 8, 15, 16, 17, 33, 64, 65}) {
      CheckCase(context, MakeCase(2 * chunk + 3, chunk, 1, 0, chunk % 2 == 0, D, 1, 1));
    }
  }
}

TEST(ChunkedAttention, LargeChunksAreCutIntoBlocks) {
  Context context(2);
  for (const bool causal : {false, true}) {
    CheckCase(context, MakeCase(700, 256, 1, 0, causal, 16, 1, 1));
    CheckCase(context, MakeCase(300, 1000, 1, 0, causal, 24, 1, 1));
    CheckCase(context, MakeCase(2600, 1100, 0, 1, causal, 4, 1, 1));
  }
}

// Several tasks per head: what a run leaves for its neighbours.
TEST(ChunkedAttention, RunsOfOneHead) {
  Context context(2);
  for (const bool causal : {false, true}) {
    for (const auto& [before, after] : {std::pair{1, 0}, {0, 1}, {2, 1}, {3, 3}}) {
      Case c = MakeCase(1605, 16, before, after, causal, 6, 1, 1);
      ASSERT_GT(
          MakeChunkedPlan(c.spec, nullptr, View<const float, 4>(nullptr, {1, 1, 1605, 6})).runs, 2);
      CheckCase(context, c);
      c.mask = MakeMask(c, Padding::kWholeChunks);
      CheckCase(context, c);
      c.mask = MakeMask(c, Padding::kLeft);
      CheckCase(context, c);
      // Two runs whose halos overlap each other's chunks from both sides.
      CheckCase(context, MakeCase(33 * 16 + 5, 16, before, after, causal, 6, 1, 1));
    }
    // Windows almost as long as the text.
    CheckCase(context, MakeCase(9 * 64 - 1, 64, 3, 4, causal, 6, 1, 1));
    CheckCase(context, MakeCase(7 * 300, 300, 2, 2, causal, 4, 1, 1));
  }
}

TEST(ChunkedAttention, Masks) {
  Context context(2);
  for (const Padding padding : {Padding::kLeft, Padding::kRight, Padding::kHoles,
                                Padding::kWholeChunks, Padding::kEverything}) {
    for (const bool causal : {false, true}) {
      for (const idx_t T : {5, 8, 9, 16, 17, 61}) {
        for (const auto& [before, after] : {std::pair{1, 0}, {0, 0}, {1, 1}, {2, 3}}) {
          Case c = MakeCase(T, 8, before, after, causal, 5, 2, 2);
          c.mask = MakeMask(c, padding);
          CheckCase(context, c);
        }
      }
    }
  }
}

TEST(ChunkedAttention, DropoutIsReplayed) {
  Context context(2);
  for (const bool causal : {false, true}) {
    for (const idx_t chunk : {3, 16, 64}) {
      Case c = MakeCase(3 * chunk + 2, chunk, 1, 1, causal, 9, 2, 2);
      c.spec.dropout = {0.5f, 1234};
      CheckCase(context, c);
      c.mask = MakeMask(c, Padding::kLeft);
      c.spec.dropout.p = 0.1f;
      CheckCase(context, c);
      CheckCase(context, [&] {
        Case single = MakeCase(chunk, chunk, 1, 0, causal, 9);
        single.spec.dropout = {0.5f, 5};
        return single;
      }());
    }
  }
}

TEST(ChunkedAttention, LargeScoresAndScale) {
  Context context(2);
  Case c = MakeCase(50, 16, 1, 0, true, 8);
  for (const float scale : {30.0f, 1e-4f, -2.0f}) {
    c.spec.scale = scale;
    CheckCase(context, c);
  }
}

// Bugs that must not hide behind the tolerances.
TEST(ChunkedAttention, PlantedBugsBreakTheTolerance) {
  Context context(2);
  Case right = MakeCase(61, 8, 1, 0, false, 16);
  right.mask = Mask(61, 1);
  const Inputs x(right);
  const auto oracle = RunReference<double>(right, x);
  const Tolerances tolerance = ToleranceOf(right);
  const auto expect_tenfold = [&](const char* what, const Case& wrong) {
    const auto y = RunKernel(context, wrong, x);
    const auto far = [](const std::vector<float>& a, const std::vector<double>& e,
                        const test::Tolerance& t) {
      return test::Compare(std::span<const float>(a), e, t).max_abs / (10.0 * t.max_abs);
    };
    EXPECT_GT(far(y.out, oracle.out, tolerance.out), 1.0) << what;
    EXPECT_GT(far(y.dq, oracle.dq, tolerance.dq), 1.0) << what;
    EXPECT_GT(far(y.dk, oracle.dk, tolerance.dk), 1.0) << what;
    EXPECT_GT(far(y.dv, oracle.dv, tolerance.dv), 1.0) << what;
  };
  Case wrong = right;
  wrong.spec.before = 0;
  expect_tenfold("no look-back", wrong);
  wrong = right;
  wrong.spec.before = 0;
  wrong.spec.after = 1;
  expect_tenfold("look ahead", wrong);
  wrong = right;
  wrong.spec.causal = true;
  expect_tenfold("causal", wrong);
  wrong = right;
  wrong.spec.scale = 0.2501f;
  expect_tenfold("scale", wrong);
  wrong = right;
  wrong.mask[30] = 0;
  expect_tenfold("one key hidden", wrong);
}

// ---- edges --------------------------------------------------------------------------------------

TEST(ChunkedAttention, TwoChunksSeeEachOtherTwice) {
  // n = 2, one chunk before and one after: both are the other chunk. Equal scores: its two copies
  // weigh 2/3.
  Context context(1);
  Case c = MakeCase(2, 1, 1, 1, false, 1, 1, 1);
  Inputs x(c);
  x.q = {0.0f, 0.0f};
  x.v = {3.0f, 30.0f};
  const auto y = RunKernel(context, c, x);
  EXPECT_NEAR(y.out[0], 21.0f, 1e-5);
  EXPECT_NEAR(y.out[1], 12.0f, 1e-5);
  EXPECT_NEAR(y.lse[0], std::log(3.0), 1e-6);
}

TEST(ChunkedAttention, QueryWithoutVisibleKeyTakesTheMean) {
  Context context(1);
  Case c = MakeCase(6, 2, 1, 0, false, 3, 1, 1);
  c.mask = {0, 0, 0, 0, 1, 1};  // chunk 1 sees chunks 0 and 1 only
  const Inputs x(c);
  const auto y = RunKernel(context, c, x);
  for (std::size_t t : {2u, 3u}) {
    for (std::size_t d = 0; d < 3; ++d) {
      const float mean = (x.v[d] + x.v[3 + d] + x.v[6 + d] + x.v[9 + d]) / 4;
      EXPECT_NEAR(y.out[t * 3 + d], mean, 1e-6);
      EXPECT_EQ(y.dq[t * 3 + d], 0.0f);
    }
    EXPECT_NEAR(y.lse[t], std::log(4.0), 1e-6);
  }
}

// (B, T, H D) rows with NaN between them and around them.
TEST(ChunkedAttention, StridedViewsReadNothingElse) {
  Context context(2);
  for (const idx_t D : {5, 16}) {
    Case c = MakeCase(45, 8, 1, 1, false, D, 2, 3);
    c.mask = MakeMask(c, Padding::kRight);
    const Inputs x(c);
    const auto want = RunKernel(context, c, x);
    const idx_t B = c.shape.B, H = c.shape.H, T = c.shape.T, row = H * D + 3;
    const auto offset = [&](idx_t b, idx_t h, idx_t t) {
      return (b * (T + 2) + t + 1) * row + h * D;
    };
    const auto spread = [&](const std::vector<float>& a) {
      std::vector<float> wide(static_cast<std::size_t>(B * (T + 2) * row), kNan);
      for (idx_t i = 0; i < c.size(); ++i) {
        const idx_t d = i % D, t = i / D % T, h = i / D / T % H, b = i / D / T / H;
        wide[static_cast<std::size_t>(offset(b, h, t) + d)] = a[static_cast<std::size_t>(i)];
      }
      return wide;
    };
    const auto view = [&](std::vector<float>& a) {
      return View<float, 4>(a.data() + row, {B, H, T, D}, {(T + 2) * row, D, row, 1});
    };
    auto q = spread(x.q), k = spread(x.k), v = spread(x.v), dout = spread(x.dout);
    const std::vector<float> zeros(x.q.size(), 0.0f);
    auto out = spread(zeros), dq = spread(zeros), dk = spread(zeros), dv = spread(zeros);
    std::vector<float> lse(want.lse.size());
    const Qkv qkv{view(q), view(k), view(v)};
    const AttentionSaved saved{view(out), {lse.data(), {B, H, T}}};
    const KeyMask mask(c.mask.data(), {B, T});
    ChunkedForward(context, c.spec, qkv, mask, saved);
    ChunkedBackward(context, c.spec, qkv, mask, saved, view(dout), {view(dq), view(dk), view(dv)});
    EXPECT_SAME_BITS(out, spread(want.out));
    EXPECT_SAME_BITS(lse, want.lse);
    EXPECT_SAME_BITS(dq, spread(want.dq));
    EXPECT_SAME_BITS(dk, spread(want.dk));
    EXPECT_SAME_BITS(dv, spread(want.dv));
  }
}

TEST(ChunkedAttention, OneKeyChangesExactlyTheRowsThatSeeIt) {
  Context context(2);
  for (const bool causal : {false, true}) {
    for (const auto& [before, after] : {std::pair{1, 0}, {1, 1}}) {
      Case c = MakeCase(61, 8, before, after, causal, 12, 1, 1);
      c.mask = Mask(61, 1);
      c.mask[20] = 0;
      const Inputs x(c);
      const auto want = RunKernel(context, c, x);
      for (const idx_t key : {0, 7, 8, 19, 20, 31, 56, 60}) {
        Inputs changed = x;
        for (idx_t d = 0; d < 12; ++d) {
          changed.k[static_cast<std::size_t>(key * 12 + d)] += 0.5f;
          changed.v[static_cast<std::size_t>(key * 12 + d)] -= 0.25f;
        }
        const auto y = RunKernel(context, c, changed);
        for (idx_t t = 0; t < 61; ++t) {
          const auto window = ref::ChunkedWindow(c.spec, c.shape, c.mask, 0, t);
          const bool sees = std::any_of(window.begin(), window.end(), [&](const auto& entry) {
            return entry.visible && entry.key == key;
          });
          const auto at = static_cast<std::ptrdiff_t>(t * 12);
          const bool same =
              std::equal(want.out.begin() + at, want.out.begin() + at + 12, y.out.begin() + at);
          EXPECT_NE(same, sees) << c.Name() << " key " << key << " row " << t;
        }
      }
    }
  }
}

TEST(ChunkedAttention, GradientsAccumulate) {
  Context context(2);
  const Case c = MakeCase(1100, 16, 1, 1, false, 4, 1, 1);
  const Inputs x(c);
  const auto once = RunKernel(context, c, x);
  const std::array<idx_t, 4> shape = {1, 1, 1100, 4};
  auto dq = once.dq, dk = once.dk, dv = once.dv, out = once.out, lse = once.lse;
  const View<const float, 4> q(x.q.data(), shape), k(x.k.data(), shape), v(x.v.data(), shape);
  ChunkedBackward(context, c.spec, {q, k, v}, {}, {{out.data(), shape}, {lse.data(), {1, 1, 1100}}},
                  {x.dout.data(), shape},
                  {{dq.data(), shape}, {dk.data(), shape}, {dv.data(), shape}});
  for (std::size_t i = 0; i < dq.size(); ++i) {
    ASSERT_EQ(dq[i], 2 * once.dq[i]);
    ASSERT_NEAR(dk[i], 2 * once.dk[i], 1e-5 * (1 + std::abs(once.dk[i])));
    ASSERT_NEAR(dv[i], 2 * once.dv[i], 1e-5 * (1 + std::abs(once.dv[i])));
  }
}

// ---- same bits ----------------------------------------------------------------------------------

TEST(ChunkedAttention, SameBitsForAnyThreads) {
  Case c = MakeCase(1605, 16, 2, 1, false, 8, 1, 2);
  c.mask = MakeMask(c, Padding::kHoles);
  c.spec.dropout = {0.1f, 9};
  const Inputs x(c);
  test::ExpectSameBitsForAnyThreads([&](Context& context) {
    auto y = RunKernel(context, c, x);
    for (const auto* part : {&y.lse, &y.dq, &y.dk, &y.dv}) {
      y.out.insert(y.out.end(), part->begin(), part->end());
    }
    return y.out;
  });
}

// ---- bad arguments ------------------------------------------------------------------------------

template <class Change>
std::string MessageOf(const Change& change) {
  const std::array<idx_t, 4> shape = {1, 2, 10, 4};
  std::vector<float> a(80), out(80), lse(20), dq(80), dk(80), dv(80);
  const std::vector<std::uint8_t> bytes(10, 1);
  const View<const float, 4> x(a.data(), shape);
  ChunkedSpec spec;
  Qkv qkv{x, x, x};
  KeyMask mask(bytes.data(), {1, 10});
  AttentionSaved saved{{out.data(), shape}, {lse.data(), {1, 2, 10}}};
  View<const float, 4> dout = x;
  DQkv gradients{{dq.data(), shape}, {dk.data(), shape}, {dv.data(), shape}};
  change(spec, qkv, mask, saved, dout, gradients);
  Context context(1);
  try {
    ChunkedForward(context, spec, qkv, mask, saved);
    ChunkedBackward(context, spec, qkv, mask, saved, dout, gradients);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    return error.what();
  }
  return "no error";
}

void ExpectMentions(const std::string& message, std::initializer_list<const char*> words) {
  for (const char* word : words) {
    EXPECT_NE(message.find(word), std::string::npos) << "'" << word << "' in: " << message;
  }
}

TEST(ChunkedAttention, BadArgumentsNameBothValues) {
  EXPECT_EQ(MessageOf([](auto&&...) {}), "no error");
  ExpectMentions(MessageOf([](auto&, Qkv& x, auto&&...) { x.k.extent[2] = 9; }),
                 {"k", "(1, 2, 9, 4)", "(1, 2, 10, 4)"});
  ExpectMentions(MessageOf([](auto&, Qkv& x, auto&&...) { x.v.extent[3] = 3; }),
                 {"v", "(1, 2, 10, 3)", "(1, 2, 10, 4)"});
  ExpectMentions(MessageOf([](auto&, Qkv& x, auto&&...) { x.q.stride[3] = 2; }),
                 {"q", "stride", "2", "1"});
  ExpectMentions(MessageOf([](auto&, auto&, KeyMask& m, auto&&...) { m.extent[1] = 11; }),
                 {"mask", "(1, 11)", "(1, 10)"});
  ExpectMentions(
      MessageOf([](auto&, auto&, auto&, AttentionSaved& s, auto&&...) { s.lse.extent[2] = 4; }),
      {"lse", "(1, 2, 4)", "(1, 2, 10)"});
  ExpectMentions(MessageOf([](auto&, auto&, auto&, auto&, auto&, DQkv& g) { g.dv.extent[0] = 2; }),
                 {"dv", "(2, 2, 10, 4)", "(1, 2, 10, 4)"});
  ExpectMentions(MessageOf([](ChunkedSpec& s, auto&&...) { s.chunk = 0; }), {"chunk 0", "1"});
  ExpectMentions(MessageOf([](ChunkedSpec& s, auto&&...) { s.before = -1; }), {"before -1", "0"});
  ExpectMentions(MessageOf([](ChunkedSpec& s, auto&&...) { s.after = 1 << 20; }),
                 {"after 1048576", "65536"});
  ExpectMentions(MessageOf([](ChunkedSpec& s, auto&&...) { s.dropout.p = 1.0f; }),
                 {"dropout 1", "[0, 1)"});
  ExpectMentions(MessageOf([](ChunkedSpec& s, auto&&...) { s.scale = kNan; }), {"scale nan"});
}

}  // namespace
}  // namespace longspan
