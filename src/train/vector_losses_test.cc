// Losses of vectors: against the reference, their gradients against the complex step, the same bits
// for any number of threads.
#include "train/vector_losses.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random.h"
#include "train/vector_losses_ref.h"

namespace longspan {
namespace {

constexpr idx_t kWidth = 7;

// Five rows; rows 1 and 3 have two negatives and one. Row 4's positive has the words of row 0's
// positive, and one negative those of row 1's anchor.
VectorRows FiveRows() {
  VectorRows rows;
  rows.rows = 5;
  rows.negatives_of = {1, 1, 3};
  rows.scores = {0.9, -0.2, 0.4, 0.4, 0.1};
  rows.texts = {0, 1, 2, 3, 4, 5, 6, 7, 8, 5, 9, 1, 10};
  return rows;
}

Tensor RandomVectors(idx_t count, std::uint64_t seed) {
  Rng rng(seed);
  Tensor vectors({count, kWidth});
  for (idx_t i = 0; i < vectors.size(); ++i) {
    vectors.data<float>()[i] = static_cast<float>(rng.Below(2001) - 1000) / 500.0f;
  }
  return vectors;
}

// Every loss, with and without widths.
std::vector<VectorLossSpec> AllLosses() {
  std::vector<VectorLossSpec> specs;
  for (const EmbedLoss loss :
       {EmbedLoss::kInBatch, EmbedLoss::kTriplet, EmbedLoss::kCosine, EmbedLoss::kCosent}) {
    for (const bool cosine : {false, true}) {
      for (const bool widths : {false, true}) {
        VectorLossSpec spec;
        spec.loss = loss;
        spec.scale = 4.0;
        spec.margin = cosine ? 0.6 : 1.5;
        spec.cosine_distance = cosine;
        if (widths) spec.widths = {7, 4, 2};
        if (loss == EmbedLoss::kTriplet || !cosine) specs.push_back(spec);
      }
    }
  }
  return specs;
}

template <class T>
ref::Rows<T> AsRows(std::span<const T> flat) {
  ref::Rows<T> rows;
  for (std::size_t at = 0; at < flat.size(); at += kWidth) {
    rows.emplace_back(flat.begin() + static_cast<std::ptrdiff_t>(at),
                      flat.begin() + static_cast<std::ptrdiff_t>(at) + kWidth);
  }
  return rows;
}

TEST(VectorLosses, AreTheReferencesAndSoAreTheirGradients) {
  Context context(2);
  const VectorRows rows = FiveRows();
  const Tensor vectors = RandomVectors(rows.vectors(), 5);
  const std::vector<double> inputs(vectors.data<float>(), vectors.data<float>() + vectors.size());
  constexpr float kScale = 0.25f;
  for (const VectorLossSpec& spec : AllLosses()) {
    SCOPED_TRACE(std::string(EmbedLossName(spec.loss)));
    Tensor dvectors(vectors.shape());
    const VectorLoss loss =
        LossOfVectors(context, spec, rows, vectors.view<2>(), kScale, &dvectors);
    const double wanted = ref::LossOfVectors(spec, rows, AsRows(std::span(inputs)));
    EXPECT_GT(wanted, 0.0);
    EXPECT_NEAR(loss.sum, wanted, 1e-12 * (1.0 + wanted));
    EXPECT_EQ(loss.sum, LossOfVectors(context, spec, rows, vectors.view<2>()).sum);
    const std::vector<double> gradient(dvectors.data<float>(),
                                       dvectors.data<float>() + dvectors.size());
    const auto of = [&](std::span<const test::Complex> x) {
      return static_cast<double>(kScale) * ref::LossOfVectors(spec, rows, AsRows(x));
    };
    // One rounding to fp32 for each width.
    const double rounding = std::ldexp(1.0, -24) * static_cast<double>(spec.widths.size() + 1);
    EXPECT_EQ(test::CheckGradient(of, inputs, gradient, rounding), "");
    // A tenth of a per mille would be found.
    std::vector<double> bug = gradient;
    for (double& x : bug) x *= 1.0001;
    EXPECT_NE(test::CheckGradient(of, inputs, bug, 10.0 * rounding), "");
  }
}

TEST(VectorLosses, HaveTheSameBitsForAnyNumberOfThreads) {
  const VectorRows rows = FiveRows();
  const Tensor vectors = RandomVectors(rows.vectors(), 6);
  for (const VectorLossSpec& spec : AllLosses()) {
    std::vector<float> first;
    for (const int threads : {1, 2, 3, 7}) {
      Context context(threads);
      Tensor d(vectors.shape());
      LossOfVectors(context, spec, rows, vectors.view<2>(), 1.0f, &d);
      const std::vector<float> own(d.data<float>(), d.data<float>() + d.size());
      if (first.empty()) first = own;
      EXPECT_SAME_BITS(std::span<const float>(own), std::span<const float>(first));
    }
  }
}

// Two rows with one positive: without what is left out each would push away its own.
TEST(VectorLosses, ARepeatedPositiveIsNoNegative) {
  Context context(1);
  VectorRows rows;
  rows.rows = 2;
  rows.texts = {0, 1, 2, 2};
  Tensor vectors({4, 2});
  const float values[] = {1, 0, 1, 0.5f, 1, 0.2f, 1, 0.2f};
  std::copy(std::begin(values), std::end(values), vectors.data<float>());
  const VectorLoss alone = LossOfVectors(context, {}, rows, vectors.view<2>());
  EXPECT_EQ(alone.sum, 0.0);
  EXPECT_EQ(alone.correct, 2);
  rows.texts = {0, 1, 2, 3};
  EXPECT_NEAR(LossOfVectors(context, {}, rows, vectors.view<2>()).sum, 2.0 * std::log(2.0), 1e-12);
}

TEST(VectorLosses, AZeroVectorHasFiniteGradients) {
  Context context(1);
  const VectorRows rows = FiveRows();
  Tensor vectors = RandomVectors(rows.vectors(), 7);
  std::fill_n(vectors.data<float>(), kWidth, 0.0f);
  for (const VectorLossSpec& spec : AllLosses()) {
    Tensor d(vectors.shape());
    EXPECT_TRUE(std::isfinite(LossOfVectors(context, spec, rows, vectors.view<2>(), 1.0f, &d).sum));
    for (idx_t i = 0; i < d.size(); ++i) EXPECT_TRUE(std::isfinite(d.data<float>()[i]));
  }
}

}  // namespace
}  // namespace longspan
