#include "ops/full_attention/full_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "base/isa.h"
#include "longspan/attention.h"
#include "ops/full_attention/full_attention_ref.h"
#include "ops/full_attention/full_attention_test.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"

namespace longspan::test {
namespace {

// ---- the reference ------------------------------------------------------------------------------

TEST(FullReference, HandWorkedSeparate) {
  FullSpec spec;
  spec.scale = 1.0f;
  const std::vector<double> q = {0.0, 1.0}, k = {0.0, std::log(3.0)}, v = {4.0, 8.0};
  std::vector<double> out(2), lse(2);
  ref::FullForward<double>(spec, {1, 1, 2, 1}, q.data(), k.data(), v.data(), {}, out.data(),
                           lse.data());
  EXPECT_NEAR(out[0], 6.0, 1e-15);  // weights 1/2, 1/2
  EXPECT_NEAR(out[1], 7.0, 1e-14);  // weights 1/4, 3/4
  EXPECT_NEAR(lse[0], std::log(2.0), 1e-15);
  EXPECT_NEAR(lse[1], std::log(4.0), 1e-15);
}

TEST(FullReference, HandWorkedShared) {
  // D = 1: keys are the signs, to 1e-6 / x^2. Token 0 sees keys 1 and -1: exp(+-x) = 3 : 1.
  const std::vector<double> x = {std::log(3.0) / 2, 1e4, -1e4}, v = {100.0, 4.0, 8.0};
  std::vector<double> out(3), max(3), sum(3);
  ref::FullSharedForward<double>({}, {1, 1, 3, 1}, x.data(), v.data(), {}, out.data(), max.data(),
                                 sum.data());
  EXPECT_NEAR(out[0], 5.0, 1e-12);
  EXPECT_NEAR(max[0], std::log(3.0) / 2, 1e-12);
  EXPECT_NEAR(sum[0], 4.0 / 3.0, 1e-12);
  EXPECT_NEAR(out[1], 100.0, 1e-12);
}

void CheckReferenceGradient(const Case& c) {
  SCOPED_TRACE(c.Name());
  const Inputs x(c);
  const auto size = static_cast<std::size_t>(c.size());
  const auto loss = [&](std::span<const Complex> in) {
    std::vector<Complex> out(size), lse(static_cast<std::size_t>(c.rows())), sum(lse);
    if (c.shared()) {
      ref::FullSharedForward<Complex>(c.spec, c.shape, in.data(), in.data() + size, c.mask,
                                      out.data(), lse.data(), sum.data());
    } else {
      ref::FullForward<Complex>(c.spec, c.shape, in.data(), in.data() + size, in.data() + 2 * size,
                                c.mask, out.data(), lse.data());
    }
    Complex total = 0.0;
    for (std::size_t i = 0; i < size; ++i) total += out[i] * static_cast<double>(x.dout[i]);
    return total;
  };
  const auto y = RunReference<double>(c, x);
  std::vector<double> inputs = ToDouble(x.q), gradient = y.dq;
  if (!c.shared()) inputs.insert(inputs.end(), x.k.begin(), x.k.end());
  inputs.insert(inputs.end(), x.v.begin(), x.v.end());
  gradient.insert(gradient.end(), y.dk.begin(), y.dk.end());
  gradient.insert(gradient.end(), y.dv.begin(), y.dv.end());
  EXPECT_EQ(CheckGradient(loss, inputs, gradient), "");
}

TEST(FullReference, GradientByComplexStep) {
  for (const Form form : {Form::kSeparate, Form::kShared}) {
    for (const bool causal : {false, true}) {
      CheckReferenceGradient(MakeCase(form, 1, causal, 3));
      CheckReferenceGradient(MakeCase(form, 7, causal, 3));
      Case c = MakeCase(form, 9, causal, 4, 2);
      for (const Padding padding : {Padding::kLeft, Padding::kEverything}) {
        c.mask = MakeMask(c, padding);
        CheckReferenceGradient(c);
      }
      c.spec.dropout = {0.5f, 77};
      if (form == Form::kSeparate) c.spec.scale = 0.7f;
      CheckReferenceGradient(c);
    }
  }
}

// ---- kernel against reference -------------------------------------------------------------------

TEST(FullAttention, LengthsAndHeadSizes) {
  Context context(2);
  for (const Form form : {Form::kSeparate, Form::kShared}) {
    for (const bool causal : {false, true}) {
      for (const idx_t T : {1, 2, 63, 64, 65, 129, 300}) {
        for (const idx_t D : {1, 5, 64, 80}) CheckCase(context, MakeCase(form, T, causal, D));
      }
      CheckCase(context, MakeCase(form, 130, causal, 128));  // smaller key blocks
    }
  }
}

TEST(FullAttention, Masks) {
  Context context(2);
  for (const Form form : {Form::kSeparate, Form::kShared}) {
    for (const bool causal : {false, true}) {
      for (const idx_t T : {3, 17, 65, 450}) {
        for (const Padding padding : kPaddings) {
          Case c = MakeCase(form, T, causal, 5, 2, 2);
          c.mask = MakeMask(c, padding);
          CheckCase(context, c);
        }
      }
    }
  }
}

// Every group meets every other: three, four and five of them, the last one of a few tokens.
TEST(FullAttention, GroupsOfOneHead) {
  Context context(2);
  for (const Form form : {Form::kSeparate, Form::kShared}) {
    for (const bool causal : {false, true}) {
      for (const auto& [T, groups] : {std::pair{400, 3}, {590, 4}, {782, 5}}) {
        Case c = MakeCase(form, T, causal, 4);
        const View<const float, 4> shape(nullptr, c.extents());
        ASSERT_EQ(MakeFullPlan(c.spec, shape, c.shared()).groups, groups);
        CheckCase(context, c);
        c.mask = MakeMask(c, Padding::kLeft);
        CheckCase(context, c);
      }
    }
  }
}

// Many heads: one group of all tokens, several key blocks, with AVX-512 of more keys.
TEST(FullAttention, ManyHeads) {
  Context context(2);
  for (const Form form : {Form::kSeparate, Form::kShared}) {
    Case c = MakeCase(form, 401, true, 4, 2, 16);
    const FullPlan plan =
        MakeFullPlan(c.spec, View<const float, 4>(nullptr, c.extents()), c.shared());
    ASSERT_EQ(plan.groups, 1);
    ASSERT_EQ(plan.keys, ActiveIsa() >= Isa::kAvx512 ? 384 : 192);
    CheckCase(context, c);
    c.mask = MakeMask(c, Padding::kHoles);
    c.spec.causal = false;
    CheckCase(context, c);
  }
}

TEST(FullAttention, DropoutIsReplayed) {
  Context context(2);
  for (const Form form : {Form::kSeparate, Form::kShared}) {
    for (const bool causal : {false, true}) {
      for (const idx_t T : {1, 7, 64, 450}) {
        Case c = MakeCase(form, T, causal, 9, 2, 2);
        c.spec.dropout = {0.5f, 1234};
        CheckCase(context, c);
        c.mask = MakeMask(c, Padding::kLeft);
        c.spec.dropout.p = 0.1f;
        CheckCase(context, c);
      }
    }
  }
}

TEST(FullAttention, Scales) {
  Context context(1);
  for (const float scale : {1.0f, 0.01f, -0.5f}) {
    Case c = MakeCase(Form::kSeparate, 70, false, 16);
    c.spec.scale = scale;
    CheckCase(context, c);
  }
}

// The maximum rises from block to block, or is found at once.
TEST(FullAttention, ScoresThatRiseAndFall) {
  Context context(1);
  for (const float ramp : {-200.0f, -5.0f, 5.0f, 200.0f}) {
    Case c = MakeCase(Form::kSeparate, 500, false, 4);
    c.ramp = ramp;
    CheckCase(context, c);
  }
}

// Rows whose scores lie all so far below 0 that no weight relative to 0 would be left, before a
// block of small scores of which they see nothing.
TEST(FullAttention, ScoresFarBelowZeroBesideHiddenKeys) {
  Context context(1);
  Case c = MakeCase(Form::kSeparate, 500, true, 64);
  c.mask = Mask(500, 1);
  std::fill_n(c.mask.begin() + 192, 120, std::uint8_t{0});
  Inputs x(c);
  for (float& q : x.q) q = 1.0f + 0.1f * q;
  for (std::size_t i = 0; i < x.k.size(); ++i) {
    x.k[i] = i < 192 * 64 ? x.k[i] - 25.0f : 0.02f * x.k[i];
  }
  std::vector<Tolerance> tolerance(7);
  const auto oracle = RunReference<double>(c, x);
  RaiseTolerances(c, x, oracle, &tolerance);
  CheckInputs(context, c, x, oracle, tolerance);
}

// Bugs that must not hide behind the tolerances.
TEST(FullAttention, PlantedBugsBreakTheTolerance) {
  Context context(2);
  for (const Form form : {Form::kSeparate, Form::kShared}) {
    Case right = MakeCase(form, 61, false, 16);
    right.mask = Mask(61, 1);
    const Inputs x(right);
    const auto oracle = RunReference<double>(right, x);
    const auto tolerance = ToleranceOf(right, oracle);
    const auto expect_tenfold = [&](const char* what, const Outputs<float>& y) {
      for (const std::size_t part : {0, 4, 5, 6}) {  // out and gradients
        if (y.Parts()[part].second->empty()) continue;
        const auto difference = Compare(std::span<const float>(*y.Parts()[part].second),
                                        *oracle.Parts()[part].second, tolerance[part]);
        EXPECT_GT(difference.max_abs, 10 * tolerance[part].max_abs)
            << right.Name() << " " << what << " " << y.Parts()[part].first;
      }
    };
    Case wrong = right;
    wrong.spec.causal = true;
    expect_tenfold("causal", RunKernel(context, wrong, x));
    wrong = right;
    wrong.mask[30] = 0;
    expect_tenfold("one key hidden", RunKernel(context, wrong, x));
    wrong = right;
    wrong.spec.dropout = {0.01f, 3};
    expect_tenfold("dropout", RunKernel(context, wrong, x));
    Inputs longer = x;
    for (float& q : longer.q) q *= 1.0005f;
    expect_tenfold("scale", RunKernel(context, right, longer));
  }
}

// With one chunk, chunked attention is full attention, blind rows and dropout included.
TEST(FullAttention, EqualsChunkedAttentionWithOneChunk) {
  Context context(2);
  for (const bool causal : {false, true}) {
    for (const float p : {0.0f, 0.3f}) {
      Case c = MakeCase(Form::kSeparate, 250, causal, 24, 2, 2);
      c.mask = MakeMask(c, Padding::kLeft);
      c.spec.dropout = {p, 99};
      Inputs x(c);
      const auto y = RunKernel(context, c, x);
      ChunkedSpec spec;
      spec.chunk = 250;
      spec.before = 0;
      spec.causal = causal;
      spec.dropout = c.spec.dropout;
      Outputs<float> z(c);
      const auto view = [&](std::vector<float>& a) {
        return View<float, 4>(a.data(), c.extents());
      };
      const Qkv qkv{view(x.q), view(x.k), view(x.v)};
      const KeyMask mask(c.mask.data(), {2, 250});
      const AttentionSaved saved{view(z.out), {z.lse.data(), {2, 2, 250}}};
      ChunkedForward(context, spec, qkv, mask, saved);
      ChunkedBackward(context, spec, qkv, mask, saved, view(x.dout),
                      {view(z.dq), view(z.dk), view(z.dv)});
      const auto tolerance = ToleranceOf(c);
      for (std::size_t part = 0; part < tolerance.size(); ++part) {
        if (y.Parts()[part].second->empty()) continue;
        // Either may be off by the tolerance.
        EXPECT_MATCHES(std::span<const float>(*y.Parts()[part].second),
                       std::span<const float>(*z.Parts()[part].second),
                       (Tolerance{2 * tolerance[part].max_abs, 2 * tolerance[part].rel_l2}));
      }
    }
  }
}

}  // namespace
}  // namespace longspan::test
