// Full attention of many texts in one call: against the reference of each text alone; the same bits
// in any company; bad starts.
#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "longspan/attention.h"
#include "longspan/error.h"
#include "ops/full_attention/full_attention.h"
#include "ops/full_attention/full_attention_test.h"
#include "tests/support/bf16_attention.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"
#include "tests/support/runners.h"
#include "tests/support/texts.h"

namespace longspan::test {
namespace {

// Texts with one form, H, D and spec, and their row.
struct TextRow {
  explicit TextRow(std::vector<Case> parts) : texts(std::move(parts)) {
    std::vector<idx_t> lengths;
    for (const Case& text : texts) lengths.push_back(text.shape.T);
    starts = StartsOf(lengths);
    row = texts.front();
    row.shape.T = starts.back();
    row.mask.clear();
    for (const Case& text : texts) {
      row.mask.insert(row.mask.end(), text.mask.begin(), text.mask.end());
    }
  }
  idx_t Begin(std::size_t d) const { return starts[d]; }
  // Text d as the reference has it: with dropout of its own.
  Case Alone(std::size_t d) const {
    Case c = texts[d];
    c.spec.dropout.key = DeriveKey(c.spec.dropout.key, d);
    return c;
  }
  Outputs<float> Run(Context& context) const {
    Case c = row;
    c.spec.starts = starts;
    Inputs x(c);
    for (std::size_t d = 0; d < texts.size(); ++d) {
      const Inputs own(texts[d]);
      const auto put = [&](const std::vector<float>& from, std::vector<float>* to) {
        PutText(from, c.shape.H, texts[d].shape.T, Begin(d), c.shape.T, to);
      };
      put(own.q, &x.q);
      put(own.k, &x.k);
      put(own.v, &x.v);
      put(own.dout, &x.dout);
    }
    return RunKernel(context, c, x);
  }
  Outputs<float> Take(const Outputs<float>& y, std::size_t d) const {
    Outputs<float> own(texts[d]);
    const auto take = [&](const std::vector<float>& from) {
      return TakeText(from, row.shape.H, texts[d].shape.T, Begin(d), row.shape.T);
    };
    own.out = take(y.out);
    own.lse = take(y.lse);
    own.max = take(y.max);
    own.sum = take(y.sum);
    own.dq = take(y.dq);
    own.dk = take(y.dk);
    own.dv = take(y.dv);
    return own;
  }

  std::vector<Case> texts;
  std::vector<idx_t> starts;
  Case row;
};

std::vector<Case> CasesOf(const std::vector<idx_t>& lengths, Form form, bool causal, idx_t D,
                          idx_t H) {
  std::vector<Case> cases;
  for (const idx_t T : lengths) {
    cases.push_back(MakeCase(form, T, causal, D, 1, H));
    cases.back().seed = 10 + cases.size();
  }
  return cases;
}

void ExpectSameOutputs(const Outputs<float>& actual, const Outputs<float>& expected) {
  for (std::size_t part = 0; part < expected.Parts().size(); ++part) {
    if (expected.Parts()[part].second->empty()) continue;  // the form has none
    SCOPED_TRACE(expected.Parts()[part].first);
    EXPECT_SAME_BITS(*actual.Parts()[part].second, *expected.Parts()[part].second);
  }
}

// Texts up to this length are planned as a call with one text plans them.
constexpr idx_t kSamePlan = 90;

void CheckTexts(Context& context, const TextRow& row) {
  SCOPED_TRACE(row.row.Name());
  const auto y = row.Run(context);
  for (std::size_t d = 0; d < row.texts.size(); ++d) {
    const Case alone = row.Alone(d);
    SCOPED_TRACE(alone.Name());
    const auto oracle = OracleOf(alone);
    const auto own = row.Take(y, d);
    ExpectOutputs(own, oracle, ToleranceOf(alone, oracle));
    if (alone.shape.T <= kSamePlan) {
      ExpectSameOutputs(own, RunKernel(context, alone, Inputs(alone)));
    }
  }
}

TEST(FullTexts, EachIsACallOfItsOwn) {
  Context context(2);
  for (const Form form : {Form::kSeparate, Form::kShared}) {
    for (const bool causal : {false, true}) {
      CheckTexts(context, TextRow(CasesOf({1, 2, 70, 1, 13, 300, 70, 6}, form, causal, 16, 2)));
    }
  }
  for (const idx_t D : {33, 64, 128, 256}) {
    CheckTexts(context, TextRow(CasesOf({40, 3, 110}, Form::kSeparate, false, D, 1)));
  }
  CheckTexts(context, TextRow(CasesOf({57}, Form::kSeparate, true, 8, 3)));
}

TEST(FullTexts, MasksHideKeysOfTheirText) {
  Context context(3);
  for (const Form form : {Form::kSeparate, Form::kShared}) {
    for (const bool causal : {false, true}) {
      auto cases = CasesOf({30, 5, 201, 64, 9}, form, causal, 8, 2);
      const Padding paddings[] = {Padding::kLeft, Padding::kEverything, Padding::kHoles,
                                  Padding::kRight, Padding::kHoles};
      for (std::size_t d = 0; d < cases.size(); ++d) {
        cases[d].mask = MakeMask(cases[d], paddings[d]);
      }
      CheckTexts(context, TextRow(cases));
    }
  }
}

TEST(FullTexts, DropoutIsTheTextsOwn) {
  Context context(2);
  for (const Form form : {Form::kSeparate, Form::kShared}) {
    auto cases = CasesOf({20, 90, 20}, form, false, 8, 2);
    for (Case& c : cases) c.spec.dropout = {0.3f, 77};
    CheckTexts(context, TextRow(cases));
  }
}

// A text's results are the same bits alone, in any company and in any order.
TEST(FullTexts, CompanyChangesNoBit) {
  for (const bool causal : {false, true}) {
    auto cases = CasesOf({500, 20, 1, 1200, 333, 20}, Form::kSeparate, causal, 16, 2);
    for (Case& c : cases) c.mask = MakeMask(c, Padding::kHoles);
    const TextRow together(cases);
    Context context(2);
    const auto y = together.Run(context);
    for (std::size_t d = 0; d < cases.size(); ++d) {
      const TextRow alone({cases[d]});
      ExpectSameOutputs(alone.Run(context), together.Take(y, d));
    }
    if (!causal) continue;  // a causal text takes half the time, and shares work alike
    ExpectSameBitsForAnyThreads([&](Context& c) {
      const auto x = together.Run(c);
      std::vector<float> all;
      for (const auto& [name, part] : x.Parts()) all.insert(all.end(), part->begin(), part->end());
      return all;
    });
    const TextRow turned({cases.rbegin(), cases.rend()});
    const auto z = turned.Run(context);
    for (std::size_t d = 0; d < cases.size(); ++d) {
      ExpectSameOutputs(turned.Take(z, cases.size() - 1 - d), together.Take(y, d));
    }
  }
}

// A bug in where a text begins must show: the reference of a row that is cut one token later.
TEST(FullTexts, AShiftedTextIsFound) {
  Context context(1);
  const TextRow row(CasesOf({40, 40}, Form::kSeparate, false, 8, 1));
  const auto y = row.Run(context);
  const TextRow other(CasesOf({41, 39}, Form::kSeparate, false, 8, 1));
  const Case alone = row.Alone(0);
  const auto oracle = OracleOf(alone);
  auto tolerance = ToleranceOf(alone, oracle)[0];
  tolerance = {10 * tolerance.max_abs, 10 * tolerance.rel_l2};
  Case c = row.row;
  c.spec.starts = other.starts;
  Inputs x(c);
  PutText(Inputs(row.texts[0]).q, 1, 40, 0, 80, &x.q);
  PutText(Inputs(row.texts[0]).k, 1, 40, 0, 80, &x.k);
  PutText(Inputs(row.texts[0]).v, 1, 40, 0, 80, &x.v);
  const auto wrong = row.Take(RunKernel(context, c, x), 0);
  EXPECT_FALSE(Compare(std::span<const float>(wrong.out), oracle.out, tolerance).ok);
  EXPECT_TRUE(Compare(std::span<const float>(row.Take(y, 0).out), oracle.out, tolerance).ok);
}

TEST(FullTexts, Bf16) {
  const std::vector<idx_t> lengths = {1, 2, 40, 100, 7}, starts = StartsOf(lengths);
  const auto text = [&](idx_t t) {
    return std::upper_bound(starts.begin(), starts.end(), t) - starts.begin();
  };
  for (const bool causal : {false, true}) {
    for (const idx_t D : {16, 64}) {
      FullSpec spec;
      spec.causal = causal;
      spec.starts = starts;
      const Bf16Problem p{1, 2, starts.back(), D, [&](idx_t, idx_t i, idx_t j) {
                            return text(i) == text(j) && (!causal || j <= i);
                          }};
      CheckBf16(p, [&](Context& context, Bf16Tensors& x) {
        FullForward(context, spec, x.Qkv(), {}, x.Saved());
        FullBackward(context, spec, x.Qkv(), {}, x.Saved(), x.Dout(), x.Gradients());
      });
    }
  }
}

// A short text is one task a head; a very long one is cut as if it stood alone.
TEST(FullTexts, PlansFollowFromTheTextAlone) {
  const std::vector<idx_t> starts = {0, 1};
  FullSpec spec, alone;
  spec.starts = starts;
  const auto plan = [](const FullSpec& s, idx_t T) {
    const float x = 0.0f;
    return MakeFullPlan(s, View<const float, 4>(&x, {1, 12, T, 64}), false);
  };
  EXPECT_EQ(plan(spec, 700).runs, 1);
  EXPECT_EQ(plan(spec, 700).groups, 1);
  EXPECT_GT(plan(alone, 700).runs, 1);
  EXPECT_EQ(plan(spec, 20000).run, plan(alone, 20000).run);
  EXPECT_EQ(plan(spec, 20000).groups, plan(alone, 20000).groups);
}

TEST(FullTexts, BadStartsAreNamed) {
  const auto refused = [](const std::vector<idx_t>& starts, std::string_view fragment,
                          idx_t B = 1) {
    std::vector<float> floats(static_cast<std::size_t>(B * 10 * 4));
    const View<float, 4> x(floats.data(), {B, 1, 10, 4});
    FullSpec spec;
    spec.starts = starts;
    Context context(1);
    const auto run = [&] {
      FullForward(context, spec, {x, x, x}, {}, {x, {floats.data(), {B, 1, 10}}});
    };
    EXPECT_TRUE(Throws(run, ErrorCode::kUsage, fragment));
  };
  refused({0, 10}, "starts of texts are given for 2 rows", 2);
  refused({0}, "starts of texts are 1 numbers, the first 0; need 0, and where each text ends");
  refused({1, 10}, "the first 1; need 0");
  refused({0, 4, 4, 10}, "starts[2] is 4 after 4");
  refused({0, 6, 4, 10}, "starts[2] is 4 after 6");
  refused({0, 4, 9}, "the last of the starts is 9; it must be 10");
  refused({0, 4, 11}, "the last of the starts is 11; it must be 10");
}

}  // namespace
}  // namespace longspan::test
