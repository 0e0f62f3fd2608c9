#include "ops/cross_entropy/cross_entropy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/arena.h"
#include "base/bfloat16.h"
#include "longspan/error.h"
#include "ops/cross_entropy/cross_entropy_ref.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::Complex;
using test::RandomNormal;
using test::ToDouble;

struct Case {
  idx_t tokens, vocabulary, width;
  double ignored;  // fraction of the labels
  bool bias = true;
};

// Sizes 1, around vector widths, beyond one chunk (the last two), with few and many ignored labels.
const Case kCases[] = {{1, 1, 1, 0.0},     {3, 2, 1, 0.0, false}, {5, 7, 3, 0.4},
                       {9, 8, 8, 0.0},     {17, 9, 5, 0.85},      {40, 33, 16, 0.0, false},
                       {33, 258, 24, 0.1}, {1100, 1030, 4, 0.0},  {1500, 1100, 3, 0.2}};

struct Data {
  std::vector<float> w, b, h;
  std::vector<std::int32_t> labels;
  std::vector<float> label_weights = {};  // empty: 1 each
};

// Weights from 0.25 to 4.
std::vector<float> LabelWeights(idx_t vocabulary) {
  std::vector<float> weights;
  for (idx_t v = 0; v < vocabulary; ++v) {
    weights.push_back(0.25f * static_cast<float>(1 + 5 * v % 16));
  }
  return weights;
}

Data MakeData(const Case& c, std::uint64_t seed = 1) {
  Data data{RandomNormal(seed, c.vocabulary * c.width, 0.5f),
            {},
            RandomNormal(seed + 1, c.tokens * c.width),
            {}};
  if (c.bias) data.b = RandomNormal(seed + 2, c.vocabulary, 0.5f);
  Rng rng(seed + 3);
  for (idx_t t = 0; t < c.tokens; ++t) {
    const bool ignored = rng.Uniform() < c.ignored;
    data.labels.push_back(ignored ? kIgnoreLabel
                                  : static_cast<std::int32_t>(rng.Below(c.vocabulary)));
  }
  return data;
}

template <class T>
ref::Classifier<T> ClassifierOf(const Case& c, const Data& data) {
  return {c.vocabulary, c.width, {data.w.begin(), data.w.end()}, {data.b.begin(), data.b.end()}};
}

ClassifierWeights WeightsOf(const Case& c, const Data& data) {
  ClassifierWeights weights{{data.w.data(), {c.vocabulary, c.width}}, {}};
  if (!data.b.empty()) weights.b = {data.b.data(), {c.vocabulary}};
  return weights;
}

// Everything that one call yields.
struct Outcome {
  CrossEntropyResult result;
  std::vector<float> dh, dw, db;
};

Outcome RunKernel(Context& context, const Case& c, const Data& data, float scale,
                  float before = 0.0f) {
  Outcome out;
  out.dh.assign(data.h.size(), std::numeric_limits<float>::quiet_NaN());  // overwritten
  out.dw.assign(data.w.size(), before);                                   // accumulated
  out.db.assign(static_cast<std::size_t>(c.vocabulary), before);
  out.result = CrossEntropyForwardBackward(
      context, WeightsOf(c, data), {data.h.data(), {c.tokens, c.width}}, data.labels, scale,
      {out.dh.data(), {c.tokens, c.width}},
      {{out.dw.data(), {c.vocabulary, c.width}}, {out.db.data(), {c.vocabulary}}},
      data.label_weights);
  return out;
}

TEST(CrossEntropyReference, GradientAgreesWithComplexStep) {
  const Case c{6, 5, 4, 0.3};
  Data data = MakeData(c);
  data.label_weights = LabelWeights(c.vocabulary);
  const auto nh = static_cast<std::ptrdiff_t>(data.h.size());
  const auto nw = static_cast<std::ptrdiff_t>(data.w.size());
  std::vector<double> inputs = ToDouble(data.h);
  inputs.insert(inputs.end(), data.w.begin(), data.w.end());
  inputs.insert(inputs.end(), data.b.begin(), data.b.end());
  const auto loss = [&](std::span<const Complex> x) {
    const ref::Classifier<Complex> classifier{c.vocabulary,
                                              c.width,
                                              {x.begin() + nh, x.begin() + nh + nw},
                                              {x.begin() + nh + nw, x.end()}};
    return 0.7 * ref::CrossEntropy<Complex>(classifier, {x.begin(), x.begin() + nh}, data.labels,
                                            data.label_weights);
  };
  const auto g = ref::CrossEntropyBackward(ClassifierOf<double>(c, data), ToDouble(data.h),
                                           data.labels, 0.7, data.label_weights);
  std::vector<double> gradient = g.dh;
  gradient.insert(gradient.end(), g.dw.begin(), g.dw.end());
  gradient.insert(gradient.end(), g.db.begin(), g.db.end());
  EXPECT_EQ(test::CheckGradient(loss, inputs, gradient), "");
}

TEST(CrossEntropy, GradientsAgreeWithReference) {
  Context context(2);
  for (const Case& c : kCases) {
    if (c.vocabulary == 1) continue;  // gradient zero: see SingleWordIsCertain
    SCOPED_TRACE(testing::Message() << c.tokens << " x " << c.vocabulary << " x " << c.width);
    Data data = MakeData(c);
    for (const bool weighted : {false, true}) {
      if (weighted) data.label_weights = LabelWeights(c.vocabulary);
      const float scale = 1.0f / 3.0f;
      const Outcome out = RunKernel(context, c, data, scale);
      const auto oracle =
          ref::CrossEntropyBackward(ClassifierOf<double>(c, data), ToDouble(data.h), data.labels,
                                    static_cast<double>(scale), data.label_weights);
      const auto naive = ref::CrossEntropyBackward(ClassifierOf<float>(c, data), data.h,
                                                   data.labels, scale, data.label_weights);
      EXPECT_MATCHES(out.dh, oracle.dh, test::DerivedTolerance(naive.dh, oracle.dh, 3.0));
      EXPECT_MATCHES(out.dw, oracle.dw, test::DerivedTolerance(naive.dw, oracle.dw, 3.0));
      EXPECT_MATCHES(out.db, oracle.db, test::DerivedTolerance(naive.db, oracle.db, 3.0));
    }
  }
}

// Equal weights of 1 change no bit, and the loss is the reference's.
TEST(CrossEntropy, WeightsOfLabelsMultiplyTheirLosses) {
  Context context(2);
  const Case c{40, 33, 16, 0.2};
  Data data = MakeData(c);
  const Outcome plain = RunKernel(context, c, data, 0.5f);
  data.label_weights.assign(static_cast<std::size_t>(c.vocabulary), 1.0f);
  const Outcome ones = RunKernel(context, c, data, 0.5f);
  EXPECT_EQ(ones.result.sum, plain.result.sum);
  EXPECT_SAME_BITS(ones.dh, plain.dh);
  EXPECT_SAME_BITS(ones.dw, plain.dw);
  data.label_weights = LabelWeights(c.vocabulary);
  const Outcome weighted = RunKernel(context, c, data, 0.5f);
  const double oracle = ref::CrossEntropy(ClassifierOf<double>(c, data), ToDouble(data.h),
                                          data.labels, data.label_weights);
  EXPECT_NEAR(weighted.result.sum, oracle, 0x1p-21 * oracle);
  EXPECT_GT(std::abs(plain.result.sum - oracle), 10 * 0x1p-21 * oracle);
  EXPECT_EQ(weighted.result.correct, plain.result.correct);
  const CrossEntropyResult forward =
      CrossEntropyForward(context, WeightsOf(c, data), {data.h.data(), {c.tokens, c.width}},
                          data.labels, data.label_weights);
  EXPECT_EQ(forward.sum, weighted.result.sum);
}

TEST(CrossEntropy, LossAndCountsAgreeWithReference) {
  Context context(2);
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.tokens << " x " << c.vocabulary << " x " << c.width);
    const Data data = MakeData(c);
    const auto classifier = ClassifierOf<double>(c, data);
    const double oracle = ref::CrossEntropy(classifier, ToDouble(data.h), data.labels);
    const double naive =
        static_cast<double>(ref::CrossEntropy(ClassifierOf<float>(c, data), data.h, data.labels));
    idx_t counted = 0, correct = 0;
    for (idx_t t = 0; t < c.tokens; ++t) {
      const std::int32_t label = data.labels[static_cast<std::size_t>(t)];
      if (label == kIgnoreLabel) continue;
      const auto logits = ref::Logits(classifier, ToDouble(data.h), t);
      ++counted;
      correct += std::max_element(logits.begin(), logits.end()) - logits.begin() == label ? 1 : 0;
    }
    const double tolerance = 2.0 * std::abs(naive - oracle) + 0x1p-22 * (1.0 + std::abs(oracle));
    const CrossEntropyResult forward = CrossEntropyForward(
        context, WeightsOf(c, data), {data.h.data(), {c.tokens, c.width}}, data.labels);
    EXPECT_NEAR(forward.sum, oracle, tolerance);
    EXPECT_EQ(forward.counted, counted);
    EXPECT_EQ(forward.correct, correct);
    // Both entry points see the same loss, bit for bit.
    const CrossEntropyResult both = RunKernel(context, c, data, 1.0f).result;
    EXPECT_EQ(std::bit_cast<std::uint64_t>(both.sum), std::bit_cast<std::uint64_t>(forward.sum));
    EXPECT_EQ(both.correct, correct);
  }
}

TEST(CrossEntropy, PlantedBugsBreakTheToleranceTenfold) {
  const Case c{40, 33, 16, 0.2};
  const Data data = MakeData(c);
  const auto classifier = ClassifierOf<double>(c, data);
  const auto h = ToDouble(data.h);
  const auto oracle = ref::CrossEntropyBackward(classifier, h, data.labels, 1.0);
  const auto naive =
      ref::CrossEntropyBackward(ClassifierOf<float>(c, data), data.h, data.labels, 1.0f);
  const auto seen = [](const std::vector<double>& wrong, const std::vector<double>& right,
                       const std::vector<float>& fp32) {
    auto tolerance = test::DerivedTolerance(fp32, right, 3.0);
    tolerance.max_abs *= 10.0;
    tolerance.rel_l2 *= 10.0;
    return !test::Compare(std::span<const double>(wrong), std::span<const double>(right), tolerance)
                .ok;
  };
  auto no_bias = classifier;
  no_bias.b.clear();
  const auto wrong = ref::CrossEntropyBackward(no_bias, h, data.labels, 1.0);
  EXPECT_TRUE(seen(wrong.dh, oracle.dh, naive.dh));
  auto labels = data.labels;  // one ignored token counted
  *std::find(labels.begin(), labels.end(), kIgnoreLabel) = 0;
  const auto counted = ref::CrossEntropyBackward(classifier, h, labels, 1.0);
  EXPECT_TRUE(seen(counted.dw, oracle.dw, naive.dw));
  EXPECT_TRUE(seen(counted.db, oracle.db, naive.db));
}

TEST(CrossEntropy, GradientsAccumulateAndDhIsOverwritten) {
  Context context(2);
  const Case c{20, 11, 6, 0.3};
  const Data data = MakeData(c);
  const Outcome from_zero = RunKernel(context, c, data, 1.0f);
  const Outcome from_eight = RunKernel(context, c, data, 1.0f, 8.0f);
  EXPECT_SAME_BITS(from_eight.dh, from_zero.dh);
  for (std::size_t i = 0; i < data.w.size(); ++i) {
    EXPECT_NEAR(from_eight.dw[i], 8.0f + from_zero.dw[i], 2e-6f);
  }
  for (std::size_t i = 0; i < data.b.size(); ++i) {
    EXPECT_NEAR(from_eight.db[i], 8.0f + from_zero.db[i], 2e-6f);
  }
  for (idx_t t = 0; t < c.tokens; ++t) {
    if (data.labels[static_cast<std::size_t>(t)] != kIgnoreLabel) continue;
    for (idx_t i = 0; i < c.width; ++i) {
      EXPECT_EQ(from_zero.dh[static_cast<std::size_t>(t * c.width + i)], 0.0f);
    }
  }
}

TEST(CrossEntropy, IgnoredTokensAreNotRead) {
  Context context(2);
  const Case c{50, 20, 6, 0.5};
  Data data = MakeData(c);
  const Outcome clean = RunKernel(context, c, data, 1.0f);
  for (idx_t t = 0; t < c.tokens; ++t) {
    if (data.labels[static_cast<std::size_t>(t)] != kIgnoreLabel) continue;
    std::fill_n(data.h.begin() + t * c.width, c.width, std::numeric_limits<float>::quiet_NaN());
  }
  const Outcome dirty = RunKernel(context, c, data, 1.0f);
  EXPECT_EQ(dirty.result.sum, clean.result.sum);
  EXPECT_SAME_BITS(dirty.dh, clean.dh);
  EXPECT_SAME_BITS(dirty.dw, clean.dw);
}

TEST(CrossEntropy, NothingCountedIsZero) {
  Context context(1);
  const Case c{7, 5, 3, 1.1};
  const Outcome out = RunKernel(context, c, MakeData(c), 1.0f);
  EXPECT_EQ(out.result.sum, 0.0);
  EXPECT_EQ(out.result.counted, 0);
  EXPECT_EQ(out.result.correct, 0);
  EXPECT_THAT(out.dh, testing::Each(0.0f));
  EXPECT_THAT(out.dw, testing::Each(0.0f));
  const auto empty = CrossEntropyForward(context, WeightsOf(c, MakeData(c)), {nullptr, {0, 3}}, {});
  EXPECT_EQ(empty.counted, 0);
}

TEST(CrossEntropy, SingleWordIsCertain) {
  Context context(1);
  const Case c{4, 1, 3, 0.0};
  const Outcome out = RunKernel(context, c, MakeData(c), 1.0f);
  EXPECT_EQ(out.result.sum, 0.0);
  EXPECT_EQ(out.result.correct, 4);
  EXPECT_THAT(out.dh, testing::Each(0.0f));
}

// One token of width 1: the weights are the logits.
Outcome FromLogits(std::vector<float> logits, std::int32_t label) {
  Context context(1);
  const Case c{1, static_cast<idx_t>(logits.size()), 1, 0.0, false};
  return RunKernel(context, c, {std::move(logits), {}, {1.0f}, {label}}, 1.0f);
}

TEST(CrossEntropy, LogitsOfTenThousandAreSafe) {
  const Outcome right = FromLogits({1e4f, -1e4f, 9999.0f, 0.0f}, 0);
  EXPECT_NEAR(right.result.sum, std::log1p(std::exp(-1.0)), 1e-7);
  EXPECT_EQ(right.result.correct, 1);
  const Outcome wrong = FromLogits({1e4f, -1e4f, 9999.0f, 0.0f}, 1);
  EXPECT_NEAR(wrong.result.sum, 2e4 + std::log1p(std::exp(-1.0)), 1e-7);
  EXPECT_EQ(wrong.result.correct, 0);
  const double p = 1.0 / (1.0 + std::exp(-1.0));
  EXPECT_NEAR(wrong.dw[0], p, 1e-7);
  EXPECT_EQ(wrong.dw[1], -1.0f);
  EXPECT_NEAR(wrong.dw[2], 1.0 - p, 1e-7);
  EXPECT_EQ(wrong.dw[3], 0.0f);
}

TEST(CrossEntropy, TheFirstOfEqualLogitsIsThePrediction) {
  for (const idx_t vocabulary : {2, 9, 40}) {
    const std::vector<float> equal(static_cast<std::size_t>(vocabulary), 0.5f);
    EXPECT_EQ(FromLogits(equal, 0).result.correct, 1);
    for (std::int32_t label = 1; label < vocabulary; ++label) {
      EXPECT_EQ(FromLogits(equal, label).result.correct, 0);
    }
    EXPECT_NEAR(FromLogits(equal, 1).result.sum, std::log(static_cast<double>(vocabulary)), 1e-6);
  }
}

TEST(CrossEntropy, NanAndInfiniteLogitsGiveANonFiniteLoss) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const std::size_t at : {0, 5, 19}) {
    std::vector<float> logits(20, 1.0f);
    logits[at] = nan;
    EXPECT_FALSE(std::isfinite(FromLogits(logits, 3).result.sum)) << at;
    logits[at] = inf;
    EXPECT_FALSE(std::isfinite(FromLogits(logits, 3).result.sum)) << at;
    logits[at] = -inf;  // an impossible word
    EXPECT_NEAR(FromLogits(logits, 3).result.sum, std::log(19.0), 1e-6) << at;
  }
}

TEST(CrossEntropy, DhMayBeH) {
  Context context(2);
  for (const double ignored : {0.0, 0.4}) {
    const Case c{30, 12, 5, ignored};
    const Data data = MakeData(c);
    const Outcome apart = RunKernel(context, c, data, 0.5f);
    std::vector<float> h = data.h, dw(data.w.size()), db(data.b.size());
    const View<float, 2> view(h.data(), {c.tokens, c.width});
    CrossEntropyForwardBackward(
        context, WeightsOf(c, data), view, data.labels, 0.5f, view,
        {{dw.data(), {c.vocabulary, c.width}}, {db.data(), {c.vocabulary}}});
    EXPECT_SAME_BITS(h, apart.dh);
    EXPECT_SAME_BITS(dw, apart.dw);
  }
}

// A matrix that is not trained: its gradient is null, all others are the same.
TEST(CrossEntropy, TheMatrixNeedNoGradient) {
  const Case c = kCases[7];
  const Data data = MakeData(c);
  Context context(2);
  const View<const float, 2> h(data.h.data(), {c.tokens, c.width});
  std::vector<float> dh[2], db[2], dw(data.w.size());
  double sums[2] = {};
  for (const int without : {0, 1}) {
    dh[without].resize(data.h.size());
    db[without].resize(data.b.size());
    sums[without] =
        CrossEntropyForwardBackward(context, WeightsOf(c, data), h, data.labels, 0.5f,
                                    {dh[without].data(), {c.tokens, c.width}},
                                    {{without == 1 ? nullptr : dw.data(), {c.vocabulary, c.width}},
                                     {db[without].data(), {c.vocabulary}}})
            .sum;
  }
  EXPECT_EQ(sums[0], sums[1]);
  EXPECT_EQ(dh[0], dh[1]);
  EXPECT_EQ(db[0], db[1]);
  EXPECT_NE(dw, std::vector<float>(dw.size()));
}

TEST(CrossEntropy, StridedViewsWithPoisonedPadding) {
  Context context(2);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Case c{23, 19, 7, 0.3};
  const Data data = MakeData(c);
  const Outcome packed = RunKernel(context, c, data, 1.0f);
  const idx_t stride = 11;
  const auto padded = [&](const std::vector<float>& values, idx_t rows) {
    std::vector<float> out(static_cast<std::size_t>(rows * stride), nan);
    for (idx_t r = 0; r < rows; ++r) {
      std::copy_n(values.begin() + r * c.width, c.width, out.begin() + r * stride);
    }
    return out;
  };
  auto h = padded(data.h, c.tokens), w = padded(data.w, c.vocabulary);
  auto dh = padded(data.h, c.tokens);
  auto dw = padded(std::vector<float>(data.w.size()), c.vocabulary);
  const auto view = [&](std::vector<float>& values, idx_t rows) {
    return View<float, 2>(values.data(), {rows, c.width}, {stride, 1});
  };
  const ClassifierWeights weights{view(w, c.vocabulary), {data.b.data(), {c.vocabulary}}};
  const auto result =
      CrossEntropyForwardBackward(context, weights, view(h, c.tokens), data.labels, 1.0f,
                                  view(dh, c.tokens), {view(dw, c.vocabulary), {}});
  EXPECT_NEAR(result.sum, packed.result.sum, 1e-5);
  const auto check = [&](const std::vector<float>& actual, const std::vector<float>& expected) {
    for (std::size_t i = 0; i < actual.size(); ++i) {
      const auto r = static_cast<idx_t>(i) / stride, k = static_cast<idx_t>(i) % stride;
      if (k >= c.width) {
        EXPECT_TRUE(std::isnan(actual[i]));
      } else {
        EXPECT_NEAR(actual[i], expected[static_cast<std::size_t>(r * c.width + k)], 1e-5f);
      }
    }
  };
  check(dh, packed.dh);
  check(dw, packed.dw);
}

TEST(CrossEntropy, MemoryDoesNotGrowWithTheText) {
  const auto scratch = [](idx_t tokens) {
    Context context(1);
    const Case c{tokens, 600, 2, 0.0};
    CrossEntropyForward(context, WeightsOf(c, MakeData(c)), {MakeData(c).h.data(), {tokens, 2}},
                        MakeData(c).labels);
    return context.arena().peak();
  };
  // One number for each counted token and a chunk of logits, not the 48 MB of all logits.
  EXPECT_LT(scratch(20000), std::size_t{12000000});
}

TEST(CrossEntropy, SameBitsForAnyThreads) {
  for (const double ignored : {0.0, 0.5}) {
    const Case c{1300, 700, 6, ignored};
    const Data data = MakeData(c);
    test::ExpectSameBitsForAnyThreads([&](Context& context) {
      const Outcome out = RunKernel(context, c, data, 0.01f);
      std::vector<float> all = out.dh;
      all.insert(all.end(), out.dw.begin(), out.dw.end());
      all.insert(all.end(), out.db.begin(), out.db.end());
      const auto bits = std::bit_cast<std::uint64_t>(out.result.sum);
      all.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
      all.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits >> 32)));
      return all;
    });
  }
}

template <class Call>
std::string MessageOf(ErrorCode code, const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

TEST(CrossEntropy, BadArgumentsNameBothValues) {
  using testing::AllOf;
  using testing::HasSubstr;
  Context context(1);
  const Case c{3, 4, 2, 0.0};
  Data data = MakeData(c);
  const auto forward = [&](const ClassifierWeights& weights, idx_t tokens, idx_t width) {
    return [&, weights, tokens, width] {
      CrossEntropyForward(context, weights, {data.h.data(), {tokens, width}}, data.labels);
    };
  };
  const ClassifierWeights good = WeightsOf(c, data);
  ClassifierWeights short_bias = good;
  short_bias.b.extent[0] = 3;
  EXPECT_THAT(MessageOf(ErrorCode::kUsage, forward(good, 3, 1)),
              AllOf(HasSubstr("2 wide"), HasSubstr("vectors 1")));
  EXPECT_THAT(MessageOf(ErrorCode::kUsage, forward(good, 2, 2)),
              AllOf(HasSubstr("3 labels"), HasSubstr("2 hidden")));
  EXPECT_THAT(MessageOf(ErrorCode::kUsage, forward(short_bias, 3, 2)),
              AllOf(HasSubstr("3 biases"), HasSubstr("of 4")));
  const std::vector<float> three(3, 1.0f);
  EXPECT_THAT(
      MessageOf(ErrorCode::kUsage,
                [&] {
                  CrossEntropyForward(context, good, {data.h.data(), {3, 2}}, data.labels, three);
                }),
      AllOf(HasSubstr("3 weights of labels"), HasSubstr("of 4")));
  std::vector<float> dw(8), dh(6);
  const auto backward = [&](idx_t dh_tokens, idx_t dw_rows, idx_t db_size) {
    return MessageOf(ErrorCode::kUsage, [&] {
      CrossEntropyForwardBackward(context, good, {data.h.data(), {3, 2}}, data.labels, 1.0f,
                                  {dh.data(), {dh_tokens, 2}},
                                  {{dw.data(), {dw_rows, 2}}, {dh.data(), {db_size}}});
    });
  };
  EXPECT_THAT(backward(2, 4, 4), AllOf(HasSubstr("(3, 2)"), HasSubstr("(2, 2)")));
  EXPECT_THAT(backward(3, 3, 4), AllOf(HasSubstr("(4, 2)"), HasSubstr("(3, 2)")));
  EXPECT_THAT(backward(3, 4, 5), AllOf(HasSubstr("5 bias"), HasSubstr("of 4")));
  data.labels[1] = 4;
  EXPECT_THAT(MessageOf(ErrorCode::kFormat, forward(good, 3, 2)),
              AllOf(HasSubstr("label 4 at position 1"), HasSubstr("vocabulary of 4")));
  data.labels[1] = -1;
  EXPECT_THAT(MessageOf(ErrorCode::kFormat, forward(good, 3, 2)), HasSubstr("label -1"));
}

// ---- bf16 ---------------------------------------------------------------------------------------

float RoundToBf16(float value) { return ToFloat(ToBfloat16(value)); }

// As a framework computes in bf16: h, the logits and all gradients are rounded, softmax is not.
ref::CrossEntropyGradients<float> NaiveBf16(const Case& c, const Data& data, float scale,
                                            double* loss) {
  const auto V = static_cast<std::size_t>(c.vocabulary), C = static_cast<std::size_t>(c.width);
  ref::CrossEntropyGradients<float> g;
  g.dh.assign(data.h.size(), 0.0f);
  g.dw.assign(data.w.size(), 0.0f);
  g.db.assign(V, 0.0f);
  *loss = 0.0;
  for (std::size_t t = 0; t < data.labels.size(); ++t) {
    if (data.labels[t] == kIgnoreLabel) continue;
    const auto label = static_cast<std::size_t>(data.labels[t]);
    std::vector<float> p(V);
    float most = -1e30f, sum = 0.0f;
    for (std::size_t v = 0; v < V; ++v) {
      float logit = data.b.empty() ? 0.0f : data.b[v];
      for (std::size_t i = 0; i < C; ++i) {
        logit += RoundToBf16(data.h[t * C + i]) * data.w[v * C + i];
      }
      p[v] = RoundToBf16(logit);
      most = std::max(most, p[v]);
    }
    *loss += static_cast<double>(most - p[label]);
    for (float& value : p) sum += value = std::exp(value - most);
    *loss += std::log(static_cast<double>(sum));
    for (std::size_t v = 0; v < V; ++v) {
      const float d = RoundToBf16(scale * (p[v] / sum - (v == label ? 1.0f : 0.0f)));
      g.db[v] += d;
      for (std::size_t i = 0; i < C; ++i) {
        g.dh[t * C + i] += d * data.w[v * C + i];
        g.dw[v * C + i] += d * RoundToBf16(data.h[t * C + i]);
      }
    }
  }
  for (auto* part : {&g.dh, &g.dw, &g.db}) {
    for (float& value : *part) value = RoundToBf16(value);
  }
  return g;
}

Outcome RunBf16(Context& context, const Case& c, const Data& data, float scale) {
  std::vector<bfloat16> w;
  for (const float value : data.w) w.push_back(ToBfloat16(value));
  Bf16ClassifierWeights weights{{w.data(), {c.vocabulary, c.width}}, {}};
  if (!data.b.empty()) weights.b = {data.b.data(), {c.vocabulary}};
  Outcome out;
  out.dh.assign(data.h.size(), std::numeric_limits<float>::quiet_NaN());
  out.dw.assign(data.w.size(), 0.0f);
  out.db.assign(static_cast<std::size_t>(c.vocabulary), 0.0f);
  const View<const float, 2> h(data.h.data(), {c.tokens, c.width});
  out.result = CrossEntropyForwardBackward(
      context, weights, h, data.labels, scale, {out.dh.data(), {c.tokens, c.width}},
      {{out.dw.data(), {c.vocabulary, c.width}}, {out.db.data(), {c.vocabulary}}});
  EXPECT_EQ(CrossEntropyForward(context, weights, h, data.labels).sum, out.result.sum);
  return out;
}

TEST(CrossEntropyBf16, WithinThriceTheNaiveError) {
  const float scale = 0.7f;
  for (const Case& c : {Case{60, 33, 16, 0.0}, Case{77, 258, 24, 0.3}, Case{50, 19, 40, 0.2, false},
                        Case{1500, 1100, 8, 0.2}}) {
    SCOPED_TRACE(testing::Message() << c.tokens << " of " << c.vocabulary);
    Data data = MakeData(c);
    for (float& value : data.w) value = RoundToBf16(value);
    double naive_loss = 0.0;
    const auto naive = NaiveBf16(c, data, scale, &naive_loss);
    const auto oracle = ref::CrossEntropyBackward(ClassifierOf<double>(c, data), ToDouble(data.h),
                                                  data.labels, double{scale});
    const double loss =
        ref::CrossEntropy(ClassifierOf<double>(c, data), ToDouble(data.h), data.labels);
    Context context(1);
    const Outcome y = RunBf16(context, c, data, scale);
    EXPECT_NEAR(y.result.sum, loss, 2 * std::abs(naive_loss - loss) + 1e-3 * std::abs(loss));
    EXPECT_MATCHES(y.dh, oracle.dh, test::DerivedTolerance(naive.dh, oracle.dh, 3));
    EXPECT_MATCHES(y.dw, oracle.dw, test::DerivedTolerance(naive.dw, oracle.dw, 3));
    EXPECT_MATCHES(y.db, oracle.db, test::DerivedTolerance(naive.db, oracle.db, 3));
    for (const int threads : {2, 3, 7, 8}) {
      Context more(threads);
      const Outcome other = RunBf16(more, c, data, scale);
      EXPECT_EQ(other.result.sum, y.result.sum);
      EXPECT_SAME_BITS(other.dh, y.dh);
      EXPECT_SAME_BITS(other.dw, y.dw);
      EXPECT_SAME_BITS(other.db, y.db);
    }
    // A label off by one breaks it tenfold.
    Data wrong = data;
    for (std::int32_t& label : wrong.labels) {
      if (label != kIgnoreLabel) label = (label + 1) % static_cast<std::int32_t>(c.vocabulary);
    }
    const auto difference = test::Compare(RunBf16(context, c, wrong, scale).dh, oracle.dh,
                                          test::DerivedTolerance(naive.dh, oracle.dh, 3));
    EXPECT_GT(difference.max_abs, 10 * test::DerivedTolerance(naive.dh, oracle.dh, 3).max_abs);
  }
}

}  // namespace
}  // namespace longspan
