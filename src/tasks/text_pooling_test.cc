// Pooling and scaling to length 1 on the way back.
#include "tasks/text_pooling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <utility>

#include "base/rng.h"
#include "tasks/vector_modules.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

constexpr idx_t kChannels = 3;

Tensor RandomRows(idx_t rows, Rng& rng) {
  Tensor tensor({rows, kChannels});
  for (idx_t i = 0; i < tensor.size(); ++i) {
    tensor.data<float>()[i] = static_cast<float>(rng.Below(2001) - 1000) / 256.0f;
  }
  return tensor;
}

// Every pooling is linear where it picks the same tokens, so a small change of one hidden state
// changes the vector by its gradient times the change, up to the vector's rounding.
TEST(TextPooling, GradientsSayHowTheVectorMoves) {
  Rng rng(3);
  const std::vector<RowTokens> windows = {{{1, 1, 1, 0}, {1, 0, 0, 0}}, {{0, 1, 1}, {0, 0, 0}}};
  for (const PoolingMode mode :
       {PoolingMode::kCls, PoolingMode::kMean, PoolingMode::kMax, PoolingMode::kMeanSqrtLen,
        PoolingMode::kWeightedMean, PoolingMode::kLastToken}) {
    Tensor hidden[2] = {RandomRows(4, rng), RandomRows(3, rng)};
    const Tensor dvector = RandomRows(1, rng);
    std::vector<std::int32_t> largest;
    const auto pooled = [&] {
      const View<const float, 2> states[] = {std::as_const(hidden[0]).view<2>(),
                                             std::as_const(hidden[1]).view<2>()};
      float vector[kChannels];
      PoolText(mode, windows, states, vector, &largest);
      double sum = 0.0;
      for (idx_t c = 0; c < kChannels; ++c) {
        sum += static_cast<double>(vector[c]) * static_cast<double>(dvector.data<float>()[c]);
      }
      return sum;
    };
    const double before = pooled();
    const std::vector<std::int32_t> chosen = largest;
    for (const std::size_t w : {0, 1}) {
      Tensor d(hidden[w].shape());
      PoolTextBackward(mode, windows, w, chosen, dvector.data<float>(), d.view<2>());
      for (idx_t i = 0; i < d.size(); ++i) {
        float& value = hidden[w].data<float>()[i];
        const float kept = value;
        constexpr float kChange = 0x1p-9f;  // less than two random numbers differ by
        value += kChange;
        EXPECT_NEAR((pooled() - before) / double{kChange}, double{d.data<float>()[i]}, 2e-3)
            << PoolingName(mode) << " window " << w << " element " << i;
        value = kept;
      }
    }
  }
}

TEST(TextPooling, ScalingToLengthOneHasItsGradient) {
  Context context(1);
  Rng rng(4);
  const Tensor vectors = RandomRows(2, rng), wanted = RandomRows(2, rng);
  Tensor d({2, kChannels});
  std::copy_n(wanted.data<float>(), wanted.size(), d.data<float>());
  const Tensor gradient = MakeNormalize()->Backward(vectors, std::move(d));
  const auto loss = [&](std::span<const test::Complex> x) {
    test::Complex sum = 0.0;
    for (std::size_t row = 0; row < 2; ++row) {
      test::Complex squares = 0.0, dot = 0.0;
      for (std::size_t c = 0; c < kChannels; ++c) {
        const std::size_t at = row * kChannels + c;
        squares += x[at] * x[at];
        dot += x[at] * static_cast<double>(wanted.data<float>()[at]);
      }
      sum += dot / std::sqrt(squares);
    }
    return sum;
  };
  const std::vector<double> inputs(vectors.data<float>(), vectors.data<float>() + vectors.size());
  const std::vector<double> found(gradient.data<float>(), gradient.data<float>() + gradient.size());
  EXPECT_EQ(test::CheckGradient(loss, inputs, found, std::ldexp(1.0, -24)), "");
}

}  // namespace
}  // namespace longspan
