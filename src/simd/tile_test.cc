#include <gtest/gtest.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/tile_test.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "longspan/types.h"
#include "simd/softmax-inl.h"
#include "simd/tile-inl.h"

#ifndef LONGSPAN_TILE_TEST_PROBLEM
#define LONGSPAN_TILE_TEST_PROBLEM
namespace longspan {
// c (m, n) = or += the sum over two terms of A B, with A's and B's rows k long.
struct TileProblem {
  idx_t m, n, k;
  bool transposed, accumulate;
  idx_t coming;    // rows of 20 floats to ask for on the way, or none
  const float* a;  // two terms, (m, k) or (k, m) each
  const float* b;  // two terms, (k, n) each
  float* c;        // (m, 64)
  float* scratch;  // 64-byte aligned, 2 * 64 * k
};

}  // namespace longspan
#endif

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

// See TileProblem.
inline void RunTile(const TileProblem& x) {
  float* panels[2] = {x.scratch, x.scratch + 64 * x.k};
  TileTerm terms[2];
  for (int t = 0; t < 2; ++t) {
    PackPanels(x.b + t * x.k * x.n, x.n, x.k, x.n, panels[t]);
    terms[t] = {x.a + t * x.m * x.k, panels[t], x.k};
  }
  const idx_t lda = x.transposed ? x.m : x.k;
  for (idx_t first = 0; first < x.n; first += kPanel) {
    const idx_t n = std::min(kPanel, x.n - first);
    for (idx_t r = 0; r < x.m; r += kTileRows) {
      const idx_t m = std::min(kTileRows, x.m - r);
      for (int t = 0; t < 2; ++t) {
        terms[t].a = x.a + t * x.m * x.k + (x.transposed ? r : r * x.k);
        terms[t].b = panels[t] + first * x.k;
      }
      RowPrefetcher coming;
      coming.Add(x.b, 1, x.coming, 20);  // nobody reads it: any address will do
      float* c = x.c + r * 64 + first;
      if (x.transposed) {
        TileMultiply<true>(m, n, terms, 2, lda, x.accumulate, c, 64, coming);
      } else {
        TileMultiply<false>(m, n, terms, 2, lda, x.accumulate, c, 64, coming);
      }
    }
  }
}

// back[r * columns + j] = element (r, j) read from the panels of factor * x^T.
inline void RunTranspose(const float* x, idx_t rows, idx_t columns, float factor, float* scratch,
                         float* back) {
  PackTransposedPanels(x, columns, rows, columns, Multiplied{factor}, scratch);
  for (idx_t r = 0; r < rows; ++r) {
    for (idx_t j = 0; j < columns; ++j) {
      back[r * columns + j] = scratch[(r / kPanel * columns + j) * kPanel + r % kPanel];
    }
  }
}

inline idx_t TransposedFloats(idx_t rows, idx_t columns) { return PanelFloats(columns, rows); }

// The row helpers on rows of n elements; returns a . b.
inline float RunRows(const float* a, const float* b, idx_t n, float* sum, float* product,
                     float* scaled) {
  AddRow(a, sum, n);
  MultiplyRow(a, product, n);
  ScaleRow(a, 3.0f, scaled, n);
  return DotRow(a, b, n);
}

inline void RunDotRows(const float* x, idx_t stride, idx_t rows, const float* b, idx_t n,
                       float* dots) {
  DotRows<F32Terms>(x, stride, rows, b, n, dots);
}

// Softmax of row[0 .. n) inside of a row of `size`; hidden where visible is 0. Returns the lse.
inline float RunSoftmax(float* row, const float* visible, idx_t n, idx_t size) {
  FillRow(row, n, size, kHiddenScore);
  HideRow(row, visible, size);
  const float max = MaxRow(row, size);
  const float sum = ExpRow(row, size, max);
  return max + std::log(sum);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <cmath>
#include <vector>

#include "base/isa.h"
#include "base/math.h"
#include "longspan/context.h"
#include "tests/support/random.h"

namespace longspan {
HWY_EXPORT(RunTile);
HWY_EXPORT(RunTranspose);
HWY_EXPORT(TransposedFloats);
HWY_EXPORT(RunRows);
HWY_EXPORT(RunDotRows);
HWY_EXPORT(RunSoftmax);
namespace {

using test::RandomNormal;

TEST(RowPrefetcher, HandsOutEveryLineOnce) {
  std::vector<float> memory(4096);
  const float* base = memory.data();
  const std::int32_t narrow[] = {7, 2};
  const idx_t wide[] = {5, 0, 3};
  RowPrefetcher coming;
  EXPECT_TRUE(coming.empty());
  coming.Add(base, 100, 2, 33);         // 3 lines each
  coming.Add(base, 100, 0, 33);         // no row
  coming.Add(narrow, base, 64, 2, 16);  // 1 line each
  coming.Add(wide, base, 128, 3, 17);   // 2 lines each
  std::vector<idx_t> expected;
  for (const idx_t row : {0, 100}) {
    for (const idx_t at : {0, 16, 32}) expected.push_back(row + at);
  }
  for (const idx_t row : {7, 2}) expected.push_back(row * 64);
  for (const idx_t row : {5, 0, 3}) {
    for (const idx_t at : {0, 16}) expected.push_back(row * 128 + at);
  }
  std::vector<idx_t> seen;
  RowPrefetcher::Lines lines;
  for (const idx_t most : {1, 3, 0, 4, 100}) {
    EXPECT_FALSE(coming.empty());
    const idx_t taken = coming.Take(most, lines);
    EXPECT_LE(taken, most);
    for (idx_t i = 0; i < taken; ++i) seen.push_back(lines[i] - base);
  }
  EXPECT_EQ(seen, expected);
  EXPECT_TRUE(coming.empty());
  EXPECT_EQ(coming.Take(5, lines), 0);
  coming.Clear();
  coming.Add(base, 100, 1, 20);
  EXPECT_EQ(coming.Take(1, lines), 1);  // in the middle of a row
  coming.Clear();
  coming.Add(base + 50, 100, 1, 20);
  ASSERT_EQ(coming.Take(5, lines), 2);
  EXPECT_EQ(lines[0], base + 50);
}

struct alignas(64) Scratch {
  float data[2 * 64 * 64];
};

TEST(Tile, EveryShapeAgainstPlainLoops) {
  const Context context(1);
  Scratch scratch;
  for (idx_t m = 1; m <= kMostTileRows + 1; ++m) {
    for (const idx_t n : {1, 3, 4, 7, 8, 9, 15, 16, 17, 33, 48, 63, 64}) {
      for (const idx_t k : {1, 2, 7, 20}) {
        for (const bool transposed : {false, true}) {
          const auto a = RandomNormal(1, 2 * m * k), b = RandomNormal(2, 2 * k * n);
          const auto before = RandomNormal(3, m * 64);
          for (const bool accumulate : {false, true}) {
            auto c = before;
            HWY_DYNAMIC_DISPATCH(RunTile)
            ({m, n, k, transposed, accumulate, m % 3, a.data(), b.data(), c.data(), scratch.data});
            for (idx_t i = 0; i < m; ++i) {
              for (idx_t j = 0; j < n; ++j) {
                const auto at = static_cast<std::size_t>(i * 64 + j);
                double want = accumulate ? before[at] : 0.0, size = std::abs(want);
                for (idx_t l = 0; l < 2 * k; ++l) {
                  const idx_t t = l / k, r = l % k;
                  const idx_t from = t * m * k + (transposed ? r * m + i : i * k + r);
                  const double term = static_cast<double>(a[static_cast<std::size_t>(from)]) *
                                      b[static_cast<std::size_t>((t * k + r) * n + j)];
                  want += term;
                  size += std::abs(term);
                }
                ASSERT_NEAR(c[at], want, static_cast<double>(2 * k + 1) * 0x1p-24 * size)
                    << m << "x" << n << "x" << k << (transposed ? " transposed" : "");
              }
            }
          }
        }
      }
    }
  }
}

TEST(Tile, TransposedPanels) {
  const Context context(1);
  Scratch scratch;
  for (const idx_t rows : {1, 3, 4, 5, 16, 17, 63, 64}) {
    for (const idx_t columns : {1, 2, 4, 7, 8, 33, 64}) {
      const auto x = RandomNormal(5, rows * columns);
      std::vector<float> back(x.size());
      const auto panels = static_cast<idx_t>(HWY_DYNAMIC_DISPATCH(TransposedFloats)(rows, columns));
      scratch.data[panels] = 7.0f;
      HWY_DYNAMIC_DISPATCH(RunTranspose)
      (x.data(), rows, columns, 0.5f, scratch.data, back.data());
      for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(back[i], 0.5f * x[i]);
      ASSERT_EQ(scratch.data[panels], 7.0f) << "written behind the panels";
    }
  }
}

TEST(Tile, RowsTouchNothingBeyondTheirEnd) {
  const Context context(1);
  for (idx_t n = 1; n <= 40; ++n) {
    const auto size = static_cast<std::size_t>(n);
    const auto a = RandomNormal(7, n), b = RandomNormal(8, n);
    std::vector<float> sum(size + 20, 2.0f), product = sum, scaled = sum;
    const float dot = HWY_DYNAMIC_DISPATCH(RunRows)(a.data(), b.data(), n, sum.data(),
                                                    product.data(), scaled.data());
    double want = 0.0, terms = 0.0;
    for (std::size_t i = 0; i < size; ++i) {
      want += static_cast<double>(a[i]) * b[i];
      terms += std::abs(static_cast<double>(a[i]) * b[i]);
      ASSERT_EQ(sum[i], 2.0f + a[i]);
      ASSERT_EQ(product[i], 2.0f * a[i]);
      ASSERT_EQ(scaled[i], 3.0f * a[i]);
    }
    ASSERT_NEAR(dot, want, static_cast<double>(n) * 0x1p-24 * terms);
    for (std::size_t i = size; i < size + 20; ++i) {
      ASSERT_EQ(sum[i] + product[i] + scaled[i], 6.0f);
    }
  }
}

TEST(Tile, DotsOfManyRows) {
  const Context context(1);
  for (const idx_t rows : {1, 3, 4, 12, 17}) {
    for (idx_t n = 1; n <= 40; ++n) {
      const idx_t stride = n + 3;
      const auto b = RandomNormal(11, n);
      auto x = RandomNormal(10, rows * stride);
      for (std::size_t i = 0; i < x.size(); ++i) {  // what lies between the rows is not read
        if (static_cast<idx_t>(i) % stride >= n) x[i] = std::nanf("");
      }
      std::vector<float> dots(static_cast<std::size_t>(RoundUp(rows, 4)) + 1, 5.0f);
      HWY_DYNAMIC_DISPATCH(RunDotRows)(x.data(), stride, rows, b.data(), n, dots.data());
      ASSERT_EQ(dots.back(), 5.0f) << "written behind the dots";
      for (idx_t r = 0; r < rows; ++r) {
        double want = 0.0, terms = 0.0;
        for (idx_t i = 0; i < n; ++i) {
          const double term = static_cast<double>(x[static_cast<std::size_t>(r * stride + i)]) *
                              b[static_cast<std::size_t>(i)];
          want += term;
          terms += std::abs(term);
        }
        ASSERT_NEAR(dots[static_cast<std::size_t>(r)], want,
                    static_cast<double>(n) * 0x1p-24 * terms);
      }
    }
  }
}

TEST(Softmax, HiddenEntriesWeighNothing) {
  const Context context(1);
  constexpr idx_t kSize = 48;
  for (idx_t n = 1; n <= kSize; ++n) {
    auto row = RandomNormal(9, kSize, 4.0f);
    std::vector<float> visible(kSize, 1.0f);
    if (n > 2) {
      visible[1] = 0.0f;
      row[1] = std::nanf("");
    }
    double sum = 0.0;
    std::vector<double> want(kSize, 0.0);
    float max = -INFINITY;
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
      if (visible[i] != 0.0f) max = std::max(max, row[i]);
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
      if (visible[i] == 0.0f) continue;
      want[i] = std::exp(static_cast<double>(row[i]) - max);
      sum += want[i];
    }
    const float lse = HWY_DYNAMIC_DISPATCH(RunSoftmax)(row.data(), visible.data(), n, kSize);
    EXPECT_NEAR(lse, max + std::log(sum), 4e-6);
    for (std::size_t i = 0; i < kSize; ++i) {
      if (want[i] == 0.0) {
        ASSERT_EQ(row[i], 0.0f) << n << " entry " << i;
      } else {
        ASSERT_NEAR(row[i], want[i], 8 * 0x1p-24 * want[i] + 2e-7 * want[i]);
      }
    }
  }
}

}  // namespace
}  // namespace longspan
#endif  // HWY_ONCE
