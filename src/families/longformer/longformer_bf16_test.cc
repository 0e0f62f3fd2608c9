// Longformers that compute in bf16: against a plain implementation in double, with the error that a
// framework's bf16 makes on the same inputs as the measure; and against themselves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <map>
#include <tuple>

#include "base/bfloat16.h"
#include "families/longformer/longformer_maps.h"
#include "families/longformer/longformer_ref.h"
#include "families/longformer/longformer_test.h"
#include "longspan/error.h"
#include "ops/adamw/adamw.h"
#include "tests/support/bf16_attention.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::Complex;

constexpr double kComplexStep = 1e-100;  // of derivatives by complex step

// To bf16; of a complex step the derivative too.
struct ToBf16 {
  float operator()(float v) const { return ToFloat(ToBfloat16(v)); }
  Complex operator()(Complex v) const {
    const auto round = [this](double x) {
      return static_cast<double>((*this)(static_cast<float>(x)));
    };
    return {round(v.real()), kComplexStep * round(v.imag() / kComplexStep)};
  }
};

// A model whose biases and norms are away from where they start, computing in bf16.
struct Bf16Problem {
  LongformerConfig config;
  Longformer model;
  LongformerData data;

  Bf16Problem(HeadKind head, std::uint64_t seed)
      : config(RandomLongformer(head, seed)),
        model(config),
        data(config, head == HeadKind::kChoice ? 2 : 1 + static_cast<idx_t>(seed % 2),
             15 + 2 * static_cast<idx_t>(seed % 8), seed) {
    model.Initialise(seed);
    Perturb(model, seed, 0.1f);
    model.ComputeIn(DType::kBF16);
  }
  idx_t rows() const { return data.batch.rows * data.batch.tokens; }
};

// ---- outputs ------------------------------------------------------------------------------------

// Values of many problems, one behind the other: a small one's error is luck.
struct Compared {
  std::vector<float> actual, naive;
  std::vector<double> expected;

  template <class Part, class To>
  static void Append(const Part& part, To* to) {
    to->insert(to->end(), part.begin(), part.end());
  }
  test::Tolerance tolerance() const { return test::DerivedTolerance(naive, expected, 2); }
};

struct Bf16OutputCheck {
  Compared hidden, logits;

  void Add(Bf16Problem& problem) {
    const BatchView& batch = problem.data.batch;
    auto oracle = ReferenceOf<double, ref::Exact>(problem.model);
    auto naive = ReferenceOf<float, ToBf16>(problem.model);
    const auto expected = oracle.HiddenStates(batch);
    const auto naive_states = naive.HiddenStates(batch);
    test::ForEachBf16Path([&] {
      Context context(2);
      Tensor last({problem.rows(), problem.config.hidden_size});
      std::vector<Tensor> states;
      problem.model.Encode(context, batch, last.view<2>(), {&states, nullptr});
      ASSERT_EQ(states.size(), expected.size());
      for (std::size_t i = 0; i < states.size(); ++i) {
        Compared::Append(Values(states[i]), &hidden.actual);
        Compared::Append(naive_states[i], &hidden.naive);
        Compared::Append(expected[i], &hidden.expected);
      }
      if (problem.config.head == HeadKind::kNone) return;
      Compared::Append(Values(problem.model.Logits(context, batch, last.view<2>())),
                       &logits.actual);
      Compared::Append(naive.Logits(batch, naive_states.back()), &logits.naive);
      Compared::Append(oracle.Logits(batch, expected.back()), &logits.expected);
    });
  }
  void ExpectAll() const {
    EXPECT_MATCHES(hidden.actual, hidden.expected, hidden.tolerance());
    if (logits.actual.empty()) return;
    EXPECT_MATCHES(logits.actual, logits.expected, logits.tolerance());
  }
  // The largest error of this model's last hidden states, over the tolerance.
  double Excess(Longformer& wrong, const Bf16Problem& problem) const {
    auto oracle = ReferenceOf<double, ref::Exact>(problem.model);
    Context context(1);
    Tensor last({problem.rows(), problem.config.hidden_size});
    wrong.Encode(context, problem.data.batch, last.view<2>());
    const auto difference = test::Compare(
        Values(last), oracle.HiddenStates(problem.data.batch).back(), hidden.tolerance());
    return difference.max_abs / hidden.tolerance().max_abs;
  }
};

class LongformerBf16Test : public testing::TestWithParam<HeadKind> {};

TEST_P(LongformerBf16Test, OutputsWithinTwiceTheNaiveError) {
  Bf16OutputCheck check;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    Bf16Problem problem(GetParam(), seed);
    check.Add(problem);
  }
  check.ExpectAll();
}

TEST(LongformerBf16, WrongModelsAreFound) {
  Bf16Problem problem(HeadKind::kToken, 3);
  Bf16OutputCheck check;
  check.Add(problem);
  EXPECT_LE(check.Excess(problem.model, problem), 1.0);
  for (const char* name : {"attention.self.value.bias", "attention.output.LayerNorm.bias",
                           "intermediate.dense.weight", "output.dense.weight"}) {
    Bf16Problem wrong(HeadKind::kToken, 3);
    const View<float, 1> values =
        wrong.model.parameters().Write().vector(std::string("longformer.encoder.layer.1.") + name);
    std::fill_n(values.data, values.size(), 1.0f);
    EXPECT_GT(check.Excess(wrong.model, problem), 10.0) << name;
  }
}

// ---- gradients ----------------------------------------------------------------------------------

template <class Reference>
double Derivative(Reference& reference, const Bf16Problem& problem,
                  const std::vector<float>& cotangent) {
  if (problem.config.head != HeadKind::kNone) {
    return reference.Loss(problem.data.batch).imag() / kComplexStep;
  }
  const auto hidden = reference.HiddenStates(problem.data.batch).back();
  Complex sum(0);
  for (std::size_t i = 0; i < hidden.size(); ++i) {
    sum += hidden[i] * static_cast<double>(cotangent[i]);
  }
  return sum.imag() / kComplexStep;
}

// Errors of gradients along directions, as parts of the tensor's gradient (or of a thousandth of
// the largest, where that is more).
struct DirectionErrors {
  double squares = 0.0, largest = 0.0;
  int count = 0;
  void Add(double error) {
    squares += error * error;
    largest = std::max(largest, std::abs(error));
    ++count;
  }
  double rms() const { return std::sqrt(squares / count); }
};

std::vector<float> GradientsOf(Context& context, Bf16Problem& problem,
                               const std::vector<float>& cotangent) {
  ParameterTable& table = problem.model.parameters();
  table.AllocateGradients();
  std::fill_n(table.gradients().data, table.gradients().size(), 0.0f);
  if (problem.config.head == HeadKind::kNone) {
    problem.model.CotangentGradients(
        context, problem.data.batch,
        {cotangent.data(), {problem.rows(), problem.config.hidden_size}}, {});
  } else {
    problem.model.LossAndGradients(context, problem.data.batch, {});
  }
  return CopiedView(table.gradients());
}

// Key biases shift all scores of a row alike: they change nothing, and their gradient is rounding.
bool IsKeyBias(const ParameterInfo& info) {
  return info.name.ends_with(".key.bias") || info.name.ends_with(".key_global.bias");
}

// Adds the errors of the model's gradients, times `factor` (1, or a planted bug), and those of the
// naive implementation, along a random direction and along the gradient of every tensor.
void AddErrors(Bf16Problem& problem, float factor, DirectionErrors* ours, DirectionErrors* theirs) {
  Context context(2);
  const auto cotangent = test::RandomNormal(77, problem.rows() * problem.config.hidden_size);
  const auto all = GradientsOf(context, problem, cotangent);
  auto exact = ReferenceOf<Complex, ref::Exact>(problem.model);
  auto naive = ReferenceOf<Complex, ToBf16>(problem.model);
  const double total = NormOf(all);
  std::uint64_t seed = 5;
  for (const ParameterInfo& info : problem.model.parameters().list()) {
    std::vector<float> own(all.begin() + info.offset, all.begin() + info.offset + info.size);
    const double length = NormOf(own);
    if (IsKeyBias(info)) {
      EXPECT_LE(length, 1e-3 * total) << info.name;
      continue;
    }
    for (std::vector<float> direction : {own, test::RandomNormal(++seed, info.size)}) {
      const double along = NormOf(direction);
      if (along == 0.0) continue;
      double projection = 0.0;
      for (std::size_t i = 0; i < direction.size(); ++i) {
        if (IsPaddingRow(problem.config, info, static_cast<idx_t>(i))) direction[i] = 0.0f;
        const double part = static_cast<double>(direction[i]) / along;
        projection += part * static_cast<double>(factor * own[i]);
        exact.parameters().at(info.name)[i].imag(kComplexStep * part);
        naive.parameters().at(info.name)[i].imag(kComplexStep * part);
      }
      const double derivative = Derivative(exact, problem, cotangent);
      const double unit = std::max(length, 1e-3 * total);
      ours->Add((projection - derivative) / unit);
      theirs->Add((Derivative(naive, problem, cotangent) - derivative) / unit);
      for (Complex& value : exact.parameters().at(info.name)) value.imag(0.0);
      for (Complex& value : naive.parameters().at(info.name)) value.imag(0.0);
    }
  }
}

TEST_P(LongformerBf16Test, GradientsWithinThriceTheNaiveError) {
  test::ForEachBf16Path([&] {
    DirectionErrors ours, theirs, wrong;
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      Bf16Problem problem(GetParam(), seed);
      AddErrors(problem, 1.0f, &ours, &theirs);
      DirectionErrors ignored;
      if (seed == 1) AddErrors(problem, -1.0f, &wrong, &ignored);
    }
    constexpr double kFloor = 2e-4;
    EXPECT_LE(ours.rms(), 3 * theirs.rms() + kFloor);
    EXPECT_LE(ours.largest, 3 * theirs.largest + kFloor);
    EXPECT_GT(wrong.rms(), 10 * (3 * theirs.rms() + kFloor));
  });
}

INSTANTIATE_TEST_SUITE_P(Heads, LongformerBf16Test, testing::ValuesIn(kTestedHeads),
                         [](const auto& head) { return std::string(LongformerClass(head.param)); });

// Both forms of the global rows: few tokens are re-associated, many are projected.
TEST(LongformerBf16, ManyGlobalTokensAndFew) {
  Bf16OutputCheck check;
  DirectionErrors ours, theirs;
  for (const idx_t globals : {1, 3, 30}) {
    Bf16Problem problem(HeadKind::kToken, 4);
    problem.config = SmallLongformer(HeadKind::kToken);
    problem.model = Longformer(problem.config);
    problem.model.Initialise(3);
    problem.model.ComputeIn(DType::kBF16);
    LongformerData data(problem.config, 2, 33, 9);
    problem.data.ids = data.ids;
    problem.data.labels = data.labels;
    problem.data.roles.resize(data.ids.size());
    for (std::size_t i = 0; i < data.ids.size(); ++i) {
      problem.data.roles[i] = static_cast<idx_t>(i % 33) < globals ? kGlobalToken : kLocalToken;
    }
    BatchView& batch = problem.data.batch;
    batch = BatchView();
    batch.rows = 2;
    batch.tokens = 33;
    batch.ids = problem.data.ids;
    batch.roles = {problem.data.roles.data(), {2, 33}};
    batch.labels = problem.data.labels;
    check.Add(problem);
    AddErrors(problem, 1.0f, &ours, &theirs);
  }
  check.ExpectAll();
  EXPECT_LE(ours.rms(), 3 * theirs.rms() + 2e-4);
  EXPECT_LE(ours.largest, 3 * theirs.largest + 2e-4);
}

// ---- against itself -----------------------------------------------------------------------------

TEST(LongformerBf16, SameBitsForAnyThreads) {
  test::ForEachBf16Path([] {
    for (const HeadKind head : kTestedHeads) {
      if (head == HeadKind::kNone) continue;
      Longformer model(WithDropout(head));
      model.Initialise(4);
      model.ComputeIn(DType::kBF16);
      const LongformerData data(model.config(), 2, 45, 3);
      test::ExpectSameBitsForAnyThreads([&](Context& context) {
        return Step(context, model, data.batch, {{true, 11}, {}, {}});
      });
    }
  });
}

TEST(LongformerBf16, RecomputationChangesNoBit) {
  Longformer model(WithDropout(HeadKind::kMaskedLm));
  model.Initialise(4);
  model.ComputeIn(DType::kBF16);
  const LongformerData data(model.config(), 2, 37, 2);
  ExpectRecomputationKeepsBits(model, 2, data.batch);
}

// A layer's copies made when it runs, whether it keeps its activations or not.
TEST(LongformerBf16, CopiesInTurnChangeNoBit) {
  Longformer model(WithDropout(HeadKind::kMaskedLm));
  model.Initialise(4);
  const LongformerData data(model.config(), 2, 37, 2);
  Context context(2);
  model.ComputeIn(DType::kBF16);
  const LongformerStep step{{true, 11}, {}, {}};
  const auto kept = Step(context, model, data.batch, step);
  const std::size_t bytes = model.CopiedBytes();
  model.ComputeIn(DType::kBF16, LayerCopies::kInTurn);
  EXPECT_LT(model.CopiedBytes(), bytes);
  EXPECT_SAME_BITS(Step(context, model, data.batch, step), kept);
  ExpectRecomputationKeepsBits(model, 2, data.batch);
  model.ComputeIn(DType::kBF16);
  EXPECT_EQ(model.CopiedBytes(), bytes);
  EXPECT_SAME_BITS(Step(context, model, data.batch, step), kept);
}

TEST(LongformerBf16, CopiesOfAnotherLayerAreRefused) {
  Longformer model(SmallLongformer(HeadKind::kNone));
  model.Initialise(4);
  const std::string first = "encoder.layer.0.attention.self.key.weight";
  const std::string second = "encoder.layer.1.attention.self.key.weight";
  Bf16Weights copies(model.parameters(), LayerCopies::kInTurn, [&](const ParameterInfo& info) {
    return info.name == first ? 0 : info.name == second ? 1 : Bf16Weights::kNotCopied;
  });
  Context context(1);
  copies.Refresh(context, model.parameters());
  const auto copy = [&](const std::string& name) {
    return copies.matrix(model.parameters().Find(name));
  };
  EXPECT_THROW(copy(first), Error);
  for (const auto& [layer, name, other] : {std::tuple{0, first, second}, {1, second, first}}) {
    copies.Enter(context, model.parameters(), static_cast<std::size_t>(layer));
    const View<const float, 2> exact = model.parameters().matrix(name);
    EXPECT_EQ(ToFloat(copy(name)(1, 2)), ToFloat(ToBfloat16(exact(1, 2))));
    EXPECT_THROW(copy(other), Error);
  }
}

// The copy follows the parameters, and fp32 comes back as it was.
class LongformerBf16Copies : public testing::TestWithParam<LayerCopies> {};
TEST_P(LongformerBf16Copies, FollowTheParameters) {
  Longformer model(SmallLongformer(HeadKind::kMaskedLm));
  model.Initialise(4);
  const LongformerData data(model.config(), 2, 21, 3);
  Context context(2);
  const auto loss = [&] { return model.Loss(context, data.batch).mean; };
  const double exact = loss();
  EXPECT_EQ(model.computes_in(), DType::kF32);
  model.ComputeIn(DType::kBF16, GetParam());
  EXPECT_EQ(model.computes_in(), DType::kBF16);
  const double rounded = loss();
  EXPECT_NE(rounded, exact);
  EXPECT_NEAR(rounded, exact, 0.05);
  EXPECT_EQ(loss(), rounded);
  const std::uint64_t roundings = model.bf16_weights()->rounded();
  loss();
  const bool kept = GetParam() == LayerCopies::kKept;
  EXPECT_EQ(model.bf16_weights()->rounded() == roundings, kept);  // computing writes nothing
  for (const char* name :
       {"encoder.layer.0.attention.self.key.weight", "encoder.layer.1.output.dense.weight",
        "embeddings.word_embeddings.weight"}) {
    const double before = loss();
    const View<float, 1> weights =
        model.parameters().Write().vector(std::string("longformer.") + name);
    for (idx_t i = 0; i < weights.size(); ++i) weights(i) *= 1.1f;
    EXPECT_NE(loss(), before) << name;
    for (idx_t i = 0; i < weights.size(); ++i) weights(i) /= 1.1f;
    model.parameters().Write();
  }
  model.Initialise(4);
  EXPECT_EQ(loss(), rounded);
  model.ComputeIn(DType::kF32);
  EXPECT_EQ(loss(), exact);
  EXPECT_THROW(model.ComputeIn(DType::kF16), Error);
}
INSTANTIATE_TEST_SUITE_P(When, LongformerBf16Copies,
                         testing::Values(LayerCopies::kKept, LayerCopies::kInTurn));

TEST(LongformerBf16, AttentionMaps) {
  Bf16Problem problem(HeadKind::kToken, 2);
  const BatchView& batch = problem.data.batch;
  auto oracle = ReferenceOf<double, ref::Exact>(problem.model);
  const auto states = oracle.HiddenStates(batch);
  Context context(2);
  int seen = 0;
  const LongformerObserver observer = [&](std::size_t layer, const LongformerAttentionTensors& t) {
    const auto expected = oracle.Probabilities(batch, layer, states[layer]);
    const idx_t square = batch.tokens * batch.tokens;
    const Tensor maps = DenseMaps(context, t);
    for (idx_t i = 0; i < batch.rows * problem.config.heads; ++i, ++seen) {
      for (idx_t n = 0; n < square; ++n) {
        ASSERT_NEAR(maps.data<float>()[i * square + n],
                    expected[static_cast<std::size_t>(i * square + n)], 5e-2);
      }
    }
  };
  Tensor hidden({problem.rows(), problem.config.hidden_size});
  problem.model.Encode(context, batch, hidden.view<2>(), {nullptr, &observer});
  EXPECT_EQ(seen, 2 * batch.rows * problem.config.heads);
}

// Losses of a masked LM that learns one batch by heart.
std::vector<double> LossCurve(DType dtype) {
  LongformerConfig config = SmallLongformer(HeadKind::kMaskedLm);
  config.initializer_range = 0.05;
  Longformer model(config);
  model.Initialise(4);
  model.ComputeIn(dtype);
  model.parameters().AllocateGradients();
  LongformerData data(config, 2, 40, 3);
  Context context(1);
  const idx_t extent = model.parameters().extent();
  Tensor first({extent}), second({extent});
  std::vector<double> losses;
  for (int step = 1; step <= 100; ++step) {
    const View<float, 1> gradients = model.parameters().gradients();
    std::fill_n(gradients.data, extent, 0.0f);
    losses.push_back(model.LossAndGradients(context, data.batch, {}).mean);
    AdamWSpec spec;
    spec.step = step;
    spec.learning_rate = 1e-2f;
    AdamWStep(context, spec, model.parameters().Write().values(), gradients, first.view<1>(),
              second.view<1>());
  }
  losses.push_back(model.Loss(context, data.batch).mean);
  return losses;
}

TEST(LongformerBf16, LearnsAsFp32Does) {
  const auto exact = LossCurve(DType::kF32), rounded = LossCurve(DType::kBF16);
  EXPECT_GT(exact.front(), 3.0);
  EXPECT_LT(exact.back(), 0.5);
  for (std::size_t i = 0; i < exact.size(); ++i) {
    EXPECT_NEAR(rounded[i], exact[i], 0.02 + 0.1 * exact[i]) << "step " << i;
  }
}

// What training keeps rounded.
TEST(LongformerBf16, KeepsHalfAsMuch) {
  LongformerConfig config = SmallLongformer(HeadKind::kToken);
  config.attention_window.assign(12, 64);
  config.hidden_size = 48;
  config.feed_forward_size = 192;
  config.max_positions = 1030;
  std::size_t peaks[2];
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    Longformer model(config);
    model.Initialise(1);
    model.ComputeIn(dtype);
    const LongformerData data(config, 1, 1000, 1);
    Context context(1);
    Step(context, model, data.batch, {});
    peaks[dtype == DType::kBF16] = context.arena().peak();
  }
  EXPECT_LT(static_cast<double>(peaks[1]), 0.62 * static_cast<double>(peaks[0]));
}

}  // namespace
}  // namespace longspan
