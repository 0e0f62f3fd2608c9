// Texts of any length: hidden tokens on either side, positions, rounds and embeddings that a call
// gives, and the original's rules where they are asked for.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "families/families.h"
#include "families/reformer/original_rules.h"
#include "families/reformer/reformer.h"
#include "families/reformer/reformer_files.h"
#include "families/reformer/reformer_test.h"
#include "io/file.h"
#include "longspan/model.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using test::Throws;

ReformerConfig EncoderConfig() {
  ReformerConfig c = MixedConfig();
  c.head = HeadKind::kMaskedLm;
  c.is_decoder = false;
  c.local_after = c.lsh_after = 1;
  return c;
}

struct Step {
  double loss = 0.0;
  std::vector<float> gradients;
};

Step StepOf(Reformer& model, const ReformerBatch& batch, const StepDropout& dropout = {}) {
  Context context(2);
  if (!model.parameters().has_gradients()) model.parameters().AllocateGradients();
  const View<float, 1> gradients = model.parameters().gradients();
  std::fill_n(gradients.data, gradients.size(), 0.0f);
  Step step;
  step.loss = model.LossAndGradients(context, batch, std::nullopt, dropout).sum;
  step.gradients = Copied(model.parameters().gradients());
  return step;
}

// The last axis of (B, T, ...) at one token.
std::vector<float> TokenOf(const std::vector<float>& streams, idx_t token) {
  const idx_t channels = 24;
  return {streams.begin() + token * channels, streams.begin() + (token + 1) * channels};
}

// ---- hidden tokens ------------------------------------------------------------------------------

// Left, right and in the middle: whatever stands in hidden places, the others do not see it.
TEST(Padding, WhatIsHiddenLeavesNoTrace) {
  const idx_t tokens = 45;
  for (const auto& [begin, end] : {std::pair<idx_t, idx_t>{0, 11}, {36, 45}, {20, 27}}) {
    for (const bool causal : {true, false}) {
      SCOPED_TRACE(testing::Message() << begin << " to " << end << " causal " << causal);
      Reformer model = Initialised(causal ? MixedConfig() : EncoderConfig());
      RandomBatch data(2, tokens, 31, 4);
      std::vector<std::uint8_t> mask(2 * 45, 1);
      for (idx_t t = begin; t < end; ++t) {  // in the first row
        mask[static_cast<std::size_t>(t)] = 0;
        data.targets[static_cast<std::size_t>(t)] = kIgnoreLabel;
      }
      data.batch.roles = {mask.data(), {2, tokens}};
      const auto one = Encoded(model, data.batch);
      const Step first = StepOf(model, data.batch);
      for (idx_t t = begin; t < end; ++t) {
        data.ids[static_cast<std::size_t>(t)] = (data.ids[static_cast<std::size_t>(t)] + 7) % 31;
      }
      const auto other = Encoded(model, data.batch);
      const Step second = StepOf(model, data.batch);
      idx_t differing = 0;
      for (idx_t t = 0; t < 4 * tokens; ++t) {  // both rows of both streams
        const bool same = TokenOf(one, t) == TokenOf(other, t);
        const bool hidden = t % (2 * tokens) >= begin && t % (2 * tokens) < end;
        EXPECT_TRUE(same || hidden) << "token " << t;
        differing += same ? 0 : 1;
      }
      EXPECT_GT(differing, 0);  // hidden tokens themselves do change
      EXPECT_DOUBLE_EQ(first.loss, second.loss);
    }
  }
}

TEST(Padding, GradientsMatchDifferencesWithTextsOfDifferentLengths) {
  ReformerConfig config = EncoderConfig();
  config.num_buckets = {2};
  std::vector<std::uint8_t> mask(3 * 21, 1);
  for (idx_t t = 0; t < 6; ++t) mask[static_cast<std::size_t>(t)] = 0;             // left
  for (idx_t t = 21 + 12; t < 2 * 21; ++t) mask[static_cast<std::size_t>(t)] = 0;  // right
  ExpectSlope(config, {}, 3, 21, {mask.data(), {3, 21}});
}

// ---- positions ----------------------------------------------------------------------------------

TEST(Positions, CountedOnesAreThoseOfTheRow) {
  for (const bool axial : {true, false}) {
    ReformerConfig config = MixedConfig();
    config.axial = axial;
    Reformer model = Initialised(config);
    RandomBatch data(2, 45, 31, 4);
    const auto expected = Encoded(model, data.batch);
    const Step step = StepOf(model, data.batch);
    std::vector<std::int32_t> positions(2 * 45);
    for (std::size_t i = 0; i < positions.size(); ++i) {
      positions[i] = static_cast<std::int32_t>(i % 45);
    }
    data.batch.positions = positions;
    EXPECT_SAME_BITS(Span(Encoded(model, data.batch)), Span(expected));
    const Step same = StepOf(model, data.batch);
    EXPECT_EQ(same.loss, step.loss);
    EXPECT_MATCHES(Span(same.gradients), Span(step.gradients), (test::Tolerance{2e-4, 2e-6}));
  }
}

// A text that is padded on the left and keeps its positions: each of its tokens has the embedding
// that it has alone. Seen in the one token that attends to nobody else.
TEST(Positions, GivenOnesMoveTheEmbeddings) {
  Context context(1);
  ReformerConfig config = MixedConfig();
  config.layers = {LayerKind::kLocal};
  Reformer model = Initialised(config);
  const std::vector<std::int32_t> ids = {5}, positions = {37};
  ReformerBatch one{1, 1, ids, {}};
  one.positions = positions;
  Tensor direct({1, 24}), y1({1, 24}), y2({1, 24});
  std::vector<Tensor> hidden;
  model.EmbedAt(context, ids, 37, direct.view<2>());
  model.Encode(context, one, y1.view<2>(), y2.view<2>(), &hidden);
  const std::span<const float> a(direct.data<float>(), 24), b(hidden[0].data<float>(), 24);
  EXPECT_SAME_BITS(b, a);
}

TEST(Positions, GradientsMatchDifferencesWhenTheyJumpAndRepeat) {
  for (const bool axial : {true, false}) {
    ReformerConfig config = MixedConfig();
    config.axial = axial;
    config.num_buckets = {2};
    config.hidden_dropout = 0.2;
    RandomBatch data(2, 21, config.vocab_size, 6);
    std::vector<std::int32_t> positions;
    for (int i = 0; i < 42; ++i) positions.push_back(i % 21 < 9 ? 100 + i % 21 : (i * 5) % 64);
    data.batch.positions = positions;
    SlopeCheck(config, {true, 7}, data.batch).ExpectAll();
  }
}

TEST(Positions, BeyondTheTablesAreRefused) {
  Context context(1);
  Reformer model = Initialised(MixedConfig());
  RandomBatch data(1, 4, 31, 4);
  std::vector<std::int32_t> positions = {0, 1, 2, 256};
  data.batch.positions = positions;
  EXPECT_TRUE(Throws([&] { model.Loss(context, data.batch); }, ErrorCode::kUsage, "256"));
  positions[3] = -1;
  EXPECT_TRUE(Throws([&] { model.Loss(context, data.batch); }, ErrorCode::kUsage, "-1"));
}

// ---- embeddings ---------------------------------------------------------------------------------

TEST(Embeddings, OfTheWordTableAreTheWords) {
  Reformer model = Initialised(MixedConfig());
  RandomBatch data(2, 45, 31, 4);
  const auto expected = Encoded(model, data.batch);
  const View<const float, 2> words =
      model.parameters().matrix("reformer.embeddings.word_embeddings.weight");
  Tensor rows({90, 24});
  for (idx_t i = 0; i < 90; ++i) {
    std::copy_n(&words(data.ids[static_cast<std::size_t>(i)], 0), 24, rows.data<float>() + i * 24);
  }
  const Step by_ids = StepOf(model, data.batch);
  ReformerBatch batch = data.batch;
  batch.ids = {};
  batch.embeddings = std::as_const(rows).view<2>();
  EXPECT_SAME_BITS(Span(Encoded(model, batch)), Span(expected));
  const Step by_rows = StepOf(model, batch);
  EXPECT_EQ(by_rows.loss, by_ids.loss);
  // Nothing flows into the table that was not asked; everything else is the same.
  const ParameterInfo& info = model.parameters().at("reformer.embeddings.word_embeddings.weight");
  for (idx_t i = 0; i < static_cast<idx_t>(by_ids.gradients.size()); ++i) {
    const bool word = i >= info.offset && i < info.offset + info.size;
    const float want = word ? 0.0f : by_ids.gradients[static_cast<std::size_t>(i)];
    ASSERT_EQ(by_rows.gradients[static_cast<std::size_t>(i)], want) << i;
  }
}

// ---- rounds of hashing --------------------------------------------------------------------------

TEST(Rounds, OfACallReplaceTheConfigs) {
  ReformerConfig config = MixedConfig();
  config.hash_seed = 3;  // both models rotate alike
  Reformer two = Initialised(config);
  config.num_hashes = 4;
  Reformer four = Initialised(config);
  RandomBatch data(2, 45, 31, 4);
  const auto expected = Encoded(four, data.batch);
  const Step step = StepOf(four, data.batch, {true, 9});
  EXPECT_NE(Encoded(two, data.batch), expected);
  data.batch.num_hashes = 4;
  EXPECT_SAME_BITS(Span(Encoded(two, data.batch)), Span(expected));
  const Step overridden = StepOf(two, data.batch, {true, 9});  // in training too
  EXPECT_EQ(overridden.loss, step.loss);
  EXPECT_SAME_BITS(Span(overridden.gradients), Span(step.gradients));
  Context context(1);
  data.batch.num_hashes = 1025;
  EXPECT_TRUE(Throws([&] { two.Loss(context, data.batch); }, ErrorCode::kUsage, "1025"));
}

// One step's forward pass may come between another's and its backward: nothing of a call outlives
// it.
TEST(Rounds, CallsDoNotDisturbEachOther) {
  ReformerConfig config = MixedConfig();
  config.hidden_dropout = 0.2;
  Reformer model = Initialised(config);
  RandomBatch a(2, 45, 31, 4), b(1, 77, 31, 5);
  b.batch.num_hashes = 5;
  const Step alone = StepOf(model, a.batch, {true, 1});
  StepOf(model, b.batch, {true, 2});
  Encoded(model, b.batch);
  const Step again = StepOf(model, a.batch, {true, 1});
  EXPECT_EQ(again.loss, alone.loss);
  EXPECT_SAME_BITS(Span(again.gradients), Span(alone.gradients));
}

// With num_buckets null every text has the number that its own length asks for.
TEST(Buckets, TheirNumberIsNotThatOfTheFirstText) {
  ReformerConfig config = MixedConfig();
  RandomBatch shorter(1, 20, 31, 4), longer(1, 200, 31, 5);
  Reformer fresh = Initialised(config), used = Initialised(config);
  const std::string before = ToJson(used.config());
  Encoded(used, shorter.batch);
  EXPECT_SAME_BITS(Span(Encoded(used, longer.batch)), Span(Encoded(fresh, longer.batch)));
  EXPECT_EQ(ToJson(used.config()), before);
  EXPECT_TRUE(used.config().num_buckets.empty());
}

// ---- the installed class ------------------------------------------------------------------------

TEST(ModelClass, TakesHiddenTokensRoundsAndTextsOfAnyLengths) {
  Context context(2);
  ModelOptions three_rounds;
  three_rounds.reformer.num_hashes = 3;
  const Model model = Model::Init(ToJson(MixedConfig()), 3);
  const Model hashing = Model::Init(ToJson(MixedConfig()), 3, three_rounds);
  const RandomBatch data(2, 45, 31, 4);
  Reformer reformer = Initialised(MixedConfig());
  ReformerBatch batch = data.batch;
  batch.num_hashes = 3;
  Tensor y1({90, 24}), y2({90, 24});
  reformer.Encode(context, batch, y1.view<2>(), y2.view<2>());
  const Tensor expected = reformer.HeadLogits(context, 2, y1.view<2>(), y2.view<2>());
  BatchView rows;
  rows.rows = 2;
  rows.tokens = 45;
  rows.ids = data.ids;
  const Tensor logits = hashing.Logits(context, rows);
  const auto values = [](const Tensor& t) {
    return std::span<const float>(t.data<float>(), static_cast<std::size_t>(t.size()));
  };
  EXPECT_SAME_BITS(values(logits), values(expected));

  std::vector<std::vector<std::int32_t>> texts;
  for (const std::ptrdiff_t length : {20, 45, 20, 1}) {
    texts.emplace_back(data.ids.begin(), data.ids.begin() + length);
    texts.back()[0] = static_cast<std::int32_t>(texts.size());
  }
  const std::vector<Tensor> ragged = model.RaggedLogits(context, texts);
  const Batch padded = Batch::Of(texts);
  const Tensor together = model.Logits(context, padded.view());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Batch one = Batch::Of(std::span(&texts[i], 1));
    const Tensor alone = model.Logits(context, one.view());
    ASSERT_EQ(ragged[i].shape(), alone.shape());
    EXPECT_MATCHES(values(ragged[i]), values(alone), (test::Tolerance{1e-5, 1e-6}));
    // Padding in a batch changes nothing either.
    const std::span<const float> row =
        values(together).subspan(i * 45 * static_cast<std::size_t>(alone.shape()[1]),
                                 static_cast<std::size_t>(alone.size()));
    EXPECT_MATCHES(row, values(alone), (test::Tolerance{1e-5, 1e-6}));
  }
  rows.ids = rows.ids.first(89);
  EXPECT_TRUE(Throws([&] { model.Logits(context, rows); }, ErrorCode::kUsage, "89 ids"));
}

// ---- the rotations' seed ------------------------------------------------------------------------

TEST(RotationSeed, IsKeptWithTheModel) {
  const test::TempDir directory;
  ReformerConfig config = MixedConfig();
  const RandomBatch data(1, 100, 31, 4);
  Reformer zero = Initialised(config);
  config.rotation_seed = 12;
  Reformer twelve = Initialised(config);
  EXPECT_NE(Encoded(zero, data.batch), Encoded(twelve, data.batch));
  EXPECT_SAME_BITS(Span(Encoded(twelve, data.batch)), Span(Encoded(twelve, data.batch)));
  SaveReformer(twelve, directory.path());
  Reformer loaded = LoadReformer(OpenModelFolder(directory.path()));
  EXPECT_EQ(loaded.config().rotation_seed, 12);
  EXPECT_SAME_BITS(Span(Encoded(loaded, data.batch)), Span(Encoded(twelve, data.batch)));
  const auto json = nlohmann::json::parse(
      io::ReadWholeFile(directory.path() / "config.json", std::uint64_t{1} << 20));
  EXPECT_EQ(json["longspan_rotation_seed"], 12);
  EXPECT_TRUE(json["hash_seed"].is_null());
}

// A hash_seed fixes the rotations and nothing else: dropout goes on drawing anew.
TEST(RotationSeed, AHashSeedLeavesDropoutAlone) {
  ReformerConfig config = MixedConfig();
  config.hash_seed = 4;
  const RandomBatch data(1, 100, 31, 4);
  Reformer model = Initialised(config);
  EXPECT_EQ(StepOf(model, data.batch, {true, 1}).loss, StepOf(model, data.batch, {true, 2}).loss);
  config.hidden_dropout = 0.2;
  Reformer dropping = Initialised(config);
  EXPECT_NE(StepOf(dropping, data.batch, {true, 1}).loss,
            StepOf(dropping, data.batch, {true, 2}).loss);
}

// ---- the original's rules -----------------------------------------------------------------------

ReformerConfig StrictConfig() {
  ReformerConfig c = MixedConfig();
  c.local_chunk = 4;
  c.lsh_chunk = 6;
  c.max_positions = 240;
  return c;  // axial 16 x 16, whole chunks: multiples of 12
}

TEST(Strict, TrainingWantsTheOriginalsLengths) {
  const auto error = [](const ReformerConfig& config,
                        const std::function<void(ReformerBatch*)>& change, idx_t tokens) {
    ReformerBatch batch;
    batch.rows = 1;
    batch.tokens = tokens;
    change(&batch);
    try {
      CheckOriginalRules(config, batch, true);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kUsage);
      return std::string(e.what());
    }
    return std::string();
  };
  const auto nothing = [](ReformerBatch*) {};
  ReformerConfig table = StrictConfig();
  table.axial = false;
  EXPECT_NE(error(table, nothing, 30).find("multiple of 12"), std::string::npos);
  EXPECT_NE(error(table, nothing, 5).find("at most 4"), std::string::npos);
  EXPECT_EQ(error(table, nothing, 36), "");
  EXPECT_EQ(error(table, nothing, 3), "");
  EXPECT_NE(error(table, nothing, 252).find("positions for 240"), std::string::npos);
  ReformerConfig axial = StrictConfig();
  EXPECT_NE(error(axial, nothing, 36).find("16 x 16 = 256"), std::string::npos);
  axial.axial_shape = {6, 6};
  EXPECT_EQ(error(axial, nothing, 36), "");
  const std::vector<std::int32_t> positions(36, 0);
  EXPECT_NE(error(
                axial, [&](ReformerBatch* b) { b->positions = positions; }, 36)
                .find("positions"),
            std::string::npos);
  EXPECT_NE(error(
                table, [](ReformerBatch* b) { b->num_hashes = 3; }, 36)
                .find("3 rounds"),
            std::string::npos);
  EXPECT_EQ(error(
                table, [](ReformerBatch* b) { b->num_hashes = 2; }, 36),
            "");
  table.chunk_size_feed_forward = 7;
  EXPECT_NE(error(table, nothing, 36).find("chunk_size_feed_forward 7"), std::string::npos);
  table.chunk_size_feed_forward = 9;
  table.chunk_size_lm_head = 8;
  EXPECT_NE(error(table, nothing, 36).find("chunk_size_lm_head 8"), std::string::npos);
}

TEST(Strict, AModelRefusesWhatTheRulesRefuse) {
  Context context(1);
  Reformer model = Initialised(StrictConfig());
  model.parameters().AllocateGradients();
  RandomBatch data(1, 30, 31, 4);
  const auto step = [&] { model.LossAndGradients(context, data.batch, std::nullopt, {}); };
  step();  // any length, as a rule
  model.SetStrict(true);
  EXPECT_TRUE(Throws(step, ErrorCode::kUsage, "multiple of 12"));
  model.Loss(context, data.batch);  // evaluation pads
  std::vector<std::int32_t> positions(30, 1);
  data.batch.positions = positions;
  EXPECT_TRUE(Throws([&] { model.Loss(context, data.batch); }, ErrorCode::kUsage, "padding to 36"));
  RandomBatch longer(1, 239, 31, 4);  // 240 with padding
  model.Loss(context, longer.batch);
  ReformerConfig fewer = StrictConfig();
  fewer.max_positions = 239;
  Reformer full = Initialised(fewer);
  full.Loss(context, longer.batch);
  full.SetStrict(true);
  EXPECT_TRUE(Throws([&] { full.Loss(context, longer.batch); }, ErrorCode::kUsage, "240"));
}

// Strict evaluation is that of the text with hidden tokens behind it, by ids and by embeddings.
TEST(Strict, EvaluationPadsToWholeChunks) {
  constexpr idx_t kTokens = 38;
  Context context(2);
  for (const bool causal : {true, false}) {
    ReformerConfig config = StrictConfig();
    if (!causal) {
      config.head = HeadKind::kMaskedLm;
      config.is_decoder = false;
      config.local_after = config.lsh_after = 1;
    }
    config.pad_token = 3;
    Reformer model = Initialised(config);
    RandomBatch data(2, kTokens, 31, 4);
    const idx_t padded = PaddedTokens(config, kTokens), channels = 24;
    EXPECT_EQ(padded, 48);
    std::vector<std::int32_t> ids;
    std::vector<std::uint8_t> mask;
    for (idx_t i = 0; i < 2 * padded; ++i) {
      const bool real = i % padded < kTokens;
      ids.push_back(real ? data.ids[static_cast<std::size_t>(i / padded * kTokens + i % padded)]
                         : 3);
      mask.push_back(real);
    }
    const ReformerBatch longer{2, padded, ids, {}, {mask.data(), {2, padded}}};
    const auto expected = Encoded(model, longer);
    const auto loose = Encoded(model, data.batch);
    model.SetStrict(true);
    const auto strict = Encoded(model, data.batch);
    EXPECT_NE(strict, loose);  // a whole chunk of padding may be looked back on
    for (idx_t i = 0; i < 4 * kTokens; ++i) {
      const idx_t row = i / kTokens;
      ASSERT_EQ(TokenOf(strict, i), TokenOf(expected, row * padded + i % kTokens)) << i;
    }
    Tensor y1({2 * kTokens, channels}), y2({2 * kTokens, channels});
    std::vector<Tensor> hidden;
    model.Encode(context, data.batch, y1.view<2>(), y2.view<2>(), &hidden);
    EXPECT_EQ(hidden.front().shape(), (std::vector<idx_t>{2 * padded, channels}));
    const View<const float, 2> words =
        model.parameters().matrix("reformer.embeddings.word_embeddings.weight");
    Tensor rows({2 * kTokens, channels});
    for (idx_t i = 0; i < 2 * kTokens; ++i) {
      std::copy_n(&words(data.ids[static_cast<std::size_t>(i)], 0), channels,
                  rows.data<float>() + i * channels);
    }
    ReformerBatch embedded = data.batch;
    embedded.ids = {};
    embedded.embeddings = std::as_const(rows).view<2>();
    EXPECT_SAME_BITS(Span(Encoded(model, embedded)), Span(strict));
  }
}

// As a rule nothing is padded: hidden states have the text's length.
TEST(Strict, WithoutItHiddenStatesHaveTheTextsLength) {
  Context context(1);
  Reformer model = Initialised(MixedConfig());
  const RandomBatch data(1, 45, 31, 4);
  Tensor y1({45, 24}), y2({45, 24});
  std::vector<Tensor> hidden;
  model.Encode(context, data.batch, y1.view<2>(), y2.view<2>(), &hidden);
  ASSERT_EQ(hidden.size(), 4u);
  for (const Tensor& state : hidden) EXPECT_EQ(state.shape(), (std::vector<idx_t>{45, 24}));
}

}  // namespace
}  // namespace longspan
