// What tests of dense layers share: matrices with gaps, products in double, and how far fp32 sums
// may be off.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "base/bfloat16.h"
#include "gemm/gemm.h"
#include "gemm/gemm_ref.h"
#include "tests/support/random.h"
#include "tests/support/remember.h"

namespace longspan::gemm {

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A matrix whose rows lie `gap` elements further apart than they are long; the gaps hold NaN.
template <class T>
struct Padded {
  Padded(std::uint64_t seed, idx_t r, idx_t c, idx_t gap) : rows(r), cols(c), stride(c + gap) {
    const std::vector<float> values = test::RandomNormal(seed, rows * cols);
    memory.resize(static_cast<std::size_t>(rows * stride), From(kNan));
    for (idx_t i = 0; i < rows; ++i) {
      for (idx_t j = 0; j < cols; ++j) {
        memory[static_cast<std::size_t>(i * stride + j)] =
            From(values[static_cast<std::size_t>(i * cols + j)]);
      }
    }
  }
  static T From(float value) {
    if constexpr (std::is_same_v<T, float>) {
      return value;
    } else {
      return ToBfloat16(value);
    }
  }
  static float To(T value) {
    if constexpr (std::is_same_v<T, float>) {
      return value;
    } else {
      return ToFloat(value);
    }
  }
  View<T, 2> view() { return {memory.data(), {rows, cols}, {stride, 1}}; }
  View<const T, 2> view() const { return {memory.data(), {rows, cols}, {stride, 1}}; }
  void Fill(float value) {
    for (idx_t i = 0; i < rows; ++i) {
      for (idx_t j = 0; j < cols; ++j) view()(i, j) = From(value);
    }
  }
  // Without the gaps, as fp32.
  std::vector<float> Dense() const {
    std::vector<float> values;
    for (idx_t i = 0; i < rows; ++i) {
      for (idx_t j = 0; j < cols; ++j) {
        values.push_back(To(memory[static_cast<std::size_t>(i * stride + j)]));
      }
    }
    return values;
  }
  bool GapsAreUntouched() const {
    for (idx_t i = 0; i < rows; ++i) {
      for (idx_t j = cols; j < stride; ++j) {
        if (!std::isnan(To(memory[static_cast<std::size_t>(i * stride + j)]))) return false;
      }
    }
    return true;
  }

  idx_t rows, cols, stride;
  std::vector<T> memory;
};

inline RefMatrix<float> Ref(const std::vector<float>& values, idx_t rows, idx_t cols) {
  return {values.data(), rows, cols, cols, 1};
}

// Largest |actual - expected| in units of what a sum of k terms in fp32 may be off: 4 sqrt(k) u
// |a| |b| (Higham's bound for random data), plus the rounding of a stored bf16. At most 1 is right.
inline double Excess(const std::vector<float>& actual, const std::vector<double>& expected,
                     const std::vector<double>& magnitude, idx_t k, bool bf16_result) {
  EXPECT_EQ(actual.size(), expected.size());
  double worst = 0.0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    double allowed = 4.0 * std::sqrt(static_cast<double>(k)) * 0x1p-24 * magnitude[i] + 1e-37;
    if (bf16_result) allowed += 0x1p-8 * std::abs(expected[i]);
    const double off = std::abs(static_cast<double>(actual[i]) - expected[i]);
    worst = std::max(worst, std::isnan(off) ? 1e30 : off / allowed);
  }
  return worst;
}

struct Case {
  idx_t T, K, N, gap;
};

// expected += add, element by element.
inline void Accumulate(const std::vector<float>& add, std::vector<double>& expected,
                       std::vector<double>& magnitude) {
  for (std::size_t i = 0; i < add.size(); ++i) {
    expected[i] += static_cast<double>(add[i]);
    magnitude[i] += std::abs(static_cast<double>(add[i]));
  }
}

// What the functions give without a bias and without what they add to, in double. Each product has
// its magnitude: the same sum of absolute values.
struct Products {
  std::vector<double> y, y_size, dx, dx_size, dw, dw_size, dbias, dbias_size;
};

inline Products ReferenceProducts(const std::vector<float>& x, const std::vector<float>& w,
                                  const std::vector<float>& dy, const Case& size) {
  const auto [T, K, N, gap] = size;
  const auto lists =
      test::RememberLists(test::Key("gemm").Add(x).Add(w).Add(dy).Add(T).Add(K).Add(N),
                          [&, T = T, K = K, N = N]() -> std::vector<std::vector<double>> {
                            const auto rx = Ref(x, T, K), rw = Ref(w, N, K), rdy = Ref(dy, T, N);
                            const std::vector<float> ones(static_cast<std::size_t>(T), 1.0f);
                            std::vector<std::vector<double>> all(8);
                            all[0] = RefProduct(rx, rw.Transposed(), &all[1]);
                            all[2] = RefProduct(rdy, rw, &all[3]);
                            all[4] = RefProduct(rdy.Transposed(), rx, &all[5]);
                            all[6] = RefProduct(Ref(ones, 1, T), rdy, &all[7]);
                            return all;
                          });
  return {lists[0], lists[1], lists[2], lists[3], lists[4], lists[5], lists[6], lists[7]};
}

// In: the operands; Out: y and dx.
template <class In, class Out>
void CheckAll(Context& context, const Case& size) {
  constexpr bool kBf16Out = std::is_same_v<Out, bfloat16>;
  const auto [T, K, N, gap] = size;
  SCOPED_TRACE(fmt::format("T {} K {} N {} gap {}", T, K, N, gap));
  const Padded<In> x(1, T, K, gap), w(2, N, K, gap), dy(3, T, N, gap);
  const std::vector<float> bias = test::RandomNormal(4, N);
  const Products products = ReferenceProducts(x.Dense(), w.Dense(), dy.Dense(), size);
  for (const bool with_bias : {false, true}) {
    for (const Store store : {Store::kOverwrite, Store::kAccumulate}) {
      Padded<Out> y(5, T, N, gap);
      std::vector<double> expected = products.y, magnitude = products.y_size;
      if (store == Store::kAccumulate) {
        Accumulate(y.Dense(), expected, magnitude);
      } else {
        y.Fill(kNan);  // what was there must not matter
      }
      if (with_bias) {
        std::vector<float> rows;
        for (idx_t t = 0; t < T; ++t) rows.insert(rows.end(), bias.begin(), bias.end());
        Accumulate(rows, expected, magnitude);
      }
      Forward(context, x.view(), w.view(), with_bias ? bias.data() : nullptr, y.view(), store);
      EXPECT_LE(Excess(y.Dense(), expected, magnitude, K + 2, kBf16Out), 1.0)
          << "forward, bias " << with_bias << ", accumulate " << (store == Store::kAccumulate);
      EXPECT_TRUE(y.GapsAreUntouched());
    }
  }
  for (const Store store : {Store::kOverwrite, Store::kAccumulate}) {
    Padded<Out> dx(6, T, K, gap);
    std::vector<double> expected = products.dx, magnitude = products.dx_size;
    if (store == Store::kAccumulate) {
      Accumulate(dx.Dense(), expected, magnitude);
    } else {
      dx.Fill(kNan);
    }
    BackwardData(context, dy.view(), w.view(), dx.view(), store);
    EXPECT_LE(Excess(dx.Dense(), expected, magnitude, N + 1, kBf16Out), 1.0) << "gradient of x";
    EXPECT_TRUE(dx.GapsAreUntouched());
  }
  {
    Padded<float> dw(7, N, K, gap);
    std::vector<double> expected = products.dw, magnitude = products.dw_size;
    Accumulate(dw.Dense(), expected, magnitude);
    BackwardWeights(context, dy.view(), x.view(), dw.view());
    EXPECT_LE(Excess(dw.Dense(), expected, magnitude, T + 1, false), 1.0) << "gradient of w";
    EXPECT_TRUE(dw.GapsAreUntouched());
  }
  {
    std::vector<float> dbias = test::RandomNormal(8, N);
    std::vector<double> expected = products.dbias, magnitude = products.dbias_size;
    Accumulate(dbias, expected, magnitude);
    BackwardBias(context, dy.view(), dbias.data());
    EXPECT_LE(Excess(dbias, expected, magnitude, T + 1, false), 1.0) << "gradient of the bias";
  }
}

// Everything that the four functions compute for one size.
template <class In, class Out>
std::vector<float> ComputeAll(Context& context, idx_t T, idx_t K, idx_t N) {
  const Padded<In> x(1, T, K, 0), w(2, N, K, 0), dy(3, T, N, 0);
  const std::vector<float> bias = test::RandomNormal(4, N);
  Padded<Out> y(5, T, N, 0), dx(6, T, K, 0);
  Padded<float> dw(7, N, K, 0);
  std::vector<float> dbias(static_cast<std::size_t>(N), 0.0f);
  Forward(context, x.view(), w.view(), bias.data(), y.view());
  BackwardData(context, dy.view(), w.view(), dx.view(), Store::kAccumulate);
  BackwardWeights(context, dy.view(), x.view(), dw.view());
  BackwardBias(context, dy.view(), dbias.data());
  std::vector<float> all = y.Dense();
  for (const auto& part : {dx.Dense(), dw.Dense(), dbias}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

}  // namespace longspan::gemm
