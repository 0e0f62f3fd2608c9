#include "ops/axial_position/axial_position.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "longspan/error.h"
#include "ops/axial_position/axial_position_ref.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using ref::AxialShape;
using test::Complex;
using test::RandomNormal;
using test::ToDouble;

struct Case {
  AxialShape shape;
  idx_t batch, start, tokens;
  float p;
};

// Whole grids, prefixes, windows that begin and end inside rows, single tokens.
const Case kCases[] = {
    {{1, 1, 1, 1}, 1, 0, 1, 0.0f},       {{4, 8, 16, 48}, 2, 0, 32, 0.0f},
    {{4, 8, 16, 48}, 3, 0, 32, 0.3f},    {{5, 7, 3, 9}, 2, 0, 19, 0.2f},
    {{5, 7, 3, 9}, 1, 13, 20, 0.0f},     {{6, 70, 8, 17}, 2, 65, 300, 0.1f},
    {{6, 70, 8, 17}, 1, 419, 1, 0.0f},   {{3, 33, 40, 1}, 2, 31, 4, 0.5f},
    {{1, 200, 5, 64}, 1, 50, 100, 0.0f}, {{200, 1, 64, 5}, 2, 50, 100, 0.5f},
};

struct Data {
  std::vector<float> t0, t1, x;
};

Data MakeData(const Case& c, std::uint64_t seed) {
  const idx_t width = c.shape.d0 + c.shape.d1;
  return {RandomNormal(seed, c.shape.s0 * c.shape.d0),
          RandomNormal(seed + 1, c.shape.s1 * c.shape.d1),
          RandomNormal(seed + 2, c.batch * c.tokens * width)};
}

AxialTables TablesOf(const Case& c, const Data& data) {
  return {{data.t0.data(), {c.shape.s0, c.shape.d0}}, {data.t1.data(), {c.shape.s1, c.shape.d1}}};
}

Dropout ColumnsOf(const Case& c) { return {c.p, 77}; }

template <class T>
std::vector<T> Joined(std::vector<T> a, const std::vector<T>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(AxialReference, GradientAgreesWithComplexStep) {
  for (const Case& c : kCases) {
    if (c.tokens > 40) continue;
    const Data data = MakeData(c, 1);
    const auto weights = ToDouble(data.x);
    const auto inputs = ToDouble(Joined(data.t0, data.t1));
    const auto split = static_cast<std::ptrdiff_t>(data.t0.size());
    const auto forward = [&](auto scalar, const auto& tables) {
      using T = decltype(scalar);
      std::vector<T> x(data.x.size());
      ref::AxialForward<T>(c.shape, {tables.begin(), tables.begin() + split},
                           {tables.begin() + split, tables.end()}, ColumnsOf(c), c.batch, c.start,
                           x);
      return x;
    };
    const auto loss = [&](std::span<const Complex> tables) {
      const auto x = forward(Complex(), tables);
      Complex sum = 0.0;
      for (std::size_t i = 0; i < x.size(); ++i) sum += weights[i] * x[i] * x[i];
      return sum;
    };
    auto dx = forward(double(), inputs);
    for (std::size_t i = 0; i < dx.size(); ++i) dx[i] *= 2.0 * weights[i];
    std::vector<double> dt0(data.t0.size()), dt1(data.t1.size());
    ref::AxialBackward(c.shape, ColumnsOf(c), c.batch, c.start, dx, dt0, dt1);
    EXPECT_EQ(test::CheckGradient(loss, inputs, Joined(dt0, dt1)), "");
  }
}

// The paper's description has l1 vectors that repeat and l2 that last l1 positions each:
// E1[j mod l1] ++ E2[j div l1]. With l1 = S1, E1 = T1, E2 = T0 it is the same pair of vectors in
// the other order: a fixed permutation of the features.
TEST(AxialReference, PaperAndFilesAreOneSchemeWithTheTablesExchanged) {
  const AxialShape shape{5, 7, 3, 4};
  const auto t0 = RandomNormal(1, shape.s0 * shape.d0), t1 = RandomNormal(2, shape.s1 * shape.d1);
  const idx_t l1 = shape.s1;
  const std::vector<float>&e1 = t1, &e2 = t0;
  for (idx_t j = 0; j < shape.s0 * shape.s1; ++j) {
    std::vector<float> paper;
    for (idx_t i = 0; i < shape.d1; ++i) {
      paper.push_back(e1[static_cast<std::size_t>(j % l1 * shape.d1 + i)]);
    }
    for (idx_t i = 0; i < shape.d0; ++i) {
      paper.push_back(e2[static_cast<std::size_t>(j / l1 * shape.d0 + i)]);
    }
    std::rotate(paper.begin(), paper.begin() + shape.d1, paper.end());
    EXPECT_EQ(paper, ref::AxialVector(shape, t0, t1, j)) << j;
  }
}

TEST(Axial, ForwardAgreesWithReference) {
  Context context(2);
  for (const Case& c : kCases) {
    Data data = MakeData(c, 10);
    std::vector<double> oracle = ToDouble(data.x);
    std::vector<float> naive = data.x;
    ref::AxialForward(c.shape, ToDouble(data.t0), ToDouble(data.t1), ColumnsOf(c), c.batch, c.start,
                      oracle);
    ref::AxialForward(c.shape, data.t0, data.t1, ColumnsOf(c), c.batch, c.start, naive);
    AxialForward(context, TablesOf(c, data), ColumnsOf(c), c.batch, c.start,
                 {data.x.data(), {c.batch * c.tokens, c.shape.d0 + c.shape.d1}});
    EXPECT_MATCHES(data.x, oracle, test::DerivedTolerance(naive, oracle, 2.0));
  }
}

TEST(Axial, BackwardAgreesWithReference) {
  Context context(2);
  for (const Case& c : kCases) {
    const Data data = MakeData(c, 20);
    // Accumulates onto what is there.
    std::vector<float> dt0 = data.t0, dt1 = data.t1, naive0 = dt0, naive1 = dt1;
    std::vector<double> oracle0 = ToDouble(dt0), oracle1 = ToDouble(dt1);
    ref::AxialBackward(c.shape, ColumnsOf(c), c.batch, c.start, ToDouble(data.x), oracle0, oracle1);
    ref::AxialBackward(c.shape, ColumnsOf(c), c.batch, c.start, data.x, naive0, naive1);
    AxialBackward(context, TablesOf(c, data), ColumnsOf(c), c.batch, c.start,
                  {data.x.data(), {c.batch * c.tokens, c.shape.d0 + c.shape.d1}},
                  {{dt0.data(), {c.shape.s0, c.shape.d0}}, {dt1.data(), {c.shape.s1, c.shape.d1}}});
    EXPECT_MATCHES(dt0, oracle0, test::DerivedTolerance(naive0, oracle0, 3.0));
    EXPECT_MATCHES(dt1, oracle1, test::DerivedTolerance(naive1, oracle1, 3.0));
  }
}

TEST(Axial, PlantedBugBreaksTheToleranceTenfold) {
  const Case c{{6, 9, 8, 8}, 2, 0, 54, 0.1f};
  const Data data = MakeData(c, 30);
  std::vector<double> oracle = ToDouble(data.x);
  std::vector<float> naive = data.x, wrong = data.x;
  const auto t0 = ToDouble(data.t0), t1 = ToDouble(data.t1);
  ref::AxialForward(c.shape, t0, t1, ColumnsOf(c), c.batch, c.start, oracle);
  ref::AxialForward(c.shape, data.t0, data.t1, ColumnsOf(c), c.batch, c.start, naive);
  auto tolerance = test::DerivedTolerance(naive, oracle, 2.0);
  tolerance.max_abs *= 10.0;
  tolerance.rel_l2 *= 10.0;
  // The grid read column by column: the tables exchanged.
  ref::AxialForward({c.shape.s1, c.shape.s0, 8, 8}, data.t1, data.t0, ColumnsOf(c), c.batch,
                    c.start, wrong);
  EXPECT_FALSE(test::Compare(wrong, oracle, tolerance).ok);
  // A mask that is not the site's.
  wrong = data.x;
  ref::AxialForward(c.shape, data.t0, data.t1, {0.1f, 78}, c.batch, c.start, wrong);
  EXPECT_FALSE(test::Compare(wrong, oracle, tolerance).ok);
}

TEST(Axial, OneTokenAtATimeIsTheWholeText) {
  Context context(1);
  const Case c{{4, 5, 7, 9}, 1, 0, 20, 0.0f};
  const Data data = MakeData(c, 40);
  std::vector<float> whole(data.x.size()), stepwise(data.x.size());
  AxialForward(context, TablesOf(c, data), {}, 1, 0, {whole.data(), {20, 16}});
  for (idx_t p = 0; p < 20; ++p) {
    AxialForward(context, TablesOf(c, data), {}, 1, p, {stepwise.data() + p * 16, {1, 16}});
  }
  EXPECT_SAME_BITS(stepwise, whole);
}

TEST(Axial, StridedViewsKeepTheirPadding) {
  Context context(2);
  const Case c{{3, 5, 6, 11}, 2, 0, 15, 0.2f};
  const Data data = MakeData(c, 50);
  const idx_t width = 17, stride = 24, rows = c.batch * c.tokens;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> packed = data.x, padded(static_cast<std::size_t>(rows * stride), nan);
  for (idx_t r = 0; r < rows; ++r) {
    std::copy_n(data.x.begin() + r * width, width, padded.begin() + r * stride);
  }
  AxialForward(context, TablesOf(c, data), ColumnsOf(c), c.batch, 0,
               {packed.data(), {rows, width}});
  AxialForward(context, TablesOf(c, data), ColumnsOf(c), c.batch, 0,
               {padded.data(), {rows, width}, {stride, 1}});
  std::vector<float> dt0(data.t0.size()), dt1(data.t1.size());
  AxialBackward(context, TablesOf(c, data), ColumnsOf(c), c.batch, 0,
                {padded.data(), {rows, width}, {stride, 1}},
                {{dt0.data(), {3, 6}}, {dt1.data(), {5, 11}}});
  for (const float g : Joined(dt0, dt1)) EXPECT_FALSE(std::isnan(g));
  for (idx_t r = 0; r < rows; ++r) {
    for (idx_t i = 0; i < stride; ++i) {
      const float value = padded[static_cast<std::size_t>(r * stride + i)];
      if (i < width) {
        EXPECT_EQ(value, packed[static_cast<std::size_t>(r * width + i)]);
      } else {
        EXPECT_TRUE(std::isnan(value));
      }
    }
  }
}

TEST(Axial, SameBitsForAnyThreads) {
  const Case c{{9, 130, 24, 40}, 2, 3, 1100, 0.1f};
  const Data data = MakeData(c, 60);
  test::ExpectSameBitsForAnyThreads([&](Context& context) {
    std::vector<float> x = data.x, dt0(data.t0.size()), dt1(data.t1.size());
    const View<float, 2> view(x.data(), {c.batch * c.tokens, 64});
    AxialForward(context, TablesOf(c, data), ColumnsOf(c), c.batch, c.start, view);
    AxialBackward(context, TablesOf(c, data), ColumnsOf(c), c.batch, c.start, view,
                  {{dt0.data(), {9, 24}}, {dt1.data(), {130, 40}}});
    return Joined(Joined(x, dt0), dt1);
  });
}

template <class Call>
std::string MessageOf(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

TEST(Axial, BadArgumentsNameBothValues) {
  using testing::AllOf;
  using testing::HasSubstr;
  Context context(1);
  const Case c{{3, 4, 2, 6}, 1, 0, 12, 0.0f};
  Data data = MakeData(c, 70);
  const AxialTables tables = TablesOf(c, data);
  const auto forward = [&](float p, idx_t batch, idx_t start, idx_t rows, idx_t width) {
    return MessageOf([&] {
      AxialForward(context, tables, {p, 1}, batch, start, {data.x.data(), {rows, width}});
    });
  };
  EXPECT_THAT(forward(0.0f, 1, 1, 12, 8),
              AllOf(HasSubstr("positions 1 to 12"), HasSubstr("3 x 4 = 12")));
  EXPECT_THAT(forward(0.0f, 1, -1, 3, 8), HasSubstr("positions -1 to 1"));
  EXPECT_THAT(forward(0.0f, 1, 0, 12, 7), AllOf(HasSubstr("2 and 6"), HasSubstr("width 7")));
  EXPECT_THAT(forward(0.0f, 5, 0, 12, 8), AllOf(HasSubstr("12 rows"), HasSubstr("batch 5")));
  EXPECT_THAT(forward(1.0f, 1, 0, 12, 8), HasSubstr("dropout 1"));
  EXPECT_THAT(MessageOf([&] {
                AxialBackward(context, tables, {}, 1, 0, {data.x.data(), {12, 8}},
                              {{data.t0.data(), {3, 2}}, {data.t1.data(), {3, 6}}});
              }),
              AllOf(HasSubstr("(4, 6)"), HasSubstr("(3, 6)")));
}

}  // namespace
}  // namespace longspan
