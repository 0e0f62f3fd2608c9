// Generation with a cache: against a plain reference in double, against the full forward pass where
// the two are the same, and against itself under other conditions.
#include <gtest/gtest.h>

#include <cmath>

#include "base/errors.h"
#include "families/reformer/reformer_decode_ref.h"
#include "families/reformer/reformer_decoder.h"
#include "families/reformer/reformer_test.h"
#include "inspect/decode_agreement.h"
#include "tests/support/compare.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using Ids = std::vector<std::int32_t>;

constexpr idx_t kLength = 45;

ReformerConfig DecoderConfig(std::vector<LayerKind> layers) {
  ReformerConfig c = SmallConfig();
  c.layers = std::move(layers);
  c.activation = "relu";
  c.lsh_chunk = 8;
  c.local_chunk = 8;
  c.lsh_dropout = 0.0;
  c.axial_norm_std = 0.3;
  return c;
}

ReformerConfig Mixed() {
  return DecoderConfig({LayerKind::kLocal, LayerKind::kLsh, LayerKind::kLocal, LayerKind::kLsh});
}

Ids RandomIds(std::uint64_t seed, idx_t count = kLength) {
  Rng rng(seed);
  Ids ids;
  for (idx_t i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>(rng.Below(31)));
  return ids;
}

std::span<const std::int32_t> Part(const Ids& ids, idx_t begin, idx_t count) {
  return std::span(ids).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count));
}

// Texts that are decoded side by side, each with a prompt of its own length.
struct DecodedTexts {
  DecodedTexts(Context& context, Reformer& model, std::vector<idx_t> prompt_lengths,
               idx_t room = kLength)
      : prompts(std::move(prompt_lengths)), decoder(model) {
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      texts.push_back(RandomIds(10 + i, room));
      decoder.Add(context, Part(texts[i], 0, prompts[i]), room);
    }
  }
  // Gives every text that is not at its end its next token; false when all are.
  bool Step(Context& context) {
    std::vector<idx_t> going;
    Ids next;
    for (idx_t i = 0; i < static_cast<idx_t>(texts.size()); ++i) {
      const Ids& text = texts[static_cast<std::size_t>(i)];
      const idx_t at = decoder.tokens(i);
      if (at == static_cast<idx_t>(text.size())) continue;
      going.push_back(i);
      next.push_back(text[static_cast<std::size_t>(at)]);
    }
    if (!going.empty()) decoder.Step(context, going, next);
    return !going.empty();
  }
  std::vector<float> AllLogits() const {
    std::vector<float> all;
    for (idx_t i = 0; i < decoder.texts(); ++i) {
      all.insert(all.end(), decoder.logits(i).begin(), decoder.logits(i).end());
    }
    return all;
  }

  std::vector<idx_t> prompts;
  std::vector<Ids> texts;
  ReformerDecoder decoder;
};

// ---- the plain reference ------------------------------------------------------------------------

void ExpectReference(const ReformerConfig& config, const std::vector<idx_t>& prompts,
                     idx_t room = kLength) {
  Context context(2);
  Reformer model = Initialised(config);
  DecodedTexts batch(context, model, prompts, room);
  std::vector<ref::DecodeReference> references;
  std::vector<ref::Row> want;
  std::vector<idx_t> at = prompts;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    references.emplace_back(model, room);
    want.push_back(references[i].Prefill(Part(batch.texts[i], 0, prompts[i])));
  }
  do {
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const auto text = static_cast<idx_t>(i);
      for (; at[i] < batch.decoder.tokens(text); ++at[i]) {
        want[i] = references[i].Step(batch.texts[i][static_cast<std::size_t>(at[i])]);
      }
      SCOPED_TRACE(testing::Message() << "text " << i << ", " << at[i] << " tokens");
      EXPECT_MATCHES(batch.decoder.logits(text), std::span<const double>(want[i]),
                     (test::Tolerance{2e-4, 2e-5}));
      if (testing::Test::HasFailure()) return;
    }
  } while (batch.Step(context));
}

// Prompts within the first chunk, of exactly one, just behind it, and of several chunks.
const std::vector<idx_t> kRagged = {3, 8, 9, 30};

class AgainstReference : public testing::TestWithParam<std::tuple<idx_t, bool>> {
 protected:
  std::vector<std::vector<idx_t>> Batches() const {
    if (std::get<1>(GetParam())) return {kRagged};
    std::vector<std::vector<idx_t>> single;
    for (const idx_t prompt : kRagged) single.push_back({prompt});
    return single;
  }
  ReformerConfig Config() const {
    ReformerConfig config = Mixed();
    config.num_hashes = std::get<0>(GetParam());
    return config;
  }
};

TEST_P(AgainstReference, OneFactorOfBuckets) {
  ReformerConfig config = Config();
  config.num_buckets = {4};
  for (const auto& prompts : Batches()) ExpectReference(config, prompts);
}

TEST_P(AgainstReference, TwoFactorsAndASeed) {
  ReformerConfig config = Config();
  config.num_buckets = {4, 2};
  config.hash_seed = 7;
  for (const auto& prompts : Batches()) ExpectReference(config, prompts);
}

TEST_P(AgainstReference, BucketsFromTheCapacity) {
  for (const auto& prompts : Batches()) ExpectReference(Config(), prompts);
}

TEST_P(AgainstReference, OtherWindows) {
  for (const auto& [before, after] : std::vector<std::pair<idx_t, idx_t>>{{0, 0}, {2, 0}, {1, 1}}) {
    ReformerConfig config = Config();
    config.num_buckets = {6};
    config.lsh_before = before;
    config.lsh_after = after;
    for (const auto& prompts : Batches()) ExpectReference(config, prompts);
  }
}

INSTANTIATE_TEST_SUITE_P(RoundsAndBatch, AgainstReference,
                         testing::Combine(testing::Values(1, 4), testing::Bool()));

// More heads than a chunk has tokens, and chunks of different lengths.
TEST(ReformerDecode, ManyHeadsAndUnequalChunks) {
  ReformerConfig config = Mixed();
  config.heads = 6;
  config.head_size = 4;
  config.lsh_chunk = 4;
  config.local_chunk = 6;
  config.num_hashes = 2;
  config.num_buckets = {4};
  ExpectReference(config, {3, 4, 5, 20});
}

// Room that is never more than a chunk: nothing can be hashed.
TEST(ReformerDecode, RoomOfOneChunk) { ExpectReference(Mixed(), {1, 5, 8}, 8); }

// ---- the full forward pass ----------------------------------------------------------------------

// Logits of every position by the full forward pass.
Tensor FullLogits(Context& context, Reformer& model, std::span<const std::int32_t> ids) {
  const auto n = static_cast<idx_t>(ids.size());
  const idx_t channels = model.config().hidden_size;
  Tensor y1({n, channels}), y2({n, channels}), h({n, 2 * channels});
  Tensor logits({n, model.config().vocab_size});
  model.Encode(context, {1, n, ids, {}, {}}, y1.view<2>(), y2.view<2>());
  model.Normalise(context, y1.view<2>(), y2.view<2>(), h.view<2>());
  model.Logits(context, h.view<2>(), logits.view<2>());
  return logits;
}

void ExpectRow(std::span<const float> logits, const Tensor& full, idx_t row) {
  const auto size = static_cast<std::size_t>(full.shape()[1]);
  const std::span<const float> want(&full.view<2>()(row, 0), size);
  EXPECT_MATCHES(logits, want, (test::Tolerance{3e-5, 3e-5}));
}

// At every position, whatever the prompts' lengths.
void ExpectFullForward(const ReformerConfig& config, const std::vector<idx_t>& prompts,
                       idx_t room = kLength) {
  Context context(2);
  Reformer model = Initialised(config);
  DecodedTexts batch(context, model, prompts, room);
  std::vector<Tensor> full;
  for (const Ids& text : batch.texts) full.push_back(FullLogits(context, model, text));
  do {
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      const auto text = static_cast<idx_t>(i);
      SCOPED_TRACE(testing::Message() << "text " << i << " " << batch.decoder.tokens(text));
      ExpectRow(batch.decoder.logits(text), full[i], batch.decoder.tokens(text) - 1);
      if (testing::Test::HasFailure()) return;
    }
  } while (batch.Step(context));
}

TEST(ReformerDecode, LocalLayersEqualTheFullForward) {
  for (const idx_t before : {0, 1, 2, 3}) {
    for (const bool axial : {false, true}) {
      ReformerConfig config = DecoderConfig({LayerKind::kLocal, LayerKind::kLocal});
      config.local_before = before;
      config.axial = axial;
      config.activation = "gelu";
      ExpectFullForward(config, {1, 7, 8, 9, 17, 30});
    }
  }
}

TEST(ReformerDecode, TextsOfOneChunkEqualTheFullForward) {
  ReformerConfig config = Mixed();
  config.lsh_chunk = 16;
  config.num_hashes = 2;
  ExpectFullForward(config, {1, 3, 15, 16}, 16);
}

TEST(ReformerDecode, ChunksOfTheTextEqualTheFullForward) {
  for (const idx_t before : {0, 1, 2}) {
    ReformerConfig config = Mixed();
    config.attention = AttentionChoice::kLocal;
    config.lsh_before = config.local_before = before;
    ExpectFullForward(config, {1, 8, 9, 30});
  }
}

TEST(ReformerDecode, FullAttentionEqualsTheFullForward) {
  ReformerConfig config = Mixed();
  config.attention = AttentionChoice::kFull;
  ExpectFullForward(config, {1, 8, 30});
}

// The prompt of any model is one forward pass, to the last bit but for the head's product.
TEST(ReformerDecode, PromptsAreOneForwardPass) {
  Context context(2);
  for (const idx_t rounds : {1, 4}) {
    ReformerConfig config = Mixed();
    config.num_hashes = rounds;
    Reformer model = Initialised(config);
    for (const idx_t prompt : {5, 8, 9, 31, 45}) {
      const Ids ids = RandomIds(3, prompt);
      ReformerDecoder decoder(model);
      decoder.Add(context, ids, 200);
      ExpectRow(decoder.logits(0), FullLogits(context, model, ids), prompt - 1);
    }
  }
}

// Full attention decodes as the forward pass; hashing does not, but is not far off.
TEST(ReformerDecode, AgreementIsMeasured) {
  Context context(2);
  ReformerConfig config = Mixed();
  config.attention = AttentionChoice::kFull;
  Reformer full = Initialised(config);
  const Ids ids = RandomIds(4, 60);
  const DecodeAgreement same = CompareDecoding(context, full, ids, 20);
  EXPECT_EQ(same.tokens, 39);
  EXPECT_EQ(same.same_first, 39);
  EXPECT_LT(same.most_difference, 1e-4);
  EXPECT_NEAR(same.full_loss, same.cached_loss, 1e-3);
  Reformer hashed = Initialised(Mixed());
  const DecodeAgreement other = CompareDecoding(context, hashed, ids, 20);
  EXPECT_GT(other.most_difference, 1e-4);
  EXPECT_GT(other.mean_difference(), 0.0);
  EXPECT_LT(other.mean_difference(), other.most_difference);
  EXPECT_THROW(CompareDecoding(context, full, ids, 59), Error);
  EXPECT_THROW(CompareDecoding(context, full, ids, 0), Error);
}

// ---- texts side by side -------------------------------------------------------------------------

ReformerConfig TwoRounds() {
  ReformerConfig config = Mixed();
  config.num_hashes = 2;
  return config;
}

TEST(ReformerDecode, TextsHaveTheBitsThatTheyHaveAlone) {
  Context context(2);
  Reformer model = Initialised(TwoRounds());
  std::vector<idx_t> prompts;
  for (idx_t i = 0; i < 11; ++i) prompts.push_back(1 + 4 * i);  // more than one product's rows
  DecodedTexts together(context, model, prompts);
  while (together.Step(context)) {
  }
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    ReformerDecoder alone(model);
    const Ids& text = together.texts[i];
    alone.Add(context, Part(text, 0, prompts[i]), kLength);
    const idx_t first = 0;
    for (idx_t t = prompts[i]; t < kLength; ++t) {
      alone.Step(context, {&first, 1}, Part(text, t, 1));
    }
    const auto want = alone.logits(0), got = together.decoder.logits(static_cast<idx_t>(i));
    EXPECT_SAME_BITS(got, want);
  }
}

TEST(ReformerDecode, SameBitsForAnyThreads) {
  test::ExpectSameBitsForAnyThreads([](Context& context) {
    Reformer model = Initialised(TwoRounds());
    DecodedTexts batch(context, model, kRagged);
    std::vector<float> all = batch.AllLogits();
    while (batch.Step(context)) {
      const auto logits = batch.AllLogits();
      all.insert(all.end(), logits.begin(), logits.end());
    }
    return all;
  });
}

// Beams: a text that is copied, dropped and put elsewhere goes on as if nothing had happened, and
// its copies go their own ways.
TEST(ReformerDecode, SelectedTextsGoOn) {
  Context context(2);
  Reformer model = Initialised(TwoRounds());
  const Ids prompt = RandomIds(1, 13);
  const std::vector<Ids> ends = {RandomIds(2, 60), RandomIds(3, 60), RandomIds(4, 60)};
  ReformerDecoder beams(model);
  beams.Add(context, prompt, 150);
  const std::vector<idx_t> zeros = {0, 0, 0}, turned = {2, 0, 1};
  beams.Select(zeros);
  std::vector<std::size_t> of = {0, 1, 2};  // whose end text i takes
  for (std::size_t t = 0; t < 60; ++t) {
    const std::vector<idx_t> all = {0, 1, 2};
    beams.Step(context, all, Ids{ends[of[0]][t], ends[of[1]][t], ends[of[2]][t]});
    if (t % 7 == 3) {
      beams.Select(turned);
      of = {of[2], of[0], of[1]};
    }
  }
  for (std::size_t i = 0; i < 3; ++i) {
    ReformerDecoder alone(model);
    alone.Add(context, prompt, 150);
    const idx_t first = 0;
    for (const std::int32_t id : ends[of[i]]) alone.Step(context, {&first, 1}, Ids{id});
    const auto want = alone.logits(0), got = beams.logits(static_cast<idx_t>(i));
    EXPECT_SAME_BITS(got, want);
  }
}

TEST(ReformerDecode, ReplacedTextsBeginAnew) {
  Context context(2);
  Reformer model = Initialised(TwoRounds());
  DecodedTexts batch(context, model, {20, 30});
  batch.Step(context);
  const Ids other = RandomIds(50, 25);
  batch.decoder.Replace(context, 0, other);
  EXPECT_EQ(batch.decoder.tokens(0), 25);
  ReformerDecoder fresh(model);
  fresh.Add(context, other, kLength);
  const auto want = fresh.logits(0), got = batch.decoder.logits(0);
  EXPECT_SAME_BITS(got, want);
}

// ---- memory and bad arguments -------------------------------------------------------------------

// Local layers keep their window only, LSH layers a cell a token.
TEST(ReformerDecode, MemoryOfTheCache) {
  Context context(1);
  ReformerConfig local = DecoderConfig({LayerKind::kLocal, LayerKind::kLocal});
  Reformer model = Initialised(local);
  ReformerDecoder decoder(model);
  decoder.Add(context, RandomIds(1, 200), 256);
  const std::size_t page = CachedCells::kPageTokens * 2 * 24 * sizeof(float);
  EXPECT_LE(decoder.CacheBytes(), 2 * 2 * page);
  Reformer hashed = Initialised(DecoderConfig({LayerKind::kLsh}));
  ReformerDecoder keeps(hashed);
  keeps.Add(context, RandomIds(1, 200), 256);
  EXPECT_GE(keeps.CacheBytes(), 200 * 2 * 24 * sizeof(float));
}

TEST(ReformerDecode, BadArguments) {
  Context context(1);
  Reformer model = Initialised(Mixed());
  ReformerDecoder decoder(model);
  const Ids ids = RandomIds(1, 20);
  EXPECT_THROW(decoder.Add(context, {}, 10), Error);
  EXPECT_THROW(decoder.Add(context, ids, 19), Error);
  EXPECT_THROW(decoder.Add(context, ids, 257), Error);
  decoder.Add(context, ids, 21);
  const std::vector<idx_t> first = {0}, second = {1}, twice = {0, 0};
  decoder.Step(context, first, Ids{3});
  EXPECT_THROW(decoder.Step(context, first, Ids{3}), Error);  // full
  EXPECT_THROW(decoder.Step(context, second, Ids{3}), Error);
  EXPECT_THROW(decoder.Step(context, first, Ids{3, 4}), Error);
  EXPECT_THROW(decoder.Step(context, twice, Ids{3, 4}), Error);
  EXPECT_THROW(decoder.Select(second), Error);
  ReformerConfig encoder = Mixed();
  encoder.is_decoder = false;
  Reformer sees_ahead = Initialised(encoder);
  EXPECT_THROW(ReformerDecoder{sees_ahead}, Error);
  ReformerConfig bare = Mixed();
  bare.head = HeadKind::kNone;
  Reformer headless = Initialised(bare);
  EXPECT_THROW(ReformerDecoder{headless}, Error);
}

}  // namespace
}  // namespace longspan
