// The choice of the next token, the loop, several texts at once, beam search.
#include "generate/generation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "base/errors.h"
#include "families/reformer/reformer.h"
#include "generate/text_decoder.h"

namespace longspan {
namespace {

ReformerConfig SmallConfig(idx_t before, bool axial) {
  ReformerConfig c;
  c.layers.assign(2, LayerKind::kLocal);
  c.vocab_size = 31;
  c.hidden_size = 24;
  c.heads = 3;
  c.head_size = 8;
  c.feed_forward_size = 40;
  c.is_decoder = true;
  c.max_positions = 64;
  c.axial = axial;
  c.axial_shape = {8, 8};
  c.axial_dims = {8, 16};
  c.local_chunk = 8;
  c.local_before = before;
  c.initializer_range = 0.3;
  c.eos_token = 1;
  return c;
}

std::vector<std::int32_t> RandomIds(idx_t count) {
  Rng rng(3);
  std::vector<std::int32_t> ids;
  for (idx_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>(2 + rng.Below(29)));
  return ids;
}

// ---- sampling -----------------------------------------------------------------------------------

std::map<std::int32_t, double> Frequencies(const std::vector<float>& logits,
                                           const SamplingOptions& options) {
  Rng rng(9);
  std::map<std::int32_t, double> share;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) share[SampleToken(logits, options, rng)] += 1.0 / kDraws;
  return share;
}

TEST(Sampling, FollowsTheSoftmaxAtTheTemperature) {
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, -1.0f};
  for (const double temperature : {0.5, 1.0, 2.0}) {
    SamplingOptions options;
    options.temperature = temperature;
    double sum = 0.0;
    for (const float l : logits) sum += std::exp(l / temperature);
    const auto share = Frequencies(logits, options);
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const auto found = share.find(static_cast<std::int32_t>(i));
      EXPECT_NEAR(found == share.end() ? 0.0 : found->second,
                  std::exp(logits[i] / temperature) / sum, 0.015);
    }
  }
}

TEST(Sampling, ZeroTemperatureTopKAndTopPCutTheTail) {
  const std::vector<float> logits = {1.0f, 3.0f, 3.0f, 2.0f};
  Rng rng(1);
  SamplingOptions greedy;
  greedy.temperature = 0.0;
  EXPECT_EQ(SampleToken(logits, greedy, rng), 1);  // of equals the lower id
  SamplingOptions top_k;
  top_k.temperature = 1.0;
  top_k.top_k = 2;
  EXPECT_EQ(Frequencies(logits, top_k).size(), 2u);
  SamplingOptions top_p;
  top_p.temperature = 1.0;
  top_p.top_p = 0.01;
  EXPECT_EQ(Frequencies(logits, top_p).size(), 1u);
}

TEST(Sampling, BadOptionsAndLogitsAreRefused) {
  Rng rng(1);
  const std::vector<float> logits = {1.0f, 2.0f};
  SamplingOptions options;
  options.temperature = -1.0;
  EXPECT_THROW(SampleToken(logits, options, rng), Error);
  options = {};
  options.top_p = 0.0;
  EXPECT_THROW(SampleToken(logits, options, rng), Error);
  const std::vector<float> nan = {1.0f, NAN};
  EXPECT_THROW(SampleToken(nan, {}, rng), Error);
}

// ---- the loop -----------------------------------------------------------------------------------

std::vector<std::int32_t> Written(Reformer& model, idx_t prompt, const TokenGeneration& options) {
  Context context(2);
  const std::vector<std::int32_t> prompts[] = {RandomIds(prompt)};
  return GenerateTexts(context, model, prompts, options, {}).front().tokens;
}

TEST(Generate, SameSeedSameTextAndAnyLength) {
  Reformer model(SmallConfig(1, true));
  model.Initialise(1);
  TokenGeneration options;
  options.tokens = 200;  // more than the 64 positions
  options.banned = {1};
  const auto text = Written(model, 10, options);
  EXPECT_EQ(text.size(), 200u);
  EXPECT_EQ(text, Written(model, 10, options));
  options.sampling.seed = 2;
  EXPECT_NE(text, Written(model, 10, options));
  EXPECT_THROW(Written(model, 65, options), Error);  // a prompt longer than all positions
  options.context = 64;
  EXPECT_EQ(Written(model, 1000, options).size(), 200u);
  options.context = 5;
  EXPECT_EQ(Written(model, 10, options).size(), 200u);
}

TEST(Generate, BannedTokensNeverAppearAndEndOfTextStops) {
  Reformer model(SmallConfig(1, true));
  model.Initialise(1);
  TokenGeneration options;
  options.tokens = 300;
  options.sampling.temperature = 5.0;
  for (std::int32_t id = 2; id < 31; ++id) options.banned.push_back(id);
  options.banned.push_back(0);  // only end of text is left
  EXPECT_TRUE(Written(model, 3, options).empty());
  options.banned.push_back(1);
  EXPECT_THROW(Written(model, 3, options), Error);  // nothing is left
}

ReformerConfig HashingConfig() {
  ReformerConfig config = SmallConfig(1, true);
  config.layers = {LayerKind::kLocal, LayerKind::kLsh};
  config.lsh_chunk = 8;
  config.num_hashes = 2;
  return config;
}

// Nothing but the choice of the cache changes a model without hashing; with it, the first token.
TEST(Generate, WithoutTheCacheTheSameTokens) {
  Reformer local(SmallConfig(1, true)), hashed(HashingConfig());
  local.Initialise(1);
  hashed.Initialise(1);
  TokenGeneration cached, recomputed;
  cached.tokens = recomputed.tokens = 100;  // more than the 64 positions
  cached.banned = recomputed.banned = {1};
  recomputed.cache = false;
  EXPECT_EQ(Written(local, 10, cached), Written(local, 10, recomputed));
  cached.tokens = recomputed.tokens = 1;
  EXPECT_EQ(Written(hashed, 20, cached), Written(hashed, 20, recomputed));
}

TEST(Generate, TextsSideBySideAreThoseAlone) {
  Context context(2);
  Reformer model(HashingConfig());
  model.Initialise(1);
  TokenGeneration options;
  options.tokens = 80;
  options.banned = {1};
  std::vector<std::vector<std::int32_t>> prompts;
  for (const idx_t length : {1, 9, 30, 9, 60}) prompts.push_back(RandomIds(length));
  std::vector<std::vector<std::int32_t>> streamed(prompts.size());
  const auto together =
      GenerateTexts(context, model, prompts, options, [&](std::size_t text, std::int32_t id) {
        streamed[text].push_back(id);
        return true;
      });
  bool differ = false;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(together[i].tokens, streamed[i]);
    TokenGeneration one = options;
    one.first_text = i;
    const auto alone = GenerateTexts(context, model, std::span(prompts).subspan(i, 1), one, {});
    EXPECT_EQ(alone[0].tokens, together[i].tokens) << i;
    EXPECT_EQ(alone[0].ending, together[i].ending) << i;
    differ = differ || together[i].tokens != together[1].tokens;
  }
  EXPECT_TRUE(differ);
  EXPECT_NE(together[1].tokens, together[3].tokens);  // one prompt twice: draws of its own
}

TEST(Generate, SameTokensForAnyThreads) {
  Reformer model(HashingConfig());
  model.Initialise(1);
  TokenGeneration options;
  options.tokens = 50;
  std::vector<std::vector<Continuation>> results;
  for (const int threads : {1, 2, 3, 8}) {
    Context context(threads);
    const std::vector<std::vector<std::int32_t>> prompts = {RandomIds(3), RandomIds(20)};
    results.push_back(GenerateTexts(context, model, prompts, options, {}));
    EXPECT_EQ(results.back()[0].tokens, results[0][0].tokens);
    EXPECT_EQ(results.back()[1].tokens, results[0][1].tokens);
  }
}

TEST(Generate, StopRuleAndCallerEndTheirTextOnly) {
  Context context(1);
  Reformer model(HashingConfig());
  model.Initialise(1);
  TokenGeneration options;
  options.tokens = 20;
  options.banned = {1};
  options.stop = [](std::span<const std::int32_t> written) { return written.size() == 7; };
  const std::vector<std::vector<std::int32_t>> prompts = {RandomIds(3), RandomIds(20)};
  const auto results = GenerateTexts(
      context, model, prompts, options,
      [n = 0](std::size_t text, std::int32_t) mutable { return text != 0 || ++n < 4; });
  EXPECT_EQ(results[0].tokens.size(), 4u);
  EXPECT_EQ(results[0].ending, Ending::kCaller);
  EXPECT_EQ(results[1].tokens.size(), 7u);
  EXPECT_EQ(results[1].ending, Ending::kStopRule);
}

TEST(Generate, OtherEndsOfTextEndATextToo) {
  Context context(1);
  Reformer model(SmallConfig(1, true));
  model.Initialise(1);
  TokenGeneration options;
  options.tokens = 200;
  for (std::int32_t id = 0; id < 31; ++id) {
    if (id != 7 && id != 8) options.banned.push_back(id);
  }
  options.ends = {8};
  const std::vector<std::vector<std::int32_t>> prompts = {RandomIds(3)};
  const auto results = GenerateTexts(context, model, prompts, options, {});
  EXPECT_EQ(results[0].ending, Ending::kEndOfText);
  for (const std::int32_t id : results[0].tokens) EXPECT_EQ(id, 7);
  options.tokens = 50;
  for (const Continuation& beam : BeamSearch(context, model, RandomIds(3), options, {2, 1.0})) {
    for (const std::int32_t id : beam.tokens) EXPECT_EQ(id, 7);
  }
}

TEST(Generate, PenaltyLowersWhatTheTextHas) {
  std::vector<float> scores = {2.0f, -2.0f, 3.0f, -INFINITY};
  std::vector<bool> seen;
  const std::vector<std::int32_t> ids = {1, 0, 0, 99, -1, 3};
  PenaliseRepetition(ids, 2.0, &seen, scores);
  EXPECT_EQ(scores, (std::vector<float>{1.0f, -4.0f, 3.0f, -INFINITY}));
  PenaliseRepetition(ids, 1.0, &seen, scores);
  EXPECT_EQ(scores[0], 1.0f);
  EXPECT_EQ(seen, std::vector<bool>(4, false));
  Reformer model(SmallConfig(1, true));
  model.Initialise(1);
  TokenGeneration options;
  options.tokens = 25;
  options.banned = {1};
  options.sampling.temperature = 0.0;
  const auto distinct = [&](double penalty) {
    options.sampling.repetition_penalty = penalty;
    const auto text = Written(model, 1, options);
    return std::set<std::int32_t>(text.begin(), text.end()).size();
  };
  EXPECT_GT(distinct(1e3), distinct(1.0));
  options.sampling.repetition_penalty = 0.0;
  EXPECT_THROW(Written(model, 1, options), Error);
}

TEST(Generate, BadArguments) {
  Reformer model(SmallConfig(1, true));
  TokenGeneration options;
  EXPECT_THROW(Written(model, 0, options), Error);
  options.tokens = -1;
  EXPECT_THROW(Written(model, 1, options), Error);
  options.tokens = 1;
  options.context = 65;
  EXPECT_THROW(Written(model, 1, options), Error);
  options.context = -1;
  EXPECT_THROW(Written(model, 1, options), Error);
  ReformerConfig encoder = SmallConfig(1, true);
  encoder.is_decoder = false;
  Reformer sees_ahead(encoder);
  EXPECT_THROW(Written(sees_ahead, 1, {}), Error);
}

// ---- beam search --------------------------------------------------------------------------------

// log softmax behind a text, by the full forward pass.
std::vector<double> LogProbabilities(Reformer& model, const std::vector<std::int32_t>& ids) {
  Context context(1);
  const auto decoder = model.MakeDecoder(false);
  decoder->Add(context, ids, static_cast<idx_t>(ids.size()));
  std::vector<double> values(decoder->logits(0).begin(), decoder->logits(0).end());
  double sum = 0.0;
  for (const double value : values) sum += std::exp(value);
  for (double& value : values) value -= std::log(sum);
  return values;
}

// Every continuation of up to two tokens, by brute force.
Continuation BestOfTwo(Reformer& model, const std::vector<std::int32_t>& prompt, double penalty) {
  const auto eos = static_cast<std::int32_t>(model.config().eos_token);
  Continuation best;
  best.score = -1e300;
  const auto offer = [&](std::vector<std::int32_t> tokens, double sum, double length) {
    const double score = sum / std::pow(length, penalty);
    if (score > best.score) best = {std::move(tokens), Ending::kTokens, score};
  };
  const auto first = LogProbabilities(model, prompt);
  for (std::int32_t a = 0; a < 31; ++a) {
    if (a == eos) {
      offer({}, first[1], 1.0);
      continue;
    }
    std::vector<std::int32_t> longer = prompt;
    longer.push_back(a);
    const auto second = LogProbabilities(model, longer);
    for (std::int32_t b = 0; b < 31; ++b) {
      const double sum = first[static_cast<std::size_t>(a)] + second[static_cast<std::size_t>(b)];
      offer(b == eos ? std::vector<std::int32_t>{a} : std::vector<std::int32_t>{a, b}, sum, 2.0);
    }
  }
  return best;
}

TEST(BeamSearch, WideEnoughItFindsTheBest) {
  Context context(2);
  for (const double penalty : {0.0, 1.0, 2.0}) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      Reformer model(SmallConfig(1, true));
      model.Initialise(seed);
      TokenGeneration options;
      options.tokens = 2;
      const auto prompt = RandomIds(10);
      const auto found = BeamSearch(context, model, prompt, options, {31, penalty});
      const Continuation best = BestOfTwo(model, prompt, penalty);
      ASSERT_EQ(found.size(), 31u);
      EXPECT_NEAR(found[0].score, best.score, 1e-4) << penalty << " " << seed;
      EXPECT_EQ(found[0].tokens, best.tokens) << penalty << " " << seed;
      for (std::size_t i = 1; i < found.size(); ++i) {
        EXPECT_LE(found[i].score, found[i - 1].score);
      }
    }
  }
}

TEST(BeamSearch, OneBeamIsTheLikeliestTokenEachTime) {
  Context context(2);
  Reformer model(HashingConfig());
  model.Initialise(1);
  TokenGeneration options;
  options.tokens = 40;
  options.banned = {1};
  options.sampling.temperature = 0.0;
  const auto found = BeamSearch(context, model, RandomIds(10), options, {1, 1.0});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].tokens, Written(model, 10, options));
  EXPECT_EQ(found[0].ending, Ending::kTokens);
}

TEST(BeamSearch, WithoutTheCacheTheSameBeams) {
  Context context(2);
  Reformer model(SmallConfig(1, true));
  model.Initialise(2);
  TokenGeneration cached, recomputed;
  cached.tokens = recomputed.tokens = 30;
  recomputed.cache = false;
  const auto a = BeamSearch(context, model, RandomIds(10), cached, {4, 1.0});
  const auto b = BeamSearch(context, model, RandomIds(10), recomputed, {4, 1.0});
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].tokens, b[i].tokens);
    EXPECT_NEAR(a[i].score, b[i].score, 1e-4);
  }
}

TEST(BeamSearch, StopRuleBansAndTheEnd) {
  Context context(2);
  Reformer model(SmallConfig(1, true));
  model.Initialise(1);
  TokenGeneration options;
  options.tokens = 12;
  options.banned = {1, 5};
  options.stop = [](std::span<const std::int32_t> written) { return written.back() % 3 == 0; };
  const auto found = BeamSearch(context, model, RandomIds(10), options, {4, 1.0});
  ASSERT_FALSE(found.empty());
  for (const Continuation& text : found) {
    for (std::size_t i = 0; i < text.tokens.size(); ++i) {
      EXPECT_NE(text.tokens[i], 5);
      const bool last = i + 1 == text.tokens.size() && text.ending == Ending::kStopRule;
      EXPECT_EQ(text.tokens[i] % 3 == 0, last);
    }
  }
  options = {};
  options.tokens = 5;
  for (std::int32_t id = 0; id < 31; ++id) {
    if (id != 1) options.banned.push_back(id);
  }
  const auto ended = BeamSearch(context, model, RandomIds(10), options, {4, 1.0});
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_TRUE(ended[0].tokens.empty());
  EXPECT_EQ(ended[0].ending, Ending::kEndOfText);
}

TEST(BeamSearch, BadArguments) {
  Context context(1);
  Reformer model(SmallConfig(1, true));
  TokenGeneration options;
  options.tokens = 5;
  const auto prompt = RandomIds(10);
  EXPECT_THROW(BeamSearch(context, model, prompt, options, {0, 1.0}), Error);
  EXPECT_THROW(BeamSearch(context, model, prompt, options, {2000, 1.0}), Error);
  EXPECT_THROW(BeamSearch(context, model, prompt, options, {2, NAN}), Error);
  EXPECT_THROW(BeamSearch(context, model, {}, options, {2, 1.0}), Error);
  options.tokens = 55;
  EXPECT_THROW(BeamSearch(context, model, prompt, options, {2, 1.0}), Error);
}

}  // namespace
}  // namespace longspan
