// What the LSH layers of a model see of the softmax over all keys.
#include "inspect/lsh_recall.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/errors.h"
#include "families/reformer/attention_mechanism.h"
#include "families/reformer/reformer_test.h"
#include "families/reformer/shared_mechanism.h"
#include "inspect/softmax_mass_test.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

// ---- models -------------------------------------------------------------------------------------

ReformerConfig RecallConfig() {
  ReformerConfig c = SmallConfig();
  c.layers = {LayerKind::kLocal, LayerKind::kLsh, LayerKind::kLsh};
  c.lsh_chunk = 8;
  c.num_hashes = 2;
  c.lsh_dropout = 0.0;
  return c;
}

std::vector<LayerRecall> Recall(const ReformerConfig& config, const LshRecallOptions& options,
                                const std::vector<RandomBatch>& texts, int threads = 2) {
  Context context(threads);
  Reformer model(config);
  model.Initialise(3);
  LshRecall recall(config, options);
  for (const RandomBatch& text : texts) recall.Add(context, model, text.ids);
  return recall.Result();
}

// A layer's queries of head h (T, D) from the stream before it, in double.
std::vector<double> PlainQueries(Reformer& model, const Tensor& stream, std::size_t layer,
                                 idx_t h) {
  const std::string prefix = model.LayerPrefix(layer) + "attention.";
  const auto gain = model.parameters().vector(prefix + "layer_norm.weight");
  const auto shift = model.parameters().vector(prefix + "layer_norm.bias");
  const auto w = model.parameters().matrix(prefix + "self_attention.query_key.weight");
  const auto x = stream.view<2>();
  const idx_t channels = x.extent[1], D = model.config().head_size;
  std::vector<double> queries;
  for (idx_t t = 0; t < x.extent[0]; ++t) {
    double mean = 0.0, variance = 0.0;
    for (idx_t c = 0; c < channels; ++c) mean += static_cast<double>(x(t, c));
    mean /= static_cast<double>(channels);
    for (idx_t c = 0; c < channels; ++c) {
      variance += std::pow(static_cast<double>(x(t, c)) - mean, 2);
    }
    variance /= static_cast<double>(channels);
    for (idx_t d = 0; d < D; ++d) {
      double sum = 0.0;
      for (idx_t c = 0; c < channels; ++c) {
        const double normed = (static_cast<double>(x(t, c)) - mean) / std::sqrt(variance) *
                                  static_cast<double>(gain(c)) +
                              static_cast<double>(shift(c));
        sum += normed * static_cast<double>(w(h * D + d, c));
      }
      queries.push_back(sum);
    }
  }
  return queries;
}

void ExpectSpread(const Spread& spread, std::vector<double> values) {
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  EXPECT_NEAR(spread.mean, sum / static_cast<double>(values.size()), kShare);
  std::sort(values.begin(), values.end());
  EXPECT_NEAR(spread.tenth, values[(values.size() - 1) / 10], kShare);
}

// The buckets are those that a model with so many rounds keeps of a pass without dropout.
void ExpectWhatTheModelSees(const ReformerConfig& base) {
  const idx_t T = 100;
  const RandomBatch text(1, T, 31, 4);
  LshRecallOptions options;
  options.rounds = {2, 4};
  options.rows = T;
  const auto recall = Recall(base, options, {text});
  ASSERT_EQ(recall.size(), 2u);
  EXPECT_EQ(recall[0].layer, 1u);
  EXPECT_EQ(recall[1].layer, 2u);
  ASSERT_EQ(recall[0].heads.size(), 3u);
  EXPECT_EQ(recall[0].all.rows, 3 * (T - 1));
  Context context(2);
  for (std::size_t i = 0; i < options.rounds.size(); ++i) {
    ReformerConfig config = base;
    config.num_hashes = options.rounds[i];
    Reformer model(config);
    model.Initialise(3);
    Tensor y1({T, config.hidden_size}), y2({T, config.hidden_size});
    std::vector<Tensor> hidden;
    model.Encode(context, text.batch, y1.view<2>(), y2.view<2>(), &hidden);
    model.parameters().AllocateGradients();
    model.LossAndGradients(context, text.batch, 1.0f, {});
    const auto kept = model.Buckets(1);  // (1, H, R, T)
    const auto head_size = static_cast<std::ptrdiff_t>(config.num_hashes * T);
    for (idx_t h = 0; h < config.heads; ++h) {
      const std::vector<std::uint16_t> buckets(kept.begin() + h * head_size,
                                               kept.begin() + (h + 1) * head_size);
      const auto x = PlainQueries(model, hidden[1], 1, h);
      std::vector<double> top, seen;
      for (idx_t t = 1; t < T; ++t) {
        const auto p = PlainSoftmax(x, T, config.head_size, t, true);
        top.push_back(PlainHeaviest(p, 4));
        seen.push_back(PlainMass(p, PlainSeen(SharedSpec(config, T), buckets, T, t)));
      }
      const MassRecall& head = recall[0].heads[static_cast<std::size_t>(h)];
      EXPECT_EQ(head.rows, T - 1);
      ExpectSpread(head.top[1], top);
      EXPECT_EQ(head.rounds[i].rounds, config.num_hashes);
      ExpectSpread(head.rounds[i].seen, seen);
    }
  }
}

TEST(LshRecall, IsWhatAModelWithSoManyRoundsSees) { ExpectWhatTheModelSees(RecallConfig()); }

TEST(LshRecall, HashesWithTheRotationsOfTheConfigsSeed) {
  ReformerConfig config = RecallConfig();
  config.rotation_seed = 12;
  ExpectWhatTheModelSees(config);
}

TEST(LshRecall, ModelsThatDoNotHashAreMeasuredToo) {
  const RandomBatch text(1, 100, 31, 4);
  ReformerConfig config = RecallConfig();
  const auto hashed = Recall(config, {}, {text});
  for (const AttentionChoice choice : {AttentionChoice::kFull, AttentionChoice::kLocal}) {
    config.attention = choice;
    if (choice == AttentionChoice::kFull) config.layers[0] = LayerKind::kLsh;
    ReformerConfig same = config;
    same.attention = AttentionChoice::kConfigured;
    const auto other = Recall(config, {}, {text}), configured = Recall(same, {}, {text});
    // The first layer has the same queries; the next ones follow what the model saw.
    EXPECT_EQ(other[0].all.rounds[1].seen.mean, configured[0].all.rounds[1].seen.mean);
    EXPECT_NE(other[1].all.rounds[1].seen.mean, configured[1].all.rounds[1].seen.mean);
  }
}

TEST(LshRecall, HeadsAndTextsAddUp) {
  const std::vector<RandomBatch> texts = {{1, 100, 31, 4}, {1, 60, 31, 5}};
  LshRecallOptions options;
  options.rows = 10;
  const auto recall = Recall(RecallConfig(), options, texts);
  EXPECT_EQ(recall[1].all.rows, 3 * 20);
  double sum = 0.0;
  for (const MassRecall& head : recall[1].heads) {
    EXPECT_EQ(head.rows, 20);
    sum += head.rounds[3].seen.mean;
  }
  EXPECT_NEAR(recall[1].all.rounds[3].seen.mean, sum / 3.0, 1e-9);
  options.seed = 2;  // other rows
  EXPECT_NE(Recall(RecallConfig(), options, texts)[1].all.top[0].mean, recall[1].all.top[0].mean);
}

TEST(LshRecall, AsManyRowsAsThereAreMeansAllOfThem) {
  const std::vector<RandomBatch> texts = {{1, 50, 31, 4}};
  LshRecallOptions options;
  options.rows = 49;  // row 0 sees only itself
  const auto all = Recall(RecallConfig(), options, texts);
  options.rows = 10000;
  options.seed = 9;
  const auto more = Recall(RecallConfig(), options, texts);
  EXPECT_EQ(all[0].all.rows, 3 * 49);
  EXPECT_EQ(all[0].all.rounds[0].seen.mean, more[0].all.rounds[0].seen.mean);
}

TEST(LshRecall, SameBitsForAnyThreads) {
  const std::vector<RandomBatch> texts = {{1, 150, 31, 4}};
  ReformerConfig config = RecallConfig();
  config.is_decoder = false;
  config.head = HeadKind::kMaskedLm;
  test::ExpectSameBitsForAnyThreads([&](Context& context) {
    std::vector<float> numbers;
    for (const LayerRecall& layer : Recall(config, {}, texts, context.threads())) {
      for (const RoundRecall& r : layer.all.rounds) {
        for (const Spread& s : {r.seen, r.local, r.random, r.best}) {
          numbers.push_back(static_cast<float>(s.mean));
          numbers.push_back(static_cast<float>(s.tenth));
        }
      }
    }
    return numbers;
  });
}

// ---- refusals -----------------------------------------------------------------------------------

ErrorCode Refusal(const ReformerConfig& config, const LshRecallOptions& options, idx_t tokens) {
  try {
    Recall(config, options, {RandomBatch(1, tokens, 31, 4)});
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::kPeer;  // none of what is expected
}

TEST(LshRecall, RefusesBadArguments) {
  const ReformerConfig good = RecallConfig();
  EXPECT_EQ(Refusal(good, {}, 40), ErrorCode::kPeer);
  for (const std::vector<idx_t>& rounds :
       std::vector<std::vector<idx_t>>{{}, {0}, {-1}, {1, 1}, {2, 1}, {1, 1025}}) {
    LshRecallOptions options;
    options.rounds = rounds;
    EXPECT_EQ(Refusal(good, options, 40), ErrorCode::kUsage);
  }
  LshRecallOptions options;
  options.rows = 0;
  EXPECT_EQ(Refusal(good, options, 40), ErrorCode::kUsage);
  EXPECT_EQ(Refusal(good, {}, 1), ErrorCode::kUsage);
  EXPECT_EQ(Refusal(good, {}, 257), ErrorCode::kUsage);  // 256 positions
  EXPECT_EQ(Refusal(SmallConfig(), {}, 40), ErrorCode::kFormat);
}

TEST(LshRecall, NothingMeasuredHasNoResult) {
  EXPECT_THROW(LshRecall(RecallConfig(), {}).Result(), Error);
}

// ---- the observer -------------------------------------------------------------------------------

TEST(Observe, ShowsEachLayerAndChangesNothing) {
  const RandomBatch text(2, 40, 31, 4);
  const ReformerConfig config = RecallConfig();
  Context context(2);
  Reformer model(config);
  model.Initialise(3);
  const double before = model.Loss(context, text.batch).sum;
  std::vector<std::size_t> layers;
  model.Observe(context, text.batch, [&](std::size_t layer, const AttentionTensors& tensors) {
    layers.push_back(layer);
    EXPECT_EQ(tensors.rows, 2);
    EXPECT_EQ(tensors.tokens, 40);
    EXPECT_EQ(tensors.Input(0).extent, (std::array<idx_t, 4>{2, 3, 40, 8}));
  });
  EXPECT_EQ(layers, (std::vector<std::size_t>{0, 1, 2}));
  EXPECT_EQ(model.Loss(context, text.batch).sum, before);
}

}  // namespace
}  // namespace longspan
