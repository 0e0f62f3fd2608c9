// The product on the tile unit: through its twin everywhere, and the unit beside the twin where
// there is one.
#include "gemm/tile_product.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/dense_path.h"
#include "base/errors.h"
#include "base/isa.h"
#include "gemm/gemm_test.h"
#include "longspan/process.h"
#include "longspan/tensor.h"
#include "tests/support/compare.h"
#include "tests/support/runners.h"

namespace longspan::gemm {
namespace {

// Dense layers take the path while this lives.
class DenseLayersOn {
 public:
  explicit DenseLayersOn(DensePath path) : before_(ForcedDensePath()) { ForceDensePath(path); }
  ~DenseLayersOn() { ForceDensePath(before_); }
  DenseLayersOn(const DenseLayersOn&) = delete;
  DenseLayersOn& operator=(const DenseLayersOn&) = delete;

 private:
  std::optional<DensePath> before_;
};

// Forward, both gradients, with and without a bias, written and added: sizes around a tile and a
// block, terms that end inside of a step, more terms than a pass and than a slab, few rows and
// more.
const Case kTileCases[] = {
    {1, 1, 1, 0},      {1, 33, 31, 1},   {31, 32, 33, 0},  {32, 64, 32, 2},
    {33, 95, 65, 3},   {2, 545, 40, 0},  {40, 34, 600, 1}, {129, 40, 70, 1},
    {128, 65, 130, 0}, {530, 34, 33, 1}, {4130, 3, 2, 0},  {2, 4100, 3, 1},
};

TEST(GemmTiles, Fp32ResultsMatchDoubleReference) {
  const DenseLayersOn twin(DensePath::kTwin);
  Context context(2);
  for (const Case& size : kTileCases) {
    CheckAll<bfloat16, float>(context, size);
    EXPECT_STREQ(LastImplementation(), kTwinName);
  }
}

TEST(GemmTiles, Bf16ResultsMatchDoubleReference) {
  const DenseLayersOn twin(DensePath::kTwin);
  Context context(2);
  for (const Case& size : kTileCases) CheckAll<bfloat16, bfloat16>(context, size);
}

// Chunks of columns, as only large operands have them by default, for every way that operands may
// lie.
TEST(GemmTiles, ChunksOfOperandsThatLieEitherWay) {
  Context context(2);
  constexpr idx_t kRows = 40, kTerms = 560;
  for (const bool a_along : {false, true}) {
    for (const bool b_along : {false, true}) {
      for (const idx_t most_packed : {1, 20000}) {
        const idx_t cols = 75;
        SCOPED_TRACE(fmt::format("{} {} packed {}", a_along, b_along, most_packed));
        const Padded<bfloat16> a(1, a_along ? kRows : kTerms, a_along ? kTerms : kRows, 3);
        const Padded<bfloat16> b(2, b_along ? cols : kTerms, b_along ? kTerms : cols, 1);
        const auto da = a.Dense(), db = b.Dense();
        const auto ra = Ref(da, a.rows, a.cols), rb = Ref(db, b.rows, b.cols);
        const std::vector<float> bias = test::RandomNormal(3, cols);
        std::vector<double> magnitude;
        std::vector<double> expected =
            RefProduct(a_along ? ra : ra.Transposed(), b_along ? rb.Transposed() : rb, &magnitude);
        std::vector<float> rows;
        for (idx_t r = 0; r < kRows; ++r) rows.insert(rows.end(), bias.begin(), bias.end());
        Accumulate(rows, expected, magnitude);
        PackedProduct product;
        product.rows = kRows;
        product.cols = cols;
        product.terms = kTerms;
        product.a = {a.memory.data(), DType::kBF16, a.stride, a_along};
        product.b = {b.memory.data(), DType::kBF16, b.stride, b_along};
        product.bias = bias.data();
        product.most_packed = most_packed;
        Padded<float> c(4, kRows, cols, 5);
        c.Fill(kNan);
        product.c = c.view();
        RunTileProduct(context, product, true);
        EXPECT_LE(Excess(c.Dense(), expected, magnitude, kTerms + 1, false), 1.0);
        EXPECT_TRUE(c.GapsAreUntouched());
        Padded<bfloat16> narrow(4, kRows, cols, 5);
        narrow.Fill(kNan);
        product.c = narrow.view();
        RunTileProduct(context, product, true);
        EXPECT_LE(Excess(narrow.Dense(), expected, magnitude, kTerms + 1, true), 1.0);
        EXPECT_TRUE(narrow.GapsAreUntouched());
      }
    }
  }
}

// A step that is lost is no rounding, not even of bf16.
TEST(GemmTiles, ToleranceNoticesAMissingStep) {
  const idx_t rows = 40, terms = 96, cols = 50;
  const std::vector<float> a = test::RandomNormal(1, rows * terms);
  const std::vector<float> b = test::RandomNormal(2, terms * cols);
  std::vector<double> magnitude;
  const auto expected = RefProduct(Ref(a, rows, terms), Ref(b, terms, cols), &magnitude);
  const RefMatrix<float> a_short{a.data(), rows, 64, terms, 1},
      b_short{b.data(), 64, cols, cols, 1};
  const auto wrong = RefProduct(a_short, b_short);
  EXPECT_GT(Excess({wrong.begin(), wrong.end()}, expected, magnitude, terms, true), 10.0);
}

TEST(GemmTiles, SameBitsForAnyThreads) {
  const DenseLayersOn twin(DensePath::kTwin);
  test::ExpectSameBitsForAnyThreads(
      [](Context& context) { return ComputeAll<bfloat16, bfloat16>(context, 530, 40, 70); });
  test::ExpectSameBitsForAnyThreads(
      [](Context& context) { return ComputeAll<bfloat16, float>(context, 30, 40, 300); });
}

// A text's numbers do not depend on the texts beside it: few rows are multiplied as the transpose.
TEST(GemmTiles, ARowHasTheSameBitsWhateverStandsBesideIt) {
  const DenseLayersOn twin(DensePath::kTwin);
  Context context(2);
  const idx_t T = 140, K = 75, N = 150;
  const Padded<bfloat16> x(1, T, K, 3), w(2, N, K, 1);
  const std::vector<float> bias = test::RandomNormal(3, N);
  Padded<float> together(4, T, N, 2);
  Forward(context, x.view(), w.view(), bias.data(), together.view());
  for (const auto& [begin, rows] : {std::pair<idx_t, idx_t>{0, 1}, {7, 33}, {13, 127}}) {
    Padded<float> part(5, rows, N, 0), want(6, rows, N, 0);
    for (idx_t i = 0; i < rows; ++i) {
      for (idx_t j = 0; j < N; ++j) want.view()(i, j) = together.view()(begin + i, j);
    }
    Forward(context, x.view().Rows(begin, rows), w.view(), bias.data(), part.view());
    EXPECT_SAME_BITS(part.Dense(), want.Dense());
  }
}

// Rows that begin with a line of the cache are read as they lie, others are ordered.
TEST(GemmTiles, RowsAsTheyLieGiveTheBitsOfPackedOnes) {
  const DenseLayersOn twin(DensePath::kTwin);
  Context context(2);
  const idx_t T = 170, K = 544, N = 40, stride = K + 32;
  const Padded<bfloat16> x(1, T, K, 0), w(2, N, K, 0);
  Tensor memory({T * stride + 1}, DType::kBF16);
  std::vector<std::vector<float>> results;
  for (const idx_t offset : {0, 1}) {
    const View<bfloat16, 2> rows(memory.data<bfloat16>() + offset, {T, K}, {stride, 1});
    for (idx_t i = 0; i < T; ++i) std::copy_n(&x.view()(i, 0), K, &rows(i, 0));
    Padded<float> y(3, T, N, 0);
    Forward(context, rows, w.view(), nullptr, y.view());
    results.push_back(y.Dense());
  }
  EXPECT_SAME_BITS(results[0], results[1]);
  std::vector<double> magnitude;
  const auto dx = x.Dense(), dw = w.Dense();
  const auto expected = RefProduct(Ref(dx, T, K), Ref(dw, N, K).Transposed(), &magnitude);
  EXPECT_LE(Excess(results[0], expected, magnitude, K, false), 1.0);
}

TEST(GemmTiles, TheStrideOfASingleRowSaysNothing) {
  const DenseLayersOn twin(DensePath::kTwin);
  Context context(2);
  const idx_t N = 64, K = 70;
  Tensor memory({N}, DType::kBF16);  // aligned, so it might be read as it lies
  const Padded<bfloat16> dy(1, 1, N, 0), w(2, N, K, 0);
  std::copy_n(dy.memory.data(), N, memory.data<bfloat16>());
  std::vector<std::vector<float>> results;
  for (const idx_t stride : {N, idx_t{0}}) {
    ConstMatrix row = dy.view();
    row.data = memory.data<bfloat16>();
    row.stride = stride;
    Padded<float> dx(3, 1, K, 0);
    Matrix to = dx.view();
    to.stride = stride == 0 ? 0 : to.stride;
    BackwardData(context, row, w.view(), to);
    results.push_back(dx.Dense());
  }
  EXPECT_SAME_BITS(results[0], results[1]);
}

TEST(GemmTiles, NanStaysInItsRow) {
  const DenseLayersOn twin(DensePath::kTwin);
  Context context(2);
  for (const idx_t T : {40, 130}) {
    Padded<bfloat16> x(1, T, 24, 0);
    const Padded<bfloat16> w(2, 33, 24, 0);
    x.view()(7, 3) = ToBfloat16(kNan);
    Padded<float> y(3, T, 33, 0);
    Forward(context, x.view(), w.view(), nullptr, y.view());
    for (idx_t t = 0; t < T; ++t) {
      for (idx_t n = 0; n < 33; ++n) EXPECT_EQ(std::isnan(y.view()(t, n)), t == 7) << t << ' ' << n;
    }
  }
}

TEST(GemmTiles, SecondCallBooksNothing) {
  const DenseLayersOn twin(DensePath::kTwin);
  Context context(2);
  ComputeAll<bfloat16, float>(context, 333, 77, 55);
  const std::size_t capacity = context.arena().capacity();
  ComputeAll<bfloat16, float>(context, 333, 77, 55);
  EXPECT_EQ(context.arena().capacity(), capacity);
}

TEST(GemmTiles, TheUnitGivesTheTwinsBits) {
  if (ActiveIsa() < Isa::kAmx || !PermitTiles()) GTEST_SKIP() << "this machine has no tile unit";
  Context context(2);
  for (const auto& [T, K, N] : {std::array<idx_t, 3>{1, 33, 40}, {37, 600, 70}, {1100, 96, 65}}) {
    std::vector<std::vector<float>> results;
    for (const DensePath path : {DensePath::kTiles, DensePath::kTwin}) {
      const DenseLayersOn on(path);
      results.push_back(ComputeAll<bfloat16, float>(context, T, K, N));
      for (const float x : ComputeAll<bfloat16, bfloat16>(context, T, K, N)) {
        results.back().push_back(x);
      }
      EXPECT_STREQ(LastImplementation(), path == DensePath::kTwin ? kTwinName : kTilesName);
    }
    EXPECT_SAME_BITS(results[0], results[1]);
  }
}

TEST(GemmTiles, PathsThatCannotRunAreRefused) {
  const DenseLayersOn twin(DensePath::kTwin);
  EXPECT_EQ(KernelDenseBf16(), "tiles_twin");
  const auto message = [](DensePath path) -> std::string {
    try {
      ForceDensePath(path);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      return error.what();
    }
    return "";
  };
  if (ActiveIsa() < Isa::kAmx) {
    EXPECT_THAT(message(DensePath::kTiles), testing::HasSubstr("'tiles' needs amx"));
  }
  if (ActiveIsa() < Isa::kAvx512Bf16) {
    EXPECT_THAT(message(DensePath::kLibrary), testing::HasSubstr("needs avx512_bf16"));
  }
  EXPECT_EQ(ActiveDensePath(), DensePath::kTwin);
}

// ---- fp32 from three parts ----------------------------------------------------------------------

// Products of fp32 are made of bf16 parts while this lives.
class SplitOn {
 public:
  explicit SplitOn(DensePath path) : on_(path) { SplitFp32(true); }
  ~SplitOn() { SplitFp32(false); }
  SplitOn(const SplitOn&) = delete;
  SplitOn& operator=(const SplitOn&) = delete;

 private:
  DenseLayersOn on_;
};

TEST(GemmSplit, MatchesDoubleReference) {
  const SplitOn twin(DensePath::kTwin);
  Context context(2);
  for (const Case& size :
       {Case{1, 1, 1, 0}, {9, 33, 31, 1}, {33, 65, 40, 2}, {130, 180, 34, 0}, {1350, 3, 2, 0}}) {
    CheckAll<float, float>(context, size);
    EXPECT_STREQ(LastImplementation(), kSplitName);
  }
}

// sqrt(mean (y - expected)^2 / mean expected^2)
double RelativeError(const std::vector<float>& y, const std::vector<double>& expected) {
  double off = 0.0, all = 0.0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    off += std::pow(static_cast<double>(y[i]) - expected[i], 2);
    all += std::pow(expected[i], 2);
  }
  return std::sqrt(off / all);
}

TEST(GemmSplit, ErrorIsBelowThatOfFp32) {
  const idx_t T = 40, K = 768, N = 48;
  const Padded<float> x(1, T, K, 0), w(2, N, K, 0);
  Padded<float> y(3, T, N, 0), plain(4, T, N, 0);
  Context context(2);
  {
    const SplitOn twin(DensePath::kTwin);
    Forward(context, x.view(), w.view(), nullptr, y.view());
    EXPECT_STREQ(LastImplementation(), kSplitName);
  }
  for (idx_t t = 0; t < T; ++t) {
    for (idx_t n = 0; n < N; ++n) {
      float sum = 0.0f;
      for (idx_t k = 0; k < K; ++k) sum = std::fma(x.view()(t, k), w.view()(n, k), sum);
      plain.view()(t, n) = sum;
    }
  }
  const auto expected = RefProduct(Ref(x.memory, T, K), Ref(w.memory, N, K).Transposed());
  const double split = RelativeError(y.Dense(), expected);
  EXPECT_LT(split, 0.6 * RelativeError(plain.Dense(), expected));
  EXPECT_LT(split, 0x1p-22);
  EXPECT_GT(split, 0.0);
}

// The smallest and the largest numbers that fit, where no part and no product may be lost.
TEST(GemmSplit, NumbersOfEverySizeThatFits) {
  const SplitOn twin(DensePath::kTwin);
  Context context(1);
  const idx_t T = 12, K = 70, N = 20;
  for (const float scale : {0x1p-50f, 0x1p49f}) {
    Padded<float> x(1, T, K, 0), w(2, N, K, 0);
    for (Padded<float>* matrix : {&x, &w}) {
      for (float& value : matrix->memory) {
        const float part = std::abs(value) - std::floor(std::abs(value));
        value = std::copysign((1.0f + part) * scale, value);
      }
    }
    x.view()(3, 5) = 0.0f;
    w.view()(4, 6) = -0.0f;
    Padded<float> y(3, T, N, 0);
    Forward(context, x.view(), w.view(), nullptr, y.view());
    EXPECT_STREQ(LastImplementation(), kSplitName);
    std::vector<double> magnitude;
    const auto expected =
        RefProduct(Ref(x.memory, T, K), Ref(w.memory, N, K).Transposed(), &magnitude);
    EXPECT_LE(Excess(y.Dense(), expected, magnitude, K, false), 1.0);
  }
}

// Infinities, NaN, subnormal numbers and what is near: the bits of the product of fp32.
TEST(GemmSplit, OtherNumbersTakeFp32) {
  Context context(2);
  const idx_t T = 12, K = 40, N = 20;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float number : {kInfinity, -kInfinity, kNan, 1e-40f, -0x1.fffffep-51f, 0x1.000002p50f,
                             std::numeric_limits<float>::max()}) {
    for (const bool in_x : {false, true}) {
      SCOPED_TRACE(fmt::format("{} in {}", number, in_x ? "x" : "w"));
      Padded<float> x(1, T, K, 0), w(2, N, K, 0);
      (in_x ? x : w).view()(7, 33) = number;
      std::vector<std::vector<float>> results;
      for (const bool split : {false, true}) {
        const SplitOn twin(DensePath::kTwin);
        SplitFp32(split);
        Padded<float> y(3, T, N, 0);
        Forward(context, x.view(), w.view(), nullptr, y.view(), Store::kAccumulate);
        EXPECT_STRNE(LastImplementation(), kSplitName);
        results.push_back(y.Dense());
      }
      for (std::size_t i = 0; i < results[0].size(); ++i) {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(results[0][i]),
                  std::bit_cast<std::uint32_t>(results[1][i]));
      }
    }
  }
}

TEST(GemmSplit, SameBitsForAnyThreads) {
  const SplitOn twin(DensePath::kTwin);
  test::ExpectSameBitsForAnyThreads(
      [](Context& context) { return ComputeAll<float, float>(context, 530, 33, 40); });
}

TEST(GemmSplit, TheUnitGivesTheTwinsBits) {
  if (ActiveIsa() < Isa::kAmx || !PermitTiles()) GTEST_SKIP() << "this machine has no tile unit";
  Context context(2);
  std::vector<std::vector<float>> results;
  for (const DensePath path : {DensePath::kTiles, DensePath::kTwin}) {
    const SplitOn on(path);
    results.push_back(ComputeAll<float, float>(context, 37, 200, 70));
    EXPECT_STREQ(LastImplementation(), kSplitName);
  }
  EXPECT_SAME_BITS(results[0], results[1]);
}

}  // namespace
}  // namespace longspan::gemm
