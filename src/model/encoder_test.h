// What the tests of all encoders check of them: recomputation, gradients with dropout; and how they
// run a step.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "model/batch.h"
#include "model/encoder_step.h"
#include "model/head_losses.h"
#include "model/parameters.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"

namespace longspan {

inline std::vector<float> CopiedView(const View<const float, 1>& view) {
  return {view.data, view.data + view.size()};
}

inline double NormOf(std::span<const float> v) {
  double squares = 0.0;
  for (const float x : v) squares += static_cast<double>(x) * static_cast<double>(x);
  return std::sqrt(squares);
}

inline double DistanceOf(std::span<const float> a, std::span<const float> b) {
  std::vector<float> difference(a.begin(), a.end());
  for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= b[i];
  return NormOf(difference);
}

// Adds normal numbers to all weights: a mistake shows, for no bias and no norm stays as it began.
template <class Encoder>
void Perturb(Encoder& model, std::uint64_t seed, float deviation) {
  for (const ParameterInfo& info : model.parameters().list()) {
    const View<float, 1> values = model.parameters().Write().vector(info.name);
    const auto noise = test::RandomNormal(++seed, info.size, deviation);
    for (idx_t i = 0; i < info.size; ++i) values(i) += noise[static_cast<std::size_t>(i)];
  }
}

// Loss and all gradients of a step, one behind the other.
template <class Encoder>
std::vector<float> Step(Context& context, Encoder& model, const BatchView& batch,
                        const EncoderStep& step) {
  model.parameters().AllocateGradients();
  const View<float, 1> gradients = model.parameters().gradients();
  std::fill_n(gradients.data, gradients.size(), 0.0f);
  const HeadLoss loss = model.LossAndGradients(context, batch, step);
  std::vector<float> all = CopiedView(gradients);
  all.push_back(static_cast<float>(loss.mean));
  return all;
}

// What some of the layers, or all, compute again has the forward's bits, dropout included.
template <class Encoder>
void ExpectRecomputationKeepsBits(Encoder& model, std::size_t layers, const BatchView& batch) {
  Context context(2);
  const auto kept = Step(context, model, batch, {{true, 11}, {}, {}});
  std::vector<bool> all(layers, true), odd(layers), first(layers);
  for (std::size_t l = 1; l < layers; l += 2) odd[l] = true;
  first[0] = true;
  for (const std::vector<bool>& recompute : {all, odd, first}) {
    EXPECT_SAME_BITS(Step(context, model, batch, {{true, 11}, {}, recompute}), kept);
  }
}

// With dropout the loss is a smooth function of the weights as long as the key stays: its gradient
// along itself is the difference quotient. With another key it is another loss.
template <class Encoder>
void ExpectGradientIsTheSlope(Encoder& model, const BatchView& batch) {
  const EncoderStep step{{true, 5}, {}, {}}, other{{true, 6}, {}, {}};
  Context context(2);
  std::vector<float> g = Step(context, model, batch, step);
  g.pop_back();
  const double norm = NormOf(g), distance = 2e-3 / norm;
  const View<float, 1> values = model.parameters().Write().values();
  const std::vector<float> before = CopiedView(values);
  const auto at = [&](double sign) {
    for (std::size_t i = 0; i < g.size(); ++i) {
      values(static_cast<idx_t>(i)) =
          before[i] + static_cast<float>(sign * distance * static_cast<double>(g[i]));
    }
    return static_cast<double>(model.LossAndGradients(context, batch, step).mean);
  };
  const double slope = (at(1.0) - at(-1.0)) / (2.0 * distance);
  EXPECT_NEAR(slope / (norm * norm), 1.0, 5e-3);
  std::copy(before.begin(), before.end(), values.data);
  EXPECT_NE(model.LossAndGradients(context, batch, other).mean,
            model.LossAndGradients(context, batch, step).mean);
}

}  // namespace longspan
