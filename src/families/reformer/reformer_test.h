// What the tests of the model share: a small config, random batches, and gradients against
// differences of the loss.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/rng.h"
#include "families/reformer/reformer.h"
#include "tests/support/random.h"

namespace longspan {

inline ReformerConfig SmallConfig() {
  ReformerConfig c;
  c.layers.assign(2, LayerKind::kLocal);
  c.vocab_size = 31;
  c.hidden_size = 24;
  c.heads = 3;
  c.head_size = 8;
  c.feed_forward_size = 40;
  c.activation = "gelu";
  c.is_decoder = true;
  c.max_positions = 256;
  c.axial_shape = {16, 16};
  c.axial_dims = {8, 16};
  c.local_chunk = 8;
  c.hidden_dropout = c.local_dropout = 0.0;
  c.initializer_range = 0.3;
  return c;
}

// Local and LSH layers in turn; two rounds; as many buckets as the length asks for.
inline ReformerConfig MixedConfig() {
  ReformerConfig c = SmallConfig();
  c.layers = {LayerKind::kLocal, LayerKind::kLsh, LayerKind::kLsh};
  c.lsh_chunk = 8;
  c.num_hashes = 2;
  c.lsh_dropout = 0.0;
  return c;
}

// A batch of random tokens that owns its memory.
struct RandomBatch {
  std::vector<std::int32_t> ids, targets;
  ReformerBatch batch;
  RandomBatch(idx_t rows, idx_t tokens, idx_t vocabulary, std::uint64_t seed) {
    Rng rng(seed);
    for (idx_t i = 0; i < rows * tokens; ++i) {
      ids.push_back(static_cast<std::int32_t>(rng.Below(vocabulary)));
      targets.push_back(static_cast<std::int32_t>(rng.Below(vocabulary)));
    }
    batch = {rows, tokens, ids, targets, {}};
  }
};

inline std::vector<float> Copied(const View<const float, 1>& view) {
  return {view.data, view.data + view.size()};
}

inline Reformer Initialised(const ReformerConfig& config) {
  Reformer model(config);
  model.Initialise(3);
  return model;
}

// Both streams behind the last layer.
inline std::vector<float> Encoded(Reformer& model, const ReformerBatch& batch, int threads = 2) {
  Context context(threads);
  const idx_t n = batch.rows * batch.tokens, channels = model.config().hidden_size;
  Tensor y1({n, channels}), y2({n, channels});
  model.Encode(context, batch, y1.view<2>(), y2.view<2>());
  std::vector<float> all(y1.data<float>(), y1.data<float>() + y1.size());
  all.insert(all.end(), y2.data<float>(), y2.data<float>() + y2.size());
  return all;
}

inline std::span<const float> Span(const std::vector<float>& values) { return values; }

// The slope of the loss along a direction in one tensor, by central differences, against the
// gradient's projection. The direction is half random, half the gradient itself: its projection on
// a random direction alone shrinks with the root of the tensor's size and drowns in rounding.
class SlopeCheck {
 public:
  // Directions for each tensor, the step halved every 8.
  static constexpr std::uint64_t kAttempts = 40;

  // The loss is the mean over `counted`; 0: over all tokens.
  SlopeCheck(const ReformerConfig& config, const StepDropout& dropout, const ReformerBatch& batch,
             idx_t counted = 0)
      : context_(2),
        model_(config),
        dropout_(dropout),
        batch_(batch),
        counted_(counted > 0 ? counted : batch.rows * batch.tokens) {
    model_.Initialise(5);
    model_.parameters().AllocateGradients();
    Loss();
    gradients_ = Copied(model_.parameters().gradients());
    buckets_ = Buckets();
  }

  void ExpectAll() {
    std::uint64_t seed = 100;
    for (const ParameterInfo& info : model_.parameters().list()) Expect(info, seed++);
  }

 private:
  double Loss() {
    const float scale = 1.0f / static_cast<float>(counted_);
    return model_.LossAndGradients(context_, batch_, scale, dropout_).sum * scale;
  }
  std::vector<std::uint16_t> Buckets() const {
    std::vector<std::uint16_t> all;
    for (std::size_t i = 0; i < model_.config().layers.size(); ++i) {
      const auto layer = model_.Buckets(i);
      all.insert(all.end(), layer.begin(), layer.end());
    }
    return all;
  }

  // One attempt with a step of length `step`: false when a token changed its bucket, where the loss
  // jumps.
  bool Try(const ParameterInfo& info, std::uint64_t seed, double step) {
    const auto size = static_cast<std::size_t>(info.size);
    const std::span<const float> g(gradients_.data() + info.offset, size);
    const auto random = test::RandomNormal(seed, info.size);
    const auto length = [](std::span<const float> v) {
      double squares = 0.0;
      for (const float x : v) squares += static_cast<double>(x) * static_cast<double>(x);
      return std::sqrt(squares);
    };
    const double g_length = length(g), random_length = length(random);
    const View<float, 1> weights = model_.parameters().Write().vector(info.name);
    const std::vector<float> before = Copied(weights);
    std::vector<float> direction(size);
    double projection = 0.0;
    for (std::size_t i = 0; i < size; ++i) {
      const double along = g_length > 0.0 ? static_cast<double>(g[i]) / g_length : 0.0;
      direction[i] = static_cast<float>(0.5 * (along + random[i] / random_length));
      projection += static_cast<double>(g[i]) * static_cast<double>(direction[i]);
    }
    bool smooth = true;
    const auto at = [&](double distance) {
      for (std::size_t i = 0; i < size; ++i) {
        weights(static_cast<idx_t>(i)) = before[i] + static_cast<float>(distance) * direction[i];
      }
      const double loss = Loss();
      smooth = smooth && Buckets() == buckets_;
      return loss;
    };
    const double slope = (at(step) - at(-step)) / (2.0 * step);
    std::copy(before.begin(), before.end(), weights.data);
    if (!smooth) return false;
    // fp32 losses leave about three digits of a slope.
    EXPECT_NEAR(slope, projection, 0.02 * g_length + 2e-4) << info.name;
    return true;
  }

  void Expect(const ParameterInfo& info, std::uint64_t seed) {
    bool done = false;
    for (std::uint64_t attempt = 0; attempt < kAttempts && !done; ++attempt) {
      done = Try(info, seed + 1000 * attempt, 0.02 / static_cast<double>(1u << attempt / 8));
    }
    EXPECT_TRUE(done) << info.name << ": some token changes its bucket in every direction";
  }

  Context context_;
  Reformer model_;
  StepDropout dropout_;
  ReformerBatch batch_;
  idx_t counted_;
  std::vector<float> gradients_;
  std::vector<std::uint16_t> buckets_;
};

inline void ExpectSlope(const ReformerConfig& config, const StepDropout& dropout, idx_t rows,
                        idx_t tokens, const KeyMask& mask = {}) {
  RandomBatch data(rows, tokens, config.vocab_size, 6);
  data.batch.roles = mask;
  SlopeCheck(config, dropout, data.batch).ExpectAll();
}

}  // namespace longspan
