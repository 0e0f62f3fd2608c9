#include "model/step_memory.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "base/arena.h"
#include "families/longformer/family.h"
#include "families/longformer/longformer.h"
#include "families/reformer/family.h"
#include "families/reformer/reformer.h"
#include "longspan/error.h"
#include "longspan/machine.h"

namespace longspan {
namespace {

// A model wide enough that its streams, not the smallest blocks of the arena, are what counts.
ReformerConfig Config(const std::string& attention, idx_t tokens) {
  ReformerConfig config = ReformerPreset("tiny");
  config.num_hashes = 2;
  config.hidden_dropout = config.local_dropout = config.lsh_dropout = 0.1;
  ChooseAttention(attention, &config);
  return WithPositions(config, tokens);
}

// A step in earnest. The second one finds the arena as a long run finds it.
class Step {
 public:
  Step(Context& context, const ReformerConfig& config, idx_t rows, idx_t tokens)
      : context_(context),
        model_(config),
        ids_(static_cast<std::size_t>(rows * tokens), 5),
        targets_(ids_),
        batch_{rows, tokens, ids_, targets_, {}} {
    model_.Initialise(1);
    model_.parameters().AllocateGradients();
  }
  void Run() { model_.LossAndGradients(context_, batch_, 1e-3f, {true, 3}); }
  Reformer& model() { return model_; }

 private:
  Context& context_;
  Reformer model_;
  std::vector<std::int32_t> ids_, targets_;
  ReformerBatch batch_;
};

struct Case {
  const char* attention;
  idx_t rows, tokens;
  int threads;
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.attention << " " << c.rows << " x " << c.tokens << ", threads " << c.threads;
}

class Rehearsal : public testing::TestWithParam<Case> {};

TEST_P(Rehearsal, BooksWhatTheStepBooks) {
  const auto [attention, rows, tokens, threads] = GetParam();
  const ReformerConfig config = Config(attention, tokens);
  const StepNeeds needs = RehearseStep(*MakeModelConfig(config), rows, tokens, threads);
  Context context(threads);
  Step step(context, config, rows, tokens);
  step.Run();
  EXPECT_EQ(context.arena().most_capacity(), needs.memory.streams + needs.memory.scratch);
  EXPECT_EQ(step.model().StateBytes(), needs.memory.buckets);
  EXPECT_EQ(4 * static_cast<std::size_t>(step.model().parameters().values().size()),
            needs.memory.weights);
  EXPECT_EQ(step.model().StepGflop(rows, tokens), needs.gflop);
  step.Run();  // takes no more
  EXPECT_EQ(context.arena().most_capacity(), needs.memory.streams + needs.memory.scratch);
}

INSTANTIATE_TEST_SUITE_P(Lengths, Rehearsal,
                         testing::Values(Case{"full", 1, 40, 1}, Case{"full", 2, 700, 3},
                                         Case{"local", 1, 40, 1}, Case{"local", 3, 700, 2},
                                         Case{"local", 1, 2000, 5}, Case{"lsh", 1, 40, 2},
                                         Case{"lsh", 2, 700, 1}, Case{"lsh", 1, 2000, 3}));

// A Longformer's step books what its rehearsal booked, under every head.
TEST(RehearseLongformer, BooksWhatTheStepBooks) {
  for (const HeadKind head :
       {HeadKind::kMaskedLm, HeadKind::kSequence, HeadKind::kToken, HeadKind::kQuestion}) {
    for (const bool recompute : {false, true}) {
      for (const int threads : {1, 3}) {
        LongformerConfig config = LongformerPreset("tiny");
        config.vocab_size = 300;
        config.head = head;
        config.problem = ProblemType::kSingleLabel;
        constexpr idx_t kRows = 2, kTokens = 700;
        StepPolicy policy;
        if (recompute) policy.recompute = config.layers();
        const StepNeeds needs =
            RehearseStep(*MakeModelConfig(config), kRows, kTokens, threads, policy);
        Context context(threads);
        Longformer model(config);
        model.Initialise(1);
        model.parameters().AllocateGradients();
        const bool tokens = head == HeadKind::kMaskedLm || head == HeadKind::kToken;
        const std::vector<std::int32_t> ids(kRows * kTokens, 5);
        std::vector<std::int32_t> labels(tokens ? kRows * kTokens : kRows, 1);
        for (std::size_t t = 0; head == HeadKind::kMaskedLm && t < labels.size(); ++t) {
          if (t % 20 >= 3) labels[t] = kIgnoreLabel;
        }
        std::vector<std::uint8_t> roles(kRows * kTokens, kLocalToken);
        if (head == HeadKind::kSequence) roles[0] = roles[kTokens] = kGlobalToken;
        BatchView batch;
        batch.rows = kRows;
        batch.tokens = kTokens;
        batch.ids = ids;
        batch.roles = {roles.data(), {kRows, kTokens}};
        if (head == HeadKind::kQuestion) {
          batch.starts = batch.ends = labels;
        } else {
          batch.labels = labels;
        }
        LongformerStep step;
        step.dropout = {true, 3};
        if (recompute) step.recompute.assign(config.layers(), true);
        for (int run = 0; run < 2; ++run) {
          model.LossAndGradients(context, batch, step);
          EXPECT_EQ(context.arena().most_capacity(), needs.memory.scratch)
              << static_cast<int>(head) << " " << recompute << " " << threads;
        }
        EXPECT_EQ(model.StepGflop(batch), needs.gflop);
      }
    }
  }
}

// Bytes that a step saves where nothing limits it.
std::size_t AllActivationBytes(const ReformerConfig& config) {
  Reformer model(config);
  model.KeepUpTo(SIZE_MAX);
  return model.ActivationBytes(2, 2000);
}

// So does a step that keeps some or all activations, and one in bf16.
TEST(RehearsePolicy, BooksWhatTheStepBooks) {
  const ReformerConfig config = Config("lsh", 2000);
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    const std::size_t all = AllActivationBytes(config);
    for (const std::size_t keep : {std::size_t{0}, all / 2, all}) {
      StepPolicy policy;
      policy.compute = compute;
      policy.keep = keep;
      const StepNeeds needs = RehearseStep(*MakeModelConfig(config), 2, 2000, 3, policy);
      Context context(3);
      Step step(context, config, 2, 2000);
      step.model().ComputeIn(compute);
      step.model().KeepUpTo(keep);
      step.Run();
      EXPECT_EQ(context.arena().most_capacity(), needs.memory.streams + needs.memory.scratch);
      EXPECT_EQ(step.model().ActivationBytes(2, 2000), needs.memory.activations);
      EXPECT_EQ(step.model().CopiedBytes(), needs.memory.copies);
      EXPECT_EQ(compute == DType::kBF16, needs.memory.copies > 0);
    }
  }
}

// What fits is kept, and what does not fit is refused with the numbers.
TEST(FitStep, KeepsWhatTheBudgetAllows) {
  const ReformerConfig config = Config("lsh", 2000);
  const std::size_t least = RehearseStep(*MakeModelConfig(config), 2, 2000, 2).memory.total();
  const std::size_t all = AllActivationBytes(config);
  EXPECT_EQ(MakeModelConfig(config)->Fit(2, 2000, least, {DType::kF32}, 2).keep, 0u);
  EXPECT_GE(MakeModelConfig(config)->Fit(2, 2000, least + all, {DType::kF32}, 2).keep, all);
  StepPolicy policy = MakeModelConfig(config)->Fit(2, 2000, least + all / 2, {DType::kF32}, 2);
  const std::size_t total =
      RehearseStep(*MakeModelConfig(config), 2, 2000, 2, policy).memory.total();
  EXPECT_LE(total, least + all / 2);
  EXPECT_GT(total, least + all / 4);
  try {
    MakeModelConfig(config)->Fit(2, 2000, least - 1, {DType::kF32}, 2);
    ADD_FAILURE() << "a step that cannot fit was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kLimit);
    EXPECT_NE(std::string(error.what()).find("2 x 2000 tokens"), std::string::npos);
  }
}

TEST(FitStep, LongformersRecomputeOnlyWhatTheyMust) {
  LongformerConfig config = WithPositions(LongformerPreset("small"), 2048);
  config.vocab_size = 300;
  config.head = HeadKind::kMaskedLm;
  const auto total = [&](std::size_t recompute) {
    StepPolicy policy;
    policy.recompute = recompute;
    return RehearseStep(*MakeModelConfig(config), 2, 2048, 2, policy).memory.total();
  };
  EXPECT_EQ(MakeModelConfig(config)->Fit(2, 2048, total(0), {DType::kF32}, 2).recompute, 0u);
  for (std::size_t layers = 1; layers <= config.layers(); ++layers) {
    const std::size_t budget = total(layers);
    const std::size_t recomputed =
        MakeModelConfig(config)->Fit(2, 2048, budget, {DType::kF32}, 2).recompute;
    EXPECT_LE(recomputed, layers);
    EXPECT_LE(total(recomputed), budget);
    EXPECT_TRUE(recomputed == 0 || total(recomputed - 1) > budget) << layers;
  }
  EXPECT_LT(total(config.layers()), total(0));
  EXPECT_THROW(MakeModelConfig(config)->Fit(2, 2048, total(config.layers()) / 2, {DType::kF32}, 2),
               Error);
}

// In bf16 copies of all layers go before any layer's activations do.
TEST(FitStep, LongformersGiveUpCopiesFirst) {
  LongformerConfig config = WithPositions(LongformerPreset("small"), 2048);
  config.vocab_size = 300;
  config.head = HeadKind::kMaskedLm;
  const auto needs = [&](LayerCopies copies, std::size_t recompute) {
    StepPolicy policy{DType::kBF16};
    policy.copies = copies;
    policy.recompute = recompute;
    return RehearseStep(*MakeModelConfig(config), 2, 2048, 2, policy).memory;
  };
  const StepMemory kept = needs(LayerCopies::kKept, 0), in_turn = needs(LayerCopies::kInTurn, 0);
  EXPECT_EQ(kept.total() - in_turn.total(), kept.copies - in_turn.copies);
  const auto fit = [&](std::size_t bytes) {
    return MakeModelConfig(config)->Fit(2, 2048, bytes, {DType::kBF16}, 2);
  };
  EXPECT_EQ(fit(kept.total()).copies, LayerCopies::kKept);
  EXPECT_EQ(fit(kept.total() - 1).copies, LayerCopies::kInTurn);
  EXPECT_EQ(fit(in_turn.total()).recompute, 0u);
  EXPECT_GT(fit(in_turn.total() - 1).recompute, 0u);
  const std::size_t least = needs(LayerCopies::kInTurn, config.layers()).total();
  EXPECT_EQ(fit(least).recompute, config.layers());
  EXPECT_THROW(fit(least - 1), Error);

  Longformer model(config);
  model.ComputeIn(DType::kBF16, LayerCopies::kInTurn);
  EXPECT_EQ(model.CopiedBytes(), in_turn.copies);
}

class Resident : public testing::TestWithParam<Case> {};

// The process grows by what was foretold. The arena's blocks are whole huge pages, of which the
// last ones may stay untouched; threads and dense products take a little of their own.
TEST_P(Resident, GrowsByWhatWasForetold) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers have memory of their own";
#endif
  if (std::getenv("LONGSPAN_TEST_ISA") != nullptr) GTEST_SKIP() << "takes long without vectors";
  const auto [attention, rows, tokens, threads] = GetParam();
  const ReformerConfig config = Config(attention, tokens);
  const StepMemory memory = RehearseStep(*MakeModelConfig(config), rows, tokens, threads).memory;
  ResetPeakRss();
  const idx_t before = PeakRssBytes();
  {
    Context context(threads);
    Step step(context, config, rows, tokens);
    step.Run();
    step.Run();
  }
  const auto grown = static_cast<double>(PeakRssBytes() - before);
  const auto foretold = static_cast<double>(memory.total() - memory.moments);  // nobody updates
  RecordProperty("grown_over_foretold", std::to_string(grown / foretold));
  constexpr double kPages = 4 << 20;
  EXPECT_LT(grown, foretold + kPages);
  EXPECT_GT(grown, 0.97 * foretold - kPages);
}

INSTANTIATE_TEST_SUITE_P(Lengths, Resident,
                         testing::Values(Case{"full", 1, 2048, 2}, Case{"full", 4, 2048, 2},
                                         Case{"local", 1, 8192, 2}, Case{"local", 1, 24576, 2},
                                         Case{"lsh", 1, 8192, 2}, Case{"lsh", 1, 24576, 2}));

// A matrix's state: two numbers a weight, R + C numbers, one number a weight, or none.
TEST(RehearseStep, CountsTheStateOfTheOptimizer) {
  const auto moments = [](OptimizerKind kind, double momentum) {
    StepPolicy policy;
    policy.optimizer.kind = kind;
    policy.optimizer.momentum = momentum;
    return RehearseStep(*MakeModelConfig(Config("full", 64)), 1, 64, 1, policy).memory;
  };
  const StepMemory adamw = moments(OptimizerKind::kAdamW, 0.0);
  const auto weights = static_cast<double>(adamw.weights);
  EXPECT_NEAR(static_cast<double>(adamw.moments), 2.0 * weights, 1e-3 * weights);
  EXPECT_LT(static_cast<double>(moments(OptimizerKind::kAdafactor, 0.0).moments), 0.1 * weights);
  EXPECT_NEAR(static_cast<double>(moments(OptimizerKind::kSgd, 0.9).moments), weights,
              1e-3 * weights);
  EXPECT_EQ(moments(OptimizerKind::kSgd, 0.0).moments, 0u);
}

// A length whose memory no machine has.
TEST(RehearseStep, TouchesNothing) {
  const idx_t tokens = idx_t{1} << 21;
  const ReformerConfig config = Config("lsh", tokens);
  ResetPeakRss();
  const idx_t before = PeakRssBytes();
  const StepNeeds needs = RehearseStep(*MakeModelConfig(config), 8, tokens, 2);
  EXPECT_GT(needs.memory.total(), std::size_t{50} << 30);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(PeakRssBytes() - before, 32 << 20);
#endif
}

TEST(RehearseStep, RefusesWhatTheStepRefuses) {
  const auto code = [](const ReformerConfig& config, idx_t rows, idx_t tokens) {
    try {
      RehearseStep(*MakeModelConfig(config), rows, tokens);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode{0};
  };
  const ReformerConfig tiny = ReformerPreset("tiny");
  EXPECT_EQ(code(tiny, 1, tiny.longest() + 1), ErrorCode::kUsage);
  EXPECT_EQ(code(tiny, 0, 64), ErrorCode::kUsage);
  EXPECT_EQ(code(tiny, 1 << 20, 1 << 20), ErrorCode::kUsage);
}

// Of an encoder alone it is a step over vectors of texts: both of its passes, and the hidden states
// that stand beside them.
TEST(RehearseVectors, BooksWhatTheStepBooks) {
  constexpr idx_t kRows = 2, kTokens = 700;
  ReformerConfig reformer = Config("lsh", kTokens);
  reformer.head = HeadKind::kNone;
  reformer.is_decoder = false;
  LongformerConfig longformer = LongformerPreset("tiny");
  longformer.vocab_size = 300;
  longformer.head = HeadKind::kNone;
  const std::unique_ptr<ModelConfig> configs[] = {MakeModelConfig(reformer),
                                                  MakeModelConfig(longformer)};
  for (const auto& config : configs) {
    const StepNeeds needs = RehearseStep(*config, kRows, kTokens, 2);
    Context context(2);
    const auto model = config->Make(ParameterMemory::kOwn);
    model->Initialise(1);
    model->parameters().AllocateGradients();
    const std::vector<std::int32_t> ids(kRows * kTokens, 5);
    BatchView batch;
    batch.rows = kRows;
    batch.tokens = kTokens;
    batch.ids = ids;
    const idx_t n = kRows * kTokens, size = n * model->info().width;
    for (int run = 0; run < 2; ++run) {
      Arena::Frame frame(context.arena(), Arena::Bytes<float>(size));
      const View<float, 2> hidden(frame.Take<float>(size), {n, model->info().width});
      model->EncodeInStep(context, batch, {true, 3}, hidden);
      model->EncodeGradients(context, batch, hidden, {true, 3});
      EXPECT_EQ(context.arena().most_capacity(), needs.memory.streams + needs.memory.scratch);
    }
    EXPECT_EQ(model->StepGflop(batch), needs.gflop);
  }
}

// Layers keep their weights and, where they hash, 16 bits a token, head and round. The streams and
// the scratch are those of one layer, whatever the depth.
TEST(Depth, AddsBucketsAndWeightsOnly) {
  ReformerConfig config = Config("lsh", 64);
  config.layers = {LayerKind::kLocal, LayerKind::kLsh};
  const StepMemory two = RehearseStep(*MakeModelConfig(config), 2, 1024, 1).memory;
  for (int i = 0; i < 3; ++i) {
    config.layers.push_back(LayerKind::kLocal);
    config.layers.push_back(LayerKind::kLsh);
  }
  const StepMemory eight = RehearseStep(*MakeModelConfig(config), 2, 1024, 1).memory;
  EXPECT_EQ(eight.streams, two.streams);
  EXPECT_EQ(eight.scratch, two.scratch);
  EXPECT_EQ(eight.buckets, 4 * two.buckets);
  EXPECT_GT(two.buckets, 0u);
  EXPECT_GT(eight.weights, two.weights);
}

// Every head has a step to rehearse.
TEST(RehearseStep, KnowsEveryHead) {
  for (const HeadKind head : {HeadKind::kMaskedLm, HeadKind::kSequence, HeadKind::kQuestion}) {
    ReformerConfig config = Config("lsh", 64);
    config.head = head;
    config.is_decoder = false;
    const StepNeeds needs = RehearseStep(*MakeModelConfig(config), 2, 512, 1);
    EXPECT_GT(needs.memory.total(), 0u);
    EXPECT_GT(needs.gflop, 0.0);
  }
}

TEST(WithPositions, AddsWhatIsMissing) {
  ReformerConfig config = ReformerPreset("tiny");
  EXPECT_EQ(WithPositions(config, 100).axial_shape, config.axial_shape);
  const ReformerConfig axial = WithPositions(config, 40000);
  EXPECT_EQ(axial.axial_shape, (std::vector<idx_t>{256, 256}));
  EXPECT_EQ(axial.longest(), 40000);
  config.axial = false;
  EXPECT_EQ(WithPositions(config, 40000).longest(), 40000);
}

// With positions for any length.
LongestStep LongestOf(const ReformerConfig& config, idx_t rows, std::size_t bytes, int threads) {
  const auto rehearse = [&](idx_t tokens) {
    return RehearseStep(*MakeModelConfig(WithPositions(config, tokens)), rows, tokens, threads);
  };
  return FindLongestStep(rehearse, rows, bytes);
}

TEST(FindLongestStep, FindsTheLongest) {
  for (const char* attention : {"full", "local", "lsh"}) {
    for (const std::size_t megabytes : {64, 500}) {
      const std::size_t bytes = megabytes << 20;
      const ReformerConfig config = Config(attention, 64);
      const LongestStep longest = LongestOf(config, 2, bytes, 2);
      const idx_t tokens = longest.needs.tokens;
      EXPECT_EQ(longest.refused, "");
      EXPECT_EQ(tokens % kPlanTokens, 0);
      EXPECT_LE(longest.needs.memory.total(), bytes);
      EXPECT_GT(longest.needs.memory.total(), bytes - (std::size_t{8} << 20));  // some huge pages
      const ReformerConfig more = WithPositions(config, tokens + kPlanTokens);
      EXPECT_GT(RehearseStep(*MakeModelConfig(more), 2, tokens + kPlanTokens, 2).memory.total(),
                bytes);
    }
  }
}

TEST(FindLongestStep, SaysWhatElseEndsIt) {
  // Chunks of one token: more than 65536 buckets do not fit 16 bits.
  ReformerConfig config = Config("lsh", 64);
  config.lsh_chunk = 1;
  const LongestStep longest = LongestOf(config, 1, std::size_t{1} << 33, 1);
  EXPECT_LT(longest.needs.tokens, 1 << 16);
  EXPECT_GE(longest.needs.tokens, 1 << 15);
  EXPECT_NE(longest.refused.find("do not fit 16 bits"), std::string::npos) << longest.refused;
}

TEST(FindLongestStep, EndsWhenItIsCancelled) {
  int calls = 0;
  const auto rehearse = [&](idx_t tokens) -> StepNeeds {
    if (++calls == 3) throw Cancelled();
    StepNeeds needs;
    needs.tokens = tokens;
    needs.memory.scratch = static_cast<std::size_t>(tokens);
    return needs;
  };
  EXPECT_THROW(FindLongestStep(rehearse, 1, 1 << 16), Cancelled);
  EXPECT_EQ(calls, 3);
}

TEST(FindLongestStep, RefusesAModelThatIsTooLarge) {
  try {
    LongestOf(ReformerPreset("base"), 1, std::size_t{100} << 20, 1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kLimit);
  }
}

}  // namespace
}  // namespace longspan
