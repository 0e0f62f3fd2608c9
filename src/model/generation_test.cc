// The decoder against the full forward pass, and the choice of the next token.
#include "model/generation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/errors.h"
#include "model/decoder.h"

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

// Logits of every position by the full forward pass.
Tensor FullLogits(Context& context, Reformer& model, const std::vector<std::int32_t>& ids) {
  const auto n = static_cast<idx_t>(ids.size());
  const idx_t channels = model.config().hidden_size;
  Tensor y1({n, channels}), y2({n, channels}), h({n, 2 * channels});
  Tensor logits({n, model.config().vocab_size});
  model.Encode(context, {1, n, ids, {}, {}}, y1.view<2>(), y2.view<2>());
  model.Normalise(context, y1.view<2>(), y2.view<2>(), h.view<2>());
  model.Logits(context, h.view<2>(), logits.view<2>());
  return logits;
}

// Feeds `ids`, the first `first` at once; calls check(position) when a position's logits are there.
template <class Check>
void FeedOneByOne(Context& context, ReformerDecoder& decoder, const std::vector<std::int32_t>& ids,
                  idx_t first, const Check& check) {
  const std::span<const std::int32_t> all(ids);
  decoder.Feed(context, all.first(static_cast<std::size_t>(first)));
  for (idx_t t = first - 1; t < static_cast<idx_t>(ids.size()); ++t) {
    check(t);
    if (t + 1 < static_cast<idx_t>(ids.size())) {
      decoder.Feed(context, all.subspan(static_cast<std::size_t>(t + 1), 1));
    }
  }
}

void ExpectLogits(const ReformerDecoder& decoder, const Tensor& expected, idx_t row) {
  for (idx_t v = 0; v < 31; ++v) {
    ASSERT_NEAR(decoder.logits()[static_cast<std::size_t>(v)], expected.view<2>()(row, v), 2e-5)
        << "token " << v;
  }
}

class DecoderTest : public testing::TestWithParam<std::tuple<idx_t, bool, idx_t>> {};

TEST_P(DecoderTest, EqualsTheFullForwardAtEveryPosition) {
  const auto [before, axial, first] = GetParam();
  Context context(2);
  Reformer model(SmallConfig(before, axial));
  model.Initialise(1);
  const auto ids = RandomIds(45);
  const Tensor expected = FullLogits(context, model, ids);
  ReformerDecoder decoder(model, 64);
  FeedOneByOne(context, decoder, ids, first, [&](idx_t t) { ExpectLogits(decoder, expected, t); });
}

INSTANTIATE_TEST_SUITE_P(Prompts, DecoderTest,
                         testing::Combine(testing::Values(0, 1, 2), testing::Bool(),
                                          testing::Values(1, 7, 8, 9, 30)));

// One LSH layer: what earlier tokens are does not depend on the text behind them, so every new
// token is the last row of the full forward pass over the text up to it.
TEST(Decoder, AnLshLayerIsTheLastRowOfTheFullForward) {
  Context context(2);
  for (const idx_t rounds : {1, 3}) {
    for (const bool seeded : {false, true}) {
      ReformerConfig config = SmallConfig(1, true);
      config.layers = {LayerKind::kLsh};
      config.lsh_chunk = 8;
      config.num_hashes = rounds;
      config.num_buckets = {4};
      if (seeded) config.hash_seed = 5;
      Reformer model(config);
      model.Initialise(1);
      const auto ids = RandomIds(45);
      ReformerDecoder decoder(model, 64);
      FeedOneByOne(context, decoder, ids, 13, [&](idx_t t) {
        const Tensor full = FullLogits(context, model, {ids.begin(), ids.begin() + t + 1});
        SCOPED_TRACE(t);
        ExpectLogits(decoder, full, t);
      });
    }
  }
}

// Texts of at most one chunk are not hashed: any depth equals the full forward.
TEST(Decoder, ShortTextsEqualTheFullForwardWithLshLayers) {
  Context context(2);
  ReformerConfig config = SmallConfig(1, true);
  config.layers = {LayerKind::kLocal, LayerKind::kLsh, LayerKind::kLsh};
  config.lsh_chunk = 16;
  config.num_hashes = 2;
  Reformer model(config);
  model.Initialise(1);
  const auto ids = RandomIds(16);
  const Tensor full = FullLogits(context, model, ids);
  ReformerDecoder decoder(model, 64);
  FeedOneByOne(context, decoder, ids, 3, [&](idx_t t) { ExpectLogits(decoder, full, t); });
}

// Full attention in both forms: nothing moves when the text grows.
TEST(Decoder, FullAttentionEqualsTheFullForward) {
  Context context(2);
  ReformerConfig config = SmallConfig(1, true);
  config.layers = {LayerKind::kLocal, LayerKind::kLsh, LayerKind::kLocal, LayerKind::kLsh};
  config.attention = AttentionChoice::kFull;
  Reformer model(config);
  model.Initialise(1);
  const auto ids = RandomIds(45);
  const Tensor full = FullLogits(context, model, ids);
  ReformerDecoder decoder(model, 64);
  FeedOneByOne(context, decoder, ids, 20, [&](idx_t t) { ExpectLogits(decoder, full, t); });
}

TEST(Decoder, RefusesMoreThanItsRoom) {
  Context context(1);
  Reformer model(SmallConfig(1, true));
  EXPECT_THROW(ReformerDecoder(model, 65), Error);
  ReformerDecoder decoder(model, 4);
  const auto ids = RandomIds(5);
  EXPECT_THROW(decoder.Feed(context, ids), Error);
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

std::vector<std::int32_t> Written(Reformer& model, idx_t prompt, const GenerateOptions& options) {
  Context context(2);
  std::vector<std::int32_t> written;
  Generate(context, model, RandomIds(prompt), options, [&](std::int32_t id) {
    written.push_back(id);
    return true;
  });
  return written;
}

TEST(Generate, SameSeedSameTextAndAnyLength) {
  Reformer model(SmallConfig(1, true));
  model.Initialise(1);
  GenerateOptions options;
  options.tokens = 200;  // more than the 64 positions
  options.banned = {1};
  const auto text = Written(model, 10, options);
  EXPECT_EQ(text.size(), 200u);
  EXPECT_EQ(text, Written(model, 10, options));
  options.sampling.seed = 2;
  EXPECT_NE(text, Written(model, 10, options));
  EXPECT_EQ(Written(model, 1000, options).size(), 200u);  // a prompt longer than all positions
  options.context = 5;
  EXPECT_EQ(Written(model, 10, options).size(), 200u);
}

TEST(Generate, BannedTokensNeverAppearAndEndOfTextStops) {
  Reformer model(SmallConfig(1, true));
  model.Initialise(1);
  GenerateOptions options;
  options.tokens = 300;
  options.sampling.temperature = 5.0;
  for (std::int32_t id = 2; id < 31; ++id) options.banned.push_back(id);
  options.banned.push_back(0);  // only end of text is left
  EXPECT_TRUE(Written(model, 3, options).empty());
}

}  // namespace
}  // namespace longspan
