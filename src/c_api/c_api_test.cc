// The interface for C, from C++: handles, statuses, messages, structs of other sizes.

#include "longspan/c_api.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "longspan/folders.h"
#include "longspan/generate.h"
#include "longspan/tasks.h"
#include "longspan/version.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using test::TempDir;

class CApi : public testing::Test {
 protected:
  void SetUp() override {
    InitOptions small;
    small.preset = "tiny";
    InitModel(folder_ / "writer", small);
    small.head = HeadKind::kSequence;
    small.labels = {"calm", "storm"};
    InitModel(folder_ / "judge", small);
    ASSERT_EQ(longspan_context_new(2, &context_), LONGSPAN_OK);
  }
  void TearDown() override {
    longspan_model_free(model_);
    longspan_context_free(context_);
  }
  void Load(const char* name) {
    ASSERT_EQ(longspan_model_load((folder_ / name).c_str(), nullptr, &model_), LONGSPAN_OK)
        << longspan_last_error();
  }

  TempDir folder_;
  longspan_context* context_ = nullptr;
  longspan_model* model_ = nullptr;
};

TEST_F(CApi, EmbedsAsTheLibraryDoes) {
  Load("writer");
  int64_t width = 0;
  ASSERT_EQ(longspan_embedding_width(model_, &width), LONGSPAN_OK);
  const char* texts[] = {"It was a dark night.", "short"};
  std::vector<float> vectors(static_cast<std::size_t>(2 * width));
  ASSERT_EQ(longspan_embed(context_, model_, texts, nullptr, 2, vectors.data()), LONGSPAN_OK);
  Context context(1);
  const std::vector<std::string> plain = {texts[0], texts[1]};
  const Tensor expected = Embedder::Load(folder_ / "writer").Embed(context, plain);
  EXPECT_EQ(std::vector<float>(expected.data<float>(), expected.data<float>() + expected.size()),
            vectors);
  // Lengths instead of NUL.
  const std::size_t lengths[] = {20, 2};
  std::vector<float> cut(vectors.size());
  ASSERT_EQ(longspan_embed(context_, model_, texts, lengths, 2, cut.data()), LONGSPAN_OK);
  const auto second = static_cast<std::ptrdiff_t>(width);
  EXPECT_TRUE(std::equal(cut.begin(), cut.begin() + second, vectors.begin()));
  EXPECT_FALSE(std::equal(cut.begin() + second, cut.end(), vectors.begin() + second));
}

TEST_F(CApi, CancelsEncodingToo) {
  Load("writer");
  int64_t width = 0;
  ASSERT_EQ(longspan_embedding_width(model_, &width), LONGSPAN_OK);
  const char* text = "It was a dark night.";
  std::vector<float> vector(static_cast<std::size_t>(width));
  longspan_context_cancel(context_);
  EXPECT_EQ(longspan_embed(context_, model_, &text, nullptr, 1, vector.data()), LONGSPAN_CANCELLED);
  longspan_context_reset(context_);
  EXPECT_EQ(longspan_context_limit_memory(context_, 100), LONGSPAN_OK);
  EXPECT_EQ(longspan_embed(context_, model_, &text, nullptr, 1, vector.data()), LONGSPAN_LIMIT);
  EXPECT_NE(std::string(longspan_last_error()).find("encoded texts"), std::string::npos);
}

TEST_F(CApi, ClassifiesWithNames) {
  Load("judge");
  EXPECT_STREQ(longspan_model_class(model_), "ReformerForSequenceClassification");
  ASSERT_EQ(longspan_label_count(model_), 2);
  EXPECT_STREQ(longspan_label(model_, 1), "storm");
  EXPECT_EQ(longspan_label(model_, 2), nullptr);
  const char* text = "wind";
  double scores[2] = {};
  ASSERT_EQ(longspan_classify(context_, model_, &text, nullptr, 1, scores), LONGSPAN_OK);
  EXPECT_NEAR(scores[0] + scores[1], 1.0, 1e-9);
}

TEST_F(CApi, GeneratesPieceByPieceAndEndsWhenAsked) {
  Load("writer");
  longspan_generate_options options{};
  options.size = sizeof(options);
  options.tokens = 12;
  options.seed = 5;
  std::string all;
  const auto take = [](void* user, const char* bytes, std::size_t length) {
    static_cast<std::string*>(user)->append(bytes, length);
    return 0;
  };
  ASSERT_EQ(longspan_generate(context_, model_, "It was", 6, &options, take, &all), LONGSPAN_OK);
  GenerateOptions same;
  same.tokens = 12;
  same.sampling.seed = 5;
  Context context(1);
  EXPECT_EQ(all, Generate(context, Model::Load(folder_ / "writer"), "It was", same).text);
  int calls = 0;
  const auto once = [](void* user, const char*, std::size_t) { return ++*static_cast<int*>(user); };
  ASSERT_EQ(longspan_generate(context_, model_, "It was", 6, &options, once, &calls), LONGSPAN_OK);
  EXPECT_EQ(calls, 1);
}

TEST_F(CApi, FailuresHaveAStatusAndALine) {
  EXPECT_EQ(longspan_model_load((folder_ / "none").c_str(), nullptr, &model_), LONGSPAN_IO);
  EXPECT_NE(std::string(longspan_last_error()).find("none"), std::string::npos);
  EXPECT_EQ(model_, nullptr);
  EXPECT_EQ(longspan_model_load(nullptr, nullptr, &model_), LONGSPAN_USAGE);
  EXPECT_STREQ(longspan_last_error(), "directory: is NULL");
  longspan_load_options odd{};
  odd.size = 4096;
  EXPECT_EQ(longspan_model_load("x", &odd, &model_), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_context_new(-1, &context_), LONGSPAN_USAGE);
  Load("writer");
  const char* text = "a";
  double scores[8] = {};
  EXPECT_EQ(longspan_classify(context_, model_, &text, nullptr, 1, scores), LONGSPAN_USAGE);
  std::vector<float> vector(4096);
  longspan_context_limit_memory(context_, 1000);
  EXPECT_EQ(longspan_embed(context_, model_, &text, nullptr, 1, vector.data()), LONGSPAN_LIMIT);
  longspan_context_limit_memory(context_, 0);
  longspan_context_cancel(context_);
  EXPECT_EQ(longspan_embed(context_, model_, &text, nullptr, 1, vector.data()), LONGSPAN_CANCELLED);
  longspan_context_reset(context_);
  EXPECT_EQ(longspan_embed(context_, model_, &text, nullptr, 1, vector.data()), LONGSPAN_OK);
  EXPECT_STREQ(longspan_version(), LONGSPAN_VERSION);
}

// An older caller's struct ends earlier: the fields that it lacks are 0.
TEST_F(CApi, OlderStructsAreUnderstood) {
  longspan_load_options old{};
  old.size = offsetof(longspan_load_options, max_tokens);
  old.max_tokens = -7;  // beyond the size: not read
  ASSERT_EQ(longspan_model_load((folder_ / "writer").c_str(), &old, &model_), LONGSPAN_OK);
  EXPECT_EQ(longspan_model_longest(model_), Model::Load(folder_ / "writer").info().longest);
}

}  // namespace
}  // namespace longspan
