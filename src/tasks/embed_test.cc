// Vectors of texts on a small random Longformer, against plain loops over its hidden states.

#include "tasks/embed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/errors.h"
#include "families/longformer/family.h"
#include "families/longformer/longformer.h"
#include "families/model_inside.h"
#include "tasks/tasks_test.h"
#include "tests/support/files.h"
#include "tests/support/word_tokenizer.h"

namespace longspan {
namespace {

using test::Throws;
using text::Encoding;
using text::Overflow;
constexpr idx_t kWidth = 16;

TaskModel SmallEncoder(const TaskOptions& options = {}) {
  LongformerConfig config;
  config.head = HeadKind::kNone;
  config.attention_window = {8, 8};
  config.vocab_size = 60;
  config.hidden_size = kWidth;
  config.heads = 2;
  config.feed_forward_size = 32;
  config.max_positions = 64;
  config.token_types = 1;
  Longformer model(config);
  model.Initialise(7);
  // Vectors that differ: HF's initialisation is tiny.
  const View<float, 1> values = model.parameters().Write().values();
  for (idx_t i = 0; i < values.size(); ++i) values.data[i] *= 8.0f;
  return TaskModel(MakeModel(MakeTextModel(std::move(model)), MakeWords(WordFamily::kRoberta)),
                   options);
}

// Each row's hidden states, run by itself.
std::vector<Tensor> HiddenOf(Context& context, TaskModel& model, const TaskRows& rows) {
  std::vector<Tensor> hidden;
  for (const Encoding& row : rows.rows) {
    RunRows(context, model, {&row, 1}, [&](const TaskBatch& batch) {
      hidden.emplace_back(std::vector<idx_t>{row.size(), kWidth});
      std::copy_n(batch.hidden.data, hidden.back().size(), hidden.back().data<float>());
    });
  }
  return hidden;
}

VectorPlan AllWays() {
  VectorPlan options;
  options.pooling.modes = {PoolingMode::kMean,         PoolingMode::kMax,
                           PoolingMode::kCls,          PoolingMode::kLastToken,
                           PoolingMode::kWeightedMean, PoolingMode::kMeanSqrtLen};
  return options;
}

TEST(Embedding, PoolsEveryTokenOnce) {
  Context context(2);
  TaskModel model = SmallEncoder({.max_length = 20, .stride = 4});
  const std::vector<TaskText> texts = {{Text(12, 4), {}}, {Text(45, 5), {}}};
  const TaskRows rows = model.Encode(texts, Overflow::kWindow);
  VectorPlan options = AllWays();
  const Tensor vectors = EmbedRows(context, model, rows, options);
  ASSERT_EQ(vectors.shape(), (std::vector<idx_t>{2, 6 * kWidth}));
  const std::vector<Tensor> hidden = HiddenOf(context, model, rows);
  for (idx_t text = 0; text < 2; ++text) {
    const auto own = OwnTokens(rows.of(text), 0);
    for (idx_t c = 0; c < kWidth; ++c) {
      double sum = 0, largest = -1e9, weighted = 0, weights = 0, first = 0, n = 0, last = 0;
      for (std::size_t w = 0; w < own.size(); ++w) {
        const auto h = hidden[static_cast<std::size_t>(rows.begin(text)) + w].view<2>();
        first += h(0, c) / static_cast<double>(own.size());
        last = h(h.extent[0] - 1, c);
        for (idx_t t = 0; t < h.extent[0]; ++t) {
          const bool special = t == 0 || t == h.extent[0] - 1;
          if (!special && (t < own[w].begin || t >= own[w].end)) continue;
          n += 1;
          sum += h(t, c);
          weighted += n * h(t, c);
          weights += n;
          largest = std::max<double>(largest, h(t, c));
        }
      }
      const float* v = vectors.data<float>() + text * 6 * kWidth + c;
      EXPECT_NEAR(v[0], sum / n, 1e-5);
      EXPECT_NEAR(v[16], largest, 1e-5);
      EXPECT_NEAR(v[32], first, 1e-5);
      EXPECT_NEAR(v[48], last, 1e-5);
      EXPECT_NEAR(v[64], weighted / weights, 1e-5);
      EXPECT_NEAR(v[80], sum / std::sqrt(n), 1e-5);
    }
  }
  options = {};
  options.modules = {MakeNormalize()};
  const Tensor unit = EmbedRows(context, model, rows, options);
  for (idx_t text = 0; text < 2; ++text) {
    const float* v = unit.data<float>() + text * kWidth;
    EXPECT_NEAR(std::inner_product(v, v + kWidth, v, 0.0), 1.0, 1e-6);
  }
}

TEST(Embedding, BothTextsOfAPairCount) {
  Context context(2);
  TaskModel model = SmallEncoder({.max_length = 24});
  const std::vector<TaskText> texts = {{"w1 w2 w3", "w4 w5"}, {"w1 w2 w3", Text(30, 2)}};
  const TaskRows rows = model.Encode(texts, Overflow::kWindow);
  ASSERT_EQ(rows.of(0).size(), 1u);
  ASSERT_EQ(rows.of(1).size(), 2u);
  const Tensor vectors = EmbedRows(context, model, rows, {});
  const std::vector<Tensor> hidden = HiddenOf(context, model, rows);
  // The first in one row: the mean of all its tokens.
  const auto h = hidden[0].view<2>();
  for (idx_t c = 0; c < kWidth; ++c) {
    double sum = 0;
    for (idx_t t = 0; t < h.extent[0]; ++t) sum += h(t, c);
    EXPECT_NEAR(vectors.data<float>()[c], sum / static_cast<double>(h.extent[0]), 1e-5);
  }
  // The second in two: of the first text's three tokens one comes from the first window, two from
  // the second; <s> w w w </s></s> ... </s> each.
  for (idx_t c = 0; c < kWidth; ++c) {
    double sum = 0, n = 0;
    for (std::size_t w = 0; w < 2; ++w) {
      const auto states = hidden[1 + w].view<2>();
      for (idx_t t = 0; t < states.extent[0]; ++t) {
        if (t >= 1 && t <= 3 && (t == 1) != (w == 0)) continue;
        sum += states(t, c);
        n += 1;
      }
    }
    EXPECT_EQ(n, 30 + 3 + 2 * 4);
    EXPECT_NEAR(vectors.data<float>()[kWidth + c], sum / n, 1e-5);
  }
}

TEST(Embedding, APromptMayStayOut) {
  Context context(2);
  TaskModel model = SmallEncoder();
  const std::string prompt = "w7 w8 w9 ";
  const std::vector<TaskText> texts = {{prompt + "w1 w2 w3 w4", {}}, {prompt, {}}};
  const TaskRows rows = model.Encode(texts, Overflow::kError);
  VectorPlan options = AllWays();
  options.prompt = TokensOfPrompt(model.tokenizer(), prompt);
  EXPECT_EQ(options.prompt.special, 1);
  EXPECT_EQ(options.prompt.places, 4);
  const Tensor with = EmbedRows(context, model, rows, options);
  options.prompt = {};
  const Tensor plain = EmbedRows(context, model, rows, options);
  for (idx_t i = 0; i < with.size(); ++i) {  // it counts as any text unless the pooling says so
    EXPECT_EQ(with.data<float>()[i], plain.data<float>()[i]);
  }
  options.prompt = TokensOfPrompt(model.tokenizer(), prompt);
  options.pooling.include_prompt = false;
  const Tensor vectors = EmbedRows(context, model, rows, options);
  const std::vector<Tensor> hidden = HiddenOf(context, model, rows);
  for (idx_t text = 0; text < 2; ++text) {
    const auto h = hidden[static_cast<std::size_t>(text)].view<2>();
    ASSERT_EQ(h.extent[0], text == 0 ? 9 : 5);
    for (idx_t c = 0; c < kWidth; ++c) {
      // <s> and the prompt's three are out; </s> is the text's. Weights are those of the places.
      double sum = 0, largest = -1e9, weighted = 0, weights = 0;
      const idx_t n = h.extent[0] - 4;
      for (idx_t t = 4; t < h.extent[0]; ++t) {
        sum += h(t, c);
        largest = std::max<double>(largest, h(t, c));
        weighted += static_cast<double>(t + 1) * h(t, c);
        weights += static_cast<double>(t + 1);
      }
      const float* v = vectors.data<float>() + text * 6 * kWidth + c;
      EXPECT_NEAR(v[0], sum / static_cast<double>(n), 1e-5);
      EXPECT_NEAR(v[16], largest, 1e-5);
      EXPECT_NEAR(v[32], h(4, c), 1e-5);
      EXPECT_NEAR(v[48], h(h.extent[0] - 1, c), 1e-5);
      EXPECT_NEAR(v[64], weighted / weights, 1e-5);
      EXPECT_NEAR(v[80], sum / std::sqrt(static_cast<double>(n)), 1e-5);
    }
  }
}

TEST(Embedding, APromptThatStaysOutIsFoundAcrossWindows) {
  Context context(2);
  TaskModel model = SmallEncoder({.max_length = 12, .stride = 2});
  const std::string prompt = Text(13, 3);  // ten tokens of a window are the text's
  const std::vector<TaskText> texts = {{prompt + " " + Text(11, 1), {}}};
  const TaskRows rows = model.Encode(texts, Overflow::kWindow);
  VectorPlan options;
  options.pooling.include_prompt = false;
  options.prompt = TokensOfPrompt(model.tokenizer(), prompt);
  const Tensor vectors = EmbedRows(context, model, rows, options);
  const std::vector<Tensor> hidden = HiddenOf(context, model, rows);
  const auto own = OwnTokens(rows.of(0), 0);
  for (idx_t c = 0; c < kWidth; ++c) {
    double sum = 0;
    idx_t n = 0;
    for (std::size_t w = 0; w < own.size(); ++w) {
      const auto h = hidden[w].view<2>();
      for (idx_t t = 1; t < h.extent[0]; ++t) {  // <s> goes with the prompt
        const bool end = t == h.extent[0] - 1;
        const bool texts_own = rows.rows[w].first_token[0] + t - 1 >= 13;
        if (!end && (t < own[w].begin || t >= own[w].end || !texts_own)) continue;
        sum += h(t, c);
        ++n;
      }
    }
    EXPECT_EQ(n, 11 + static_cast<idx_t>(own.size()));
    EXPECT_NEAR(vectors.data<float>()[c], sum / static_cast<double>(n), 1e-5);
  }
}

// A tokenizer may melt the end of a prompt into the text. The prompt takes the places that it has
// by itself all the same, as in sentence-transformers, and all of a row that has no more.
TEST(Embedding, APromptTakesItsPlacesWhateverStandsThere) {
  Context context(1);
  TaskModel model = SmallEncoder();
  const std::vector<TaskText> texts = {{"w7 w8w1 w2", {}}, {"w7w8", {}}};  // w8w1, w7w8: <unk>
  const TaskRows rows = model.Encode(texts, Overflow::kError);
  VectorPlan options;
  options.pooling.include_prompt = false;
  options.prompt = TokensOfPrompt(model.tokenizer(), "w7 w8");
  const Tensor vectors = EmbedRows(context, model, rows, options);
  const std::vector<Tensor> hidden = HiddenOf(context, model, rows);
  const auto states = hidden[0].view<2>();
  ASSERT_EQ(states.extent[0], 5);
  ASSERT_EQ(hidden[1].view<2>().extent[0], 3);
  for (idx_t c = 0; c < kWidth; ++c) {
    EXPECT_NEAR(vectors.data<float>()[c], (states(3, c) + states(4, c)) / 2, 1e-5);
    EXPECT_EQ(vectors.data<float>()[kWidth + c], 0.0f);
  }
}

// The tokens' vectors are the hidden states whose mean is the text's vector.
TEST(Embedding, EachTokenOfAWindowedTextHasOneVector) {
  Context context(2);
  TaskModel model = SmallEncoder({.max_length = 12, .stride = 4});
  const std::vector<TaskText> texts = {{"w1 w2 w3", {}}, {Text(30, 2), {}}};
  const TaskRows rows = model.Encode(texts, Overflow::kWindow);
  ASSERT_GT(rows.of(1).size(), 2u);
  const std::vector<Tensor> tokens = EmbedTokensOfRows(context, model, rows);
  const Tensor means = EmbedRows(context, model, rows, {});
  const std::vector<Tensor> hidden = HiddenOf(context, model, rows);
  ASSERT_EQ(tokens.size(), 2u);
  ASSERT_EQ(tokens[0].shape(), (std::vector<idx_t>{5, kWidth}));
  for (idx_t i = 0; i < tokens[0].size(); ++i) {
    EXPECT_NEAR(tokens[0].data<float>()[i], hidden[0].data<float>()[i], 1e-5);
  }
  // Thirty tokens once, <s> and </s> of each window.
  const idx_t count = 30 + 2 * static_cast<idx_t>(rows.of(1).size());
  ASSERT_EQ(tokens[1].shape(), (std::vector<idx_t>{count, kWidth}));
  for (idx_t text = 0; text < 2; ++text) {
    const auto own = tokens[static_cast<std::size_t>(text)].view<2>();
    for (idx_t c = 0; c < kWidth; ++c) {
      double sum = 0;
      for (idx_t t = 0; t < own.extent[0]; ++t) sum += own(t, c);
      EXPECT_NEAR(means.data<float>()[text * kWidth + c], sum / static_cast<double>(own.extent[0]),
                  1e-5);
    }
  }
}

TEST(Embedding, NoTextsAreNoVectors) {
  Context context(1);
  TaskModel model = SmallEncoder();
  VectorPlan options;
  options.modules = {MakeNormalize()};
  const Tensor vectors = EmbedRows(context, model, {}, options);
  EXPECT_EQ(vectors.shape(), (std::vector<idx_t>{0, kWidth}));
}

TEST(Nearest, TheLargestCosinesComeFirst) {
  std::vector<float> values = {1, 0, 0, 1, 3, 3, 0, 0, -2, 0, 5, 0};
  const Tensor vectors = Tensor::Adopt(values.data(), {6, 2}, DType::kF32, {});
  std::vector<float> asked = {2, 0};
  const Tensor query = Tensor::Adopt(asked.data(), {1, 2}, DType::kF32, {});
  const auto found = Nearest(query, vectors, 4);
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0].row, 0);  // of equal ones the first
  EXPECT_EQ(found[1].row, 5);
  EXPECT_EQ(found[2].row, 2);
  EXPECT_EQ(found[3].row, 1);  // a right angle, before the zero vector
  EXPECT_DOUBLE_EQ(found[0].cosine, 1.0);
  EXPECT_NEAR(found[2].cosine, std::sqrt(0.5), 1e-15);
  EXPECT_EQ(Nearest(query, vectors, 100).back().cosine, -1.0);
  EXPECT_TRUE(Nearest(query, Tensor({0, 2}), 3).empty());
  EXPECT_TRUE(Throws(
      [&] {
        Nearest(query, Tensor({3, 4}), 1);
      },
      ErrorCode::kUsage, "nearest: a query (1, 2) and vectors (3, 4) do not fit"));
  EXPECT_THROW(Nearest(query, vectors, 0), Error);
  EXPECT_THROW(Nearest(query, Tensor({2, 2}, DType::kF64), 1), Error);
}

}  // namespace
}  // namespace longspan
