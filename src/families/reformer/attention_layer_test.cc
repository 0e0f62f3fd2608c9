// An attention layer around a mechanism that only this file knows: a layer and its documents pass
// on key, setting and state, and read nothing of them.
#include "families/reformer/attention_layer.h"

#include <gtest/gtest.h>

#include <array>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "families/reformer/attention_kinds.h"
#include "families/reformer/reformer_test.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

// Every token gets the mean of its row's values, times a number that is drawn for the row.
class MeanMechanism final : public AttentionMechanism {
 public:
  // The setting of a call: all outputs are multiplied by it.
  struct Gain {
    float factor = 1.0f;
  };
  struct State final : MechanismState {
    std::vector<float> drawn;  // (B)

   private:
    std::size_t OwnBytes() const override { return drawn.size() * sizeof(float); }
  };

  // Three of them, more than any mechanism of the library has.
  idx_t Statistics() const override { return 3; }
  std::unique_ptr<MechanismState> NewState() const override { return std::make_unique<State>(); }

  void Forward(Context& /*context*/, const MechanismCall& call,
               const AnyAttentionTensors& tensors) const override {
    const auto& t = std::get<AttentionTensors>(tensors);
    const std::vector<float> factors = Factors(call, t.rows);
    EachRowHead(t, [&](idx_t b, idx_t h, float share) {
      const auto v = t.Input(2);
      for (idx_t d = 0; d < t.head_size; ++d) {
        float sum = 0.0f;
        for (idx_t i = 0; i < t.tokens; ++i) sum += v(b, h, i, d);
        for (idx_t i = 0; i < t.tokens; ++i) {
          t.Out()(b, h, i, d) = sum * share * factors[static_cast<std::size_t>(b)];
        }
      }
      for (idx_t i = 0; i < t.tokens; ++i) {
        for (idx_t s = 0; s < 3; ++s) t.statistics(s, b, h, i) = Mark(s, h, i);
      }
    });
  }

  void Backward(Context& /*context*/, const MechanismCall& call, const AnyAttentionTensors& tensors,
                const View<float, 2>& dprojected) const override {
    const auto& t = std::get<AttentionTensors>(tensors);
    const std::vector<float> factors = Factors(call, t.rows);
    EachRowHead(t, [&](idx_t b, idx_t h, float share) {
      for (idx_t i = 0; i < t.tokens; ++i) {
        for (idx_t s = 0; s < 3; ++s) EXPECT_EQ(t.statistics(s, b, h, i), Mark(s, h, i));
      }
      const auto dv = t.Part(dprojected, 2);
      for (idx_t d = 0; d < t.head_size; ++d) {
        float sum = 0.0f;
        for (idx_t i = 0; i < t.tokens; ++i) sum += t.DOut()(b, h, i, d);
        for (idx_t i = 0; i < t.tokens; ++i) {
          dv(b, h, i, d) += sum * share * factors[static_cast<std::size_t>(b)];
        }
      }
    });
  }

  double Pairs(idx_t tokens) const override { return static_cast<double>(tokens); }
  DecodingRule Decoding() const override { return {}; }

 private:
  static float Mark(idx_t s, idx_t h, idx_t i) {
    return static_cast<float>(1000 * s + 100 * h + i);
  }
  template <class Work>
  static void EachRowHead(const AttentionTensors& t, const Work& work) {
    for (idx_t b = 0; b < t.rows; ++b) {
      for (idx_t h = 0; h < t.heads; ++h) work(b, h, 1.0f / static_cast<float>(t.tokens));
    }
  }
  // Drawn in the forward, and read from the state in the backward pass.
  static std::vector<float> Factors(const MechanismCall& call, idx_t rows) {
    const auto* gain = std::any_cast<Gain>(&call.setting);
    auto* state = static_cast<State*>(call.state);
    std::vector<float> drawn;
    if (call.recomputes) {
      drawn = state->drawn;
    } else {
      Rng rng(call.key);
      for (idx_t b = 0; b < rows; ++b) drawn.push_back(1.0f + static_cast<float>(rng.Uniform()));
      if (state != nullptr) state->drawn = drawn;
    }
    for (float& factor : drawn) factor *= gain == nullptr ? 1.0f : gain->factor;
    return drawn;
  }
};

constexpr std::array<std::string_view, 3> kMeanProjections = {"query", "key", "value"};

// A layer of three heads of 48 channels, wide enough for groups, on 2 rows of 21 tokens.
class MeanLayer {
 public:
  static constexpr idx_t kRows = 2, kTokens = 21;

  MeanLayer()
      : layer_(
            Config(),
            {LayerKind::kLocal, kMeanProjections, false, &ReformerConfig::local_dropout, nullptr},
            "layer.", std::make_unique<MeanMechanism>(), parameters_),
        state_(layer_.mechanism().NewState()),
        call_{parameters_, nullptr, kRows, kTokens, {}} {
    parameters_.Allocate();
    parameters_.AllocateGradients();
    FillNormal(1, 0.3f, parameters_.Write().values().data, parameters_.values().size());
    x_ = test::RandomNormal(2, kRows * kTokens * Config().hidden_size);
    dy_ = test::RandomNormal(4, kRows * kTokens * Config().hidden_size);
    call_.key = 12;
    call_.state = state_.get();
  }

  static ReformerConfig Config() {
    ReformerConfig config = SmallConfig();
    config.head_size = 48;
    return config;
  }

  std::vector<float> Add() {
    y_.assign(x_.size(), 0.0f);
    layer_.Add(context_, call_, Matrix(x_), Matrix(y_));
    return y_;
  }
  // Returns the parameters' gradients and dx.
  std::vector<float> Reverse() {
    std::vector<float> dx(x_.size(), 0.0f);
    std::fill_n(parameters_.gradients().data, parameters_.gradients().size(), 0.0f);
    layer_.Reverse(context_, call_, Matrix(x_), Matrix(y_), Matrix(dy_), Matrix(dx));
    std::vector<float> all = Copied(parameters_.gradients());
    all.insert(all.end(), dx.begin(), dx.end());
    return all;
  }

  BranchCall& call() { return call_; }
  MechanismState& state() { return *state_; }
  std::size_t SavedBytes() const { return layer_.SavedBytes(call_); }
  const std::vector<float>& y() const { return y_; }
  std::vector<float>& x() { return x_; }
  const std::vector<float>& dy() const { return dy_; }

 private:
  View<float, 2> Matrix(std::vector<float>& values) const {
    return {values.data(), {kRows * kTokens, Config().hidden_size}};
  }

  Context context_{2};
  ParameterTable parameters_;
  AttentionLayer layer_;
  std::unique_ptr<MechanismState> state_;
  BranchCall call_;
  std::vector<float> x_, dy_, y_;
};

TEST(AnyMechanism, ItsStateLeadsTheWayBack) {
  MeanLayer layer;
  const std::vector<float> f = layer.Add();
  const std::vector<float> gradients = layer.Reverse();
  for (const float y : layer.y()) EXPECT_NEAR(y, 0.0f, 1e-5f);
  layer.Add();
  layer.call().key = 13;  // would draw other numbers
  EXPECT_SAME_BITS(Span(layer.Reverse()), Span(gradients));
  EXPECT_NE(layer.Add(), f);
}

TEST(AnyMechanism, SavedActivationsAndGroupsChangeNothing) {
  MeanLayer layer;
  const std::vector<float> f = layer.Add();
  const std::vector<float> gradients = layer.Reverse();
  for (const idx_t bytes_at_once : {idx_t{0}, idx_t{1} << 30}) {
    layer.call().all_heads_bytes = bytes_at_once;
    std::vector<std::byte> memory(layer.SavedBytes() + 64, std::byte{0xff});
    layer.call().saved = memory.data() + (64 - reinterpret_cast<std::size_t>(memory.data()) % 64);
    EXPECT_MATCHES(Span(layer.Add()), Span(f), (test::Tolerance{1e-5, 1e-6}));
    EXPECT_MATCHES(Span(layer.Reverse()), Span(gradients), (test::Tolerance{1e-4, 1e-5}));
    layer.call().saved = nullptr;
  }
}

TEST(AnyMechanism, ACallsSettingReachesIt) {
  MeanLayer layer;
  const std::vector<float> f = layer.Add();
  layer.call().setting = MeanMechanism::Gain{2.0f};  // exact in fp32
  std::vector<float> twice = f;
  for (float& y : twice) y *= 2.0f;
  EXPECT_SAME_BITS(Span(layer.Add()), Span(twice));
  layer.call().setting = std::string("of another mechanism");
  EXPECT_SAME_BITS(Span(layer.Add()), Span(f));
}

// dx against differences of sum(dy f(x)), which is smooth.
TEST(AnyMechanism, GradientsAreSlopes) {
  MeanLayer layer;
  layer.Add();
  const std::vector<float> gradients = layer.Reverse();
  const std::size_t begin = gradients.size() - layer.x().size();
  const auto loss = [&](std::size_t i, float step) {
    const float before = layer.x()[i];
    layer.x()[i] += step;
    const std::vector<float> f = layer.Add();
    layer.x()[i] = before;
    double sum = 0.0;
    for (std::size_t j = 0; j < f.size(); ++j) {
      sum += static_cast<double>(f[j]) * static_cast<double>(layer.dy()[j]);
    }
    return sum;
  };
  for (const std::size_t i : {std::size_t{0}, std::size_t{500}, layer.x().size() - 1}) {
    const double slope = (loss(i, 0.01f) - loss(i, -0.01f)) / 0.02;
    EXPECT_NEAR(slope, gradients[begin + i], 1e-2 * std::abs(slope) + 2e-3) << i;
  }
}

// Each document has a state of its own, and the key of the rows.
TEST(AnyMechanism, DocumentsHaveStates) {
  MeanLayer layer;
  layer.Add();
  EXPECT_EQ(layer.state().Bytes(), 2 * sizeof(float));
  const std::vector<idx_t> documents = {8, 13, 21};
  layer.call().documents = documents;
  const std::vector<float> f = layer.Add();
  EXPECT_EQ(layer.state().Bytes(), 5 * sizeof(float));
  const auto drawn = [&](idx_t d) {
    return static_cast<MeanMechanism::State&>(layer.state().ForDocument(d)).drawn;
  };
  ASSERT_EQ(drawn(0).size(), 1u);
  EXPECT_EQ(drawn(0), drawn(1));
  EXPECT_EQ(drawn(0), drawn(2));
  const std::vector<float> gradients = layer.Reverse();
  layer.Add();
  layer.call().key = 13;
  EXPECT_SAME_BITS(Span(layer.Reverse()), Span(gradients));

  // Other tokens of a row do not matter to a document.
  layer.call().key = 12;
  for (idx_t c = 0; c < MeanLayer::Config().hidden_size; ++c) {
    layer.x()[static_cast<std::size_t>(c)] += 1.0f + static_cast<float>(c);
  }
  const std::vector<float> other = layer.Add();
  const auto second = static_cast<std::ptrdiff_t>(8 * MeanLayer::Config().hidden_size);
  EXPECT_SAME_BITS(Span({other.begin() + second, other.end()}),
                   Span({f.begin() + second, f.end()}));
  EXPECT_NE(other, f);
}

}  // namespace
}  // namespace longspan
