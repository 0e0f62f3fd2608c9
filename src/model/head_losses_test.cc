// The loss of sequence classes with weights and label smoothing: beside torch and the complex step.
#include "model/head_losses.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/support/files.h"
#include "tests/support/gradcheck.h"

namespace longspan {
namespace {

using nlohmann::json;
using test::Complex;

struct LossCase {
  idx_t rows = 0, classes = 0;
  std::vector<std::int32_t> labels;
  std::vector<float> logits, weights;
  float smoothing = 0.0f;

  SequenceTargets targets() const {
    return {ProblemType::kSingleLabel, labels, {}, weights, smoothing};
  }
  View<const float, 2> view() const { return {logits.data(), {rows, classes}}; }
};

LossCase CaseOf(const json& recorded) {
  LossCase c;
  c.labels = recorded["labels"].get<std::vector<std::int32_t>>();
  c.rows = static_cast<idx_t>(c.labels.size());
  c.classes = recorded["classes"];
  for (const json& row : recorded["logits"]) {
    for (const json& logit : row) c.logits.push_back(logit);
  }
  c.weights = recorded["weights"].get<std::vector<float>>();
  c.smoothing = recorded["smoothing"];
  return c;
}

json RecordedLosses() {
  return json::parse(test::GetFile(test::kRoot / "tests" / "metrics" / "losses.json"));
}

TEST(ClassLoss, EqualsTorch) {
  const json cases = RecordedLosses();
  ASSERT_EQ(cases.size(), 5u);
  for (const json& recorded : cases) {
    const LossCase c = CaseOf(recorded);
    CheckSequenceTargets(c.targets(), c.rows, c.classes);
    std::vector<float> gradient(c.logits.size(), 0.0f);
    const HeadLoss loss = SequenceLoss(c.targets(), std::nullopt, c.view(), gradient.data());
    EXPECT_NEAR(loss.mean, recorded["loss"].get<double>(), 1e-12);
    std::size_t i = 0;
    for (const json& row : recorded["gradient"]) {
      // The scale 1 / sum of weights and the result are rounded to fp32, once each.
      for (const json& value : row) {
        EXPECT_NEAR(gradient[i++], value.get<double>(), 2e-7);
      }
    }
    // Half of the sum's gradient, where a scale is given.
    std::vector<float> scaled(c.logits.size(), 0.0f);
    EXPECT_EQ(SequenceLoss(c.targets(), 0.5f, c.view(), scaled.data()).sum, loss.sum);
    const double weight = LossWeight(c.targets(), c.rows, c.classes);
    for (i = 0; i < scaled.size(); ++i) {
      EXPECT_NEAR(scaled[i], 0.5 * weight * static_cast<double>(gradient[i]), 2e-6);
    }
  }
}

TEST(ClassLoss, GradientIsThatOfTheComplexStep) {
  for (const json& recorded : RecordedLosses()) {
    const LossCase c = CaseOf(recorded);
    const auto weight = [&](idx_t k) {
      return c.weights.empty() ? 1.0 : static_cast<double>(c.weights[static_cast<std::size_t>(k)]);
    };
    const double smoothing = static_cast<double>(c.smoothing);
    for (idx_t b = 0; b < c.rows; ++b) {
      const idx_t label = c.labels[static_cast<std::size_t>(b)];
      if (label == kIgnoreLabel) continue;
      const auto plain = [&](std::span<const Complex> z) {
        Complex sum = 0.0, loss = 0.0;
        for (const Complex& logit : z) sum += std::exp(logit);
        for (idx_t k = 0; k < c.classes; ++k) {
          const Complex log_p = z[static_cast<std::size_t>(k)] - std::log(sum);
          loss -= smoothing / static_cast<double>(c.classes) * weight(k) * log_p;
          if (k == label) loss -= (1.0 - smoothing) * weight(k) * log_p;
        }
        return loss;
      };
      const float* const row = c.logits.data() + b * c.classes;
      std::vector<float> gradient(static_cast<std::size_t>(c.classes));
      SmoothedLoss({row, c.classes, 1}, label, c.weights, c.smoothing, 1.0f, gradient.data());
      const std::vector<double> inputs(row, row + c.classes);
      const std::vector<double> slopes(gradient.begin(), gradient.end());
      // The result is rounded to fp32: 2^-24 of values below 4.
      EXPECT_EQ(test::CheckGradient(plain, inputs, slopes, 2.4e-7), "");
    }
  }
}

TEST(ClassLoss, WithoutWeightsItIsThePlainOne) {
  const LossCase c = CaseOf(RecordedLosses()[0]);
  const std::vector<float> ones(static_cast<std::size_t>(c.classes), 1.0f);
  for (idx_t b = 0; b < c.rows; ++b) {
    const LogitRow row{c.logits.data() + b * c.classes, c.classes, 1};
    const idx_t label = c.labels[static_cast<std::size_t>(b)];
    EXPECT_NEAR(SmoothedLoss(row, label, ones, 0.0f, 1.0f, nullptr),
                SoftmaxLoss(row, label, 1.0f, nullptr), 1e-14);
  }
}

TEST(ClassLoss, RefusesWhatHasNoMeaning) {
  const std::vector<std::int32_t> labels = {0, 1};
  const std::vector<float> values(4, 0.0f), weights = {1.0f, 2.0f}, zero = {1.0f, 0.0f};
  const auto refused = [&](const SequenceTargets& targets, const char* says) {
    return test::Throws([&] { CheckSequenceTargets(targets, 2, 2); }, ErrorCode::kUsage, says);
  };
  EXPECT_TRUE(refused({ProblemType::kMultiLabel, {}, values, weights, 0.0f}, "class weights and"));
  EXPECT_TRUE(refused({ProblemType::kMultiLabel, {}, values, {}, 0.1f}, "label smoothing are for"));
  EXPECT_TRUE(refused({ProblemType::kSingleLabel, labels, {}, std::span(weights).first(1), 0.0f},
                      "1 class weights for 2 labels"));
  EXPECT_TRUE(
      refused({ProblemType::kSingleLabel, labels, {}, zero, 0.0f}, "class weight 0 is not"));
  EXPECT_TRUE(refused({ProblemType::kSingleLabel, labels, {}, {}, 1.0f}, "label smoothing 1 is"));
}

}  // namespace
}  // namespace longspan
