#include "gemm/gemm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "base/arena.h"
#include "base/bfloat16.h"
#include "base/errors.h"
#include "base/isa.h"
#include "gemm/few_rows.h"
#include "gemm/gemm_ref.h"
#include "gemm/gemm_test.h"
#include "gemm/grid.h"
#include "gemm/packed_product.h"
#include "gemm/primitive.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan::gemm {
namespace {

using test::RandomNormal;
using testing::HasSubstr;

const Case kCases[] = {
    {1, 1, 1, 0},      {1, 1, 1, 3},      {2, 1, 3, 1},      {1, 5, 7, 0},      {3, 1, 2, 2},
    {5, 7, 1, 1},      {1, 64, 17, 0},    {8, 8, 8, 0},      {13, 11, 9, 5},    {17, 16, 15, 3},
    {63, 65, 64, 0},   {65, 63, 65, 1},   {64, 64, 64, 7},   {4, 256, 258, 0},  {16, 256, 1024, 0},
    {129, 96, 33, 2},  {300, 128, 70, 0}, {257, 512, 96, 0}, {1025, 40, 24, 0}, {128, 1, 1, 0},
    {131, 259, 77, 1}, {128, 24, 513, 3}, {150, 771, 50, 5},
};

TEST(Gemm, MatchesDoubleReference) {
  Context context(2);
  for (const Case& size : kCases) CheckAll<float, float>(context, size);
}

TEST(Gemm, EverySmallSize) {
  Context context(1);
  for (idx_t n = 1; n <= 17; ++n) {
    CheckAll<float, float>(context, {n, 18 - n, n, n % 3});
    CheckAll<float, float>(context, {18 - n, n, 5, 0});
  }
}

TEST(Gemm, Bf16OperandsFp32Result) {
  Context context(2);
  for (const Case& size : kCases) CheckAll<bfloat16, float>(context, size);
}

TEST(Gemm, Bf16OperandsBf16Result) {
  Context context(2);
  for (const Case& size : kCases) CheckAll<bfloat16, bfloat16>(context, size);
}

// What generation rests on: a text's numbers do not depend on the texts beside it.
TEST(Gemm, FewRowsHaveTheBitsOfOne) {
  Context context(2);
  const idx_t K = 519, N = 1003;
  const Padded<float> x(1, kFewRows, K, 3), w(2, N, K, 1);
  const std::vector<float> bias = RandomNormal(3, N);
  Padded<float> together(4, kFewRows, N, 2);
  Forward(context, x.view(), w.view(), bias.data(), together.view());
  EXPECT_STREQ(LastImplementation(), kFewRowsName);
  for (idx_t rows = 1; rows < kFewRows; ++rows) {
    for (idx_t begin = 0; begin + rows <= kFewRows; ++begin) {
      Padded<float> part(5, rows, N, 0), want(6, rows, N, 0);
      for (idx_t i = 0; i < rows; ++i) {
        for (idx_t j = 0; j < N; ++j) want.view()(i, j) = together.view()(begin + i, j);
      }
      Forward(context, x.view().Rows(begin, rows), w.view(), bias.data(), part.view());
      EXPECT_SAME_BITS(part.Dense(), want.Dense());
    }
  }
}

TEST(Gemm, FewRowsHaveTheSameBitsForAnyThreads) {
  test::ExpectSameBitsForAnyThreads([](Context& context) {
    const Padded<float> x(1, 5, 300, 0), w(2, 900, 300, 0);
    Padded<float> y(3, 5, 900, 0);
    Forward(context, x.view(), w.view(), nullptr, y.view());
    return y.Dense();
  });
}

TEST(Gemm, BlocksOfEverySide) {
  // Several row slabs with a smaller last one, several column blocks with a smaller last one, and
  // strides that are copied.
  Context context(2);
  CheckAll<float, float>(context, {1100, 32, 1700, 0});
  CheckAll<float, float>(context, {2200, 16, 800, 0});
  CheckAll<float, float>(context, {600, 512, 20, 0});
  CheckAll<bfloat16, bfloat16>(context, {1100, 32, 1700, 1});
}

TEST(Gemm, ToleranceNoticesAMissingTerm) {
  // The last of 64 terms left out, as a wrong tail would, breaks the tolerance far more than
  // tenfold.
  const std::vector<float> a = RandomNormal(1, idx_t{20} * 64), b = RandomNormal(2, idx_t{64} * 30);
  std::vector<double> magnitude;
  const std::vector<double> expected = RefProduct(Ref(a, 20, 64), Ref(b, 64, 30), &magnitude);
  const RefMatrix<float> a_short{a.data(), 20, 63, 64, 1}, b_short{b.data(), 63, 30, 30, 1};
  const std::vector<double> wrong = RefProduct(a_short, b_short);
  const std::vector<float> wrong_f32(wrong.begin(), wrong.end());
  EXPECT_GT(Excess(wrong_f32, expected, magnitude, 64, false), 10.0);
  const std::vector<float> right(expected.begin(), expected.end());
  EXPECT_LE(Excess(right, expected, magnitude, 64, false), 1.0);
}

TEST(Gemm, NanStaysInItsRow) {
  Context context(2);
  Padded<float> x(1, 40, 24, 0);
  const Padded<float> w(2, 33, 24, 0);
  x.view()(7, 3) = kNan;
  Padded<float> y(3, 40, 33, 0);
  Forward(context, x.view(), w.view(), nullptr, y.view());
  for (idx_t t = 0; t < 40; ++t) {
    for (idx_t n = 0; n < 33; ++n) EXPECT_EQ(std::isnan(y.view()(t, n)), t == 7) << t << ' ' << n;
  }
}

TEST(Gemm, NoRowsDoNothing) {
  Context context(2);
  const Padded<float> w(1, 3, 4, 0);
  std::vector<float> dw(12, 1.0f), dbias(3, 1.0f);
  float nothing = 0.0f;
  const View<float, 2> x(&nothing, {0, 4}), dy(&nothing, {0, 3});
  Forward(context, x, w.view(), nullptr, dy);
  BackwardData(context, dy, w.view(), x);
  BackwardWeights(context, dy, x, View<float, 2>(dw.data(), {3, 4}));
  BackwardBias(context, dy, dbias.data());
  EXPECT_THAT(dw, testing::Each(1.0f));
  EXPECT_THAT(dbias, testing::Each(1.0f));
}

TEST(GemmBits, SameForAnyThreads) {
  struct Shape {
    idx_t T, K, N;
  };
  for (const Shape& s :
       {Shape{1, 256, 1024}, {37, 65, 130}, {700, 256, 258}, {2048, 256, 64}, {4100, 48, 80}}) {
    SCOPED_TRACE(fmt::format("T {} K {} N {}", s.T, s.K, s.N));
    test::ExpectSameBitsForAnyThreads(
        [&](Context& context) { return ComputeAll<float, float>(context, s.T, s.K, s.N); });
    test::ExpectSameBitsForAnyThreads(
        [&](Context& context) { return ComputeAll<bfloat16, bfloat16>(context, s.T, s.K, s.N); });
  }
}

// The weights' gradients of many tokens and few outputs, where a library that shares the work of
// one sum among its threads rounds in another order for every count of them.
TEST(GemmBits, WeightGradientsOfManyTokens) {
  for (const auto& [T, N, K] :
       {std::tuple<idx_t, idx_t, idx_t>{16384, 64, 512}, {4096, 256, 258}}) {
    SCOPED_TRACE(fmt::format("T {} N {} K {}", T, N, K));
    const std::vector<float> dy = RandomNormal(1, T * N), x = RandomNormal(2, T * K);
    test::ExpectSameBitsForAnyThreads([&, T = T, N = N, K = K](Context& context) {
      std::vector<float> dw(static_cast<std::size_t>(N * K), 0.0f);
      BackwardWeights(context, View<const float, 2>(dy.data(), {T, N}),
                      View<const float, 2>(x.data(), {T, K}), View<float, 2>(dw.data(), {N, K}));
      return dw;
    });
  }
}

TEST(GemmBits, SameFromAnyThreadOfTheProgram) {
  // A product that a fresh thread makes first is single-threaded like any other.
  std::vector<float> there, here;
  std::thread other([&] {
    Context context(2);
    there = ComputeAll<float, float>(context, 515, 131, 77);
  });
  other.join();
  Context context(2);
  here = ComputeAll<float, float>(context, 515, 131, 77);
  EXPECT_SAME_BITS(here, there);
}

TEST(Gemm, SecondCallMakesNothing) {
  Context context(2);
  ComputeAll<float, float>(context, 333, 77, 55);
  const idx_t made = ProductsMade();
  const std::size_t capacity = context.arena().capacity();
  ComputeAll<float, float>(context, 333, 77, 55);
  EXPECT_EQ(ProductsMade(), made);
  EXPECT_EQ(context.arena().capacity(), capacity);
}

TEST(GemmIsa, LibraryStaysBelowTheCap) {
  Context context(1);
  ComputeAll<float, float>(context, 16, 16, 16);
  // oneDNN's lowest is SSE4.
  EXPECT_LE(LibraryIsa(), std::max(ActiveIsa(), Isa::kSse4)) << IsaName(LibraryIsa());
  const std::string name = LastImplementation();
  EXPECT_NE(name, "none");
  if (ActiveIsa() < Isa::kAvx512) {
    EXPECT_EQ(name.find("avx512"), std::string::npos) << name;
  }
  EXPECT_EQ(name.find("ref"), std::string::npos) << name << ": a slow path";
  ComputeAll<float, float>(context, 128, 16, 16);
  const bool wide = ActiveIsa() >= Isa::kAvx512;
  if (wide ? IsAmd() : ActiveIsa() >= Isa::kSse4) {
    EXPECT_STREQ(LastImplementation(), kPackedName);
  } else {
    EXPECT_STRNE(LastImplementation(), kPackedName);
  }
}

// Chunks of columns and slabs of terms, as only operands of many megabytes have them by default.
// Every element as the scalar conversion has it; what lies between the rows stays.
TEST(Gemm, RoundAndWiden) {
  std::vector<float> x = test::RandomNormal(3, idx_t{700} * 37);
  x[5] = std::numeric_limits<float>::quiet_NaN();
  x[6] = std::numeric_limits<float>::infinity();
  x[7] = 0x1.01p0f;  // a tie
  x[8] = 0x1.03p0f;
  const std::array<idx_t, 2> shape = {700, 33}, stride = {37, 1};
  std::vector<bfloat16> y(x.size(), bfloat16{0x1234});
  std::vector<float> back(x.size(), 5.0f);
  Context context(3);
  Round(context, View<const float, 2>(x.data(), shape, stride), {y.data(), shape, stride});
  Widen(context, View<const bfloat16, 2>(y.data(), shape, stride), {back.data(), shape, stride});
  for (std::size_t i = 0; i < x.size(); ++i) {
    const bool inside = i % 37 < 33;
    ASSERT_EQ(y[i].bits, inside ? ToBfloat16(x[i]).bits : 0x1234) << i;
    if (i == 5) continue;
    ASSERT_EQ(back[i], inside ? ToFloat(y[i]) : 5.0f) << i;
  }
  EXPECT_TRUE(std::isnan(back[5]));
  EXPECT_THROW(Round(context, View<const float, 2>(x.data(), {2, 3}), {y.data(), {3, 2}}), Error);
}

TEST(GemmPacked, ChunksAndSlabs) {
  Context context(2);
  constexpr idx_t kRows = 45, kTerms = 700;
  for (const idx_t cols : {100, 112, 128, 1000, 3100}) {
    for (const idx_t most_packed : {1, 20000, 300000}) {
      SCOPED_TRACE(fmt::format("columns {} packed {}", cols, most_packed));
      const Padded<float> a(1, kRows, kTerms, 3), b(2, cols, kTerms, 1);
      const auto da = a.Dense(), db = b.Dense();
      const std::vector<float> bias = RandomNormal(3, cols);
      std::vector<double> magnitude;
      std::vector<double> expected =
          RefProduct(Ref(da, kRows, kTerms), Ref(db, cols, kTerms).Transposed(), &magnitude);
      std::vector<float> rows;
      for (idx_t r = 0; r < kRows; ++r) rows.insert(rows.end(), bias.begin(), bias.end());
      Accumulate(rows, expected, magnitude);
      PackedProduct product;
      product.rows = kRows;
      product.cols = cols;
      product.terms = kTerms;
      product.a = {a.memory.data(), DType::kF32, a.stride, true};
      product.b = {b.memory.data(), DType::kF32, b.stride, true};
      product.bias = bias.data();
      product.most_packed = most_packed;
      Padded<float> c(4, kRows, cols, 5);
      c.Fill(kNan);
      product.c = c.view();
      RunPackedProduct(context, product);
      EXPECT_LE(Excess(c.Dense(), expected, magnitude, kTerms + 1, false), 1.0);
      EXPECT_TRUE(c.GapsAreUntouched());
      Padded<bfloat16> narrow(4, kRows, cols, 5);
      narrow.Fill(kNan);
      product.c = narrow.view();
      RunPackedProduct(context, product);
      EXPECT_LE(Excess(narrow.Dense(), expected, magnitude, kTerms + 1, true), 1.0);
      EXPECT_TRUE(narrow.GapsAreUntouched());
    }
  }
}

TEST(GemmGrid, CoversAndDependsOnTheShapeAlone) {
  for (const idx_t T : {1, 7, 64, 500, 512, 513, 2048, 4096, 5000, 16384, 1 << 20}) {
    for (const idx_t n : {1, 64, 256, 258, 1024, 3072, 50265}) {
      const Grid grid = RowGrid(T, n, 256);
      EXPECT_GT(grid.last_rows(), 0);
      EXPECT_GT(grid.last_cols(), 0);
      EXPECT_LE(grid.last_rows(), grid.rows);
      EXPECT_LE(grid.last_cols(), grid.cols);
      EXPECT_EQ((grid.row_blocks() - 1) * grid.rows + grid.last_rows(), T);
      if (2.0 * static_cast<double>(T * n) * 256 > 64e6 && T >= 512) {
        EXPECT_GE(grid.tasks(), 4);
      }
    }
  }
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

TEST(GemmArguments, BadOnesNameBothValues) {
  Context context(1);
  Padded<float> x(1, 5, 7, 0), w(2, 6, 7, 0), y(3, 5, 6, 0), other(4, 4, 9, 0);
  Padded<bfloat16> w16(5, 6, 7, 0), y16(6, 5, 6, 0);
  const auto forward = [&](const ConstMatrix& a, const ConstMatrix& b, const Matrix& c) {
    return MessageOf([&] { Forward(context, a, b, nullptr, c); });
  };
  EXPECT_THAT(forward(other.view(), w.view(), y.view()), HasSubstr("x has 9 columns, w has 7"));
  EXPECT_THAT(forward(x.view(), w.view(), other.view()), HasSubstr("x has 5 rows, y has 4"));
  EXPECT_THAT(forward(x.view(), w.view().Rows(0, 4), y.view()),
              HasSubstr("w has 4 rows, y has 6 columns"));
  EXPECT_THAT(forward(x.view(), w16.view(), y.view()), HasSubstr("x is F32, w is BF16"));
  EXPECT_THAT(forward(x.view(), w.view(), y16.view()), HasSubstr("y is BF16, x is F32"));
  ConstMatrix overlapping = x.view();
  overlapping.stride = 3;
  EXPECT_THAT(forward(overlapping, w.view(), y.view()), HasSubstr("7 elements that lie 3 apart"));
  ConstMatrix integers = x.view();
  integers.dtype = DType::kI32;
  EXPECT_THAT(forward(integers, w.view(), y.view()), HasSubstr("I32"));
  ConstMatrix missing = x.view();
  missing.data = nullptr;
  EXPECT_THAT(forward(missing, w.view(), y.view()), HasSubstr("x has no data"));
  EXPECT_THAT(MessageOf([&] { BackwardData(context, other.view(), w.view(), x.view()); }),
              HasSubstr("dy has 9 columns, w has 6 rows"));
  EXPECT_THAT(MessageOf([&] { BackwardData(context, y.view(), w.view(), y.view()); }),
              HasSubstr("w has 7 columns, dx has 6"));
  EXPECT_THAT(MessageOf([&] { BackwardWeights(context, y.view(), other.view(), w.view()); }),
              HasSubstr("dy has 5 rows, x has 4"));
  EXPECT_THAT(MessageOf([&] { BackwardWeights(context, y.view(), x.view(), other.view()); }),
              HasSubstr("dy has 6 columns, dw has 4 rows"));
  EXPECT_THAT(MessageOf([&] { BackwardBias(context, y.view(), nullptr); }),
              HasSubstr("dbias has no data"));
}

}  // namespace
}  // namespace longspan::gemm
