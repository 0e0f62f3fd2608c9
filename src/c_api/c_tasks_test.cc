// Relevance, choices, classes of words, answers and missing words through the interface for C: what
// the C++ functions give, and what is refused.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "longspan/c_api.h"
#include "longspan/folders.h"
#include "longspan/tasks.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using test::TempDir;

bool LastErrorSays(std::string_view what) {
  return std::string_view(longspan_last_error()).find(what) != std::string_view::npos;
}

class CTasks : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(longspan_context_new(1, &context_), LONGSPAN_OK); }
  void TearDown() override {
    longspan_spans_free(spans_);
    longspan_model_free(model_);
    longspan_context_free(context_);
  }
  // A tiny Longformer with this head and RoBERTa's tokenizer.
  void Make(HeadKind head, std::vector<std::string> labels = {}) {
    InitOptions init;
    init.family = "longformer";
    init.preset = "tiny";
    init.head = head;
    init.labels = std::move(labels);
    init.tokenizer = test::kRoot / "tests/tokenizers/roberta";
    InitModel(folder_ / "model", init);
    ASSERT_EQ(longspan_model_load_in(context_, (folder_ / "model").c_str(), nullptr, &model_),
              LONGSPAN_OK)
        << longspan_last_error();
    task_.emplace(TaskModel::Load(folder_ / "model"));
  }
  longspan_span At(std::size_t number) {
    longspan_span span{};
    span.size = sizeof(span);
    EXPECT_EQ(longspan_spans_at(spans_, number, &span), LONGSPAN_OK) << longspan_last_error();
    return span;
  }
  void ExpectPlace(const longspan_span& span, const text::Span& chars, const text::Span& bytes) {
    EXPECT_EQ(span.chars_begin, chars.begin);
    EXPECT_EQ(span.chars_end, chars.end);
    EXPECT_EQ(span.bytes_begin, bytes.begin);
    EXPECT_EQ(span.bytes_end, bytes.end);
  }

  TempDir folder_;
  longspan_context* context_ = nullptr;
  longspan_model* model_ = nullptr;
  longspan_spans* spans_ = nullptr;
  std::optional<TaskModel> task_;
  Context cpp_{1};
};

TEST_F(CTasks, ClassesOfWords) {
  Make(HeadKind::kToken, {"B-SEA", "I-SEA", "O"});
  const char* texts[] = {"der Fl\xc3\xbcgel am Meer", "storm"};
  ASSERT_EQ(longspan_classify_tokens(context_, model_, texts, nullptr, 2, "none", &spans_),
            LONGSPAN_OK)
      << longspan_last_error();
  const std::vector<TaskText> same = {{texts[0]}, {texts[1]}};
  const auto expected = ClassifyTokens(cpp_, *task_, same, Aggregation::kNone);
  ASSERT_EQ(longspan_spans_count(spans_), expected[0].size() + expected[1].size());
  ASSERT_GT(longspan_spans_count(spans_), 0U);
  std::size_t number = 0;
  for (std::size_t i = 0; i < 2; ++i) {
    for (const TokenClass& one : expected[i]) {
      const longspan_span span = At(number++);
      EXPECT_EQ(span.text, i);
      EXPECT_EQ(span.label, one.label);
      EXPECT_EQ(span.score, one.score);
      EXPECT_EQ(span.token, -1);
      ExpectPlace(span, one.chars, one.bytes);
    }
  }
  longspan_spans* none = nullptr;
  EXPECT_EQ(longspan_classify_tokens(context_, model_, texts, nullptr, 2, "odd", &none),
            LONGSPAN_USAGE);
  EXPECT_EQ(longspan_classify_tokens(context_, model_, nullptr, nullptr, 2, nullptr, &none),
            LONGSPAN_USAGE);
  EXPECT_STREQ(longspan_last_error(), "texts: is NULL");
  EXPECT_EQ(longspan_answer(context_, model_, texts, nullptr, texts, nullptr, 2, nullptr, &none),
            LONGSPAN_USAGE);
  EXPECT_EQ(longspan_fill_masks(context_, model_, texts, nullptr, 2, 1, &none), LONGSPAN_USAGE);
  EXPECT_EQ(none, nullptr);
  longspan_context_cancel(context_);
  EXPECT_EQ(longspan_classify_tokens(context_, model_, texts, nullptr, 2, nullptr, &none),
            LONGSPAN_CANCELLED);
}

TEST_F(CTasks, Answers) {
  Make(HeadKind::kQuestion);
  const char* questions[] = {"Where is it?", "Who?"};
  const char* texts[] = {
      "It lies \xc3\xbc"
      "ber the sea and the storm.",
      "Nobody came."};
  longspan_answer_options options{};
  options.size = sizeof(options);
  options.most = 2;
  options.longest = 4;
  options.may_be_none = 1;
  ASSERT_EQ(
      longspan_answer(context_, model_, questions, nullptr, texts, nullptr, 2, &options, &spans_),
      LONGSPAN_OK)
      << longspan_last_error();
  const std::vector<TaskText> pairs = {{questions[0], texts[0]}, {questions[1], texts[1]}};
  const auto expected = FindAnswers(cpp_, *task_, pairs, {2, 4, true});
  std::size_t number = 0;
  for (std::size_t i = 0; i < 2; ++i) {
    for (const Answer& one : expected[i]) {
      const longspan_span span = At(number++);
      EXPECT_EQ(span.text, i);
      EXPECT_EQ(span.score, one.score);
      EXPECT_EQ(span.none != 0, one.none);
      EXPECT_EQ(span.label, nullptr);
      ExpectPlace(span, one.chars, one.bytes);
    }
  }
  EXPECT_EQ(longspan_spans_count(spans_), number);
  longspan_spans* none = nullptr;
  options.most = -1;
  EXPECT_EQ(
      longspan_answer(context_, model_, questions, nullptr, texts, nullptr, 2, &options, &none),
      LONGSPAN_USAGE);
  options.size = 1;
  EXPECT_EQ(
      longspan_answer(context_, model_, questions, nullptr, texts, nullptr, 2, &options, &none),
      LONGSPAN_USAGE);
  EXPECT_TRUE(LastErrorSays("set it to sizeof"));
  EXPECT_EQ(
      longspan_answer(context_, model_, questions, nullptr, texts, nullptr, 2, nullptr, nullptr),
      LONGSPAN_USAGE);
}

TEST_F(CTasks, MissingWords) {
  Make(HeadKind::kMaskedLm);
  ASSERT_STREQ(longspan_mask(model_), "<mask>");
  const char* texts[] = {"The <mask> is <mask>."};
  ASSERT_EQ(longspan_fill_masks(context_, model_, texts, nullptr, 1, 3, &spans_), LONGSPAN_OK)
      << longspan_last_error();
  const std::vector<TaskText> same = {{texts[0]}};
  const auto expected = FillMasks(cpp_, *task_, same, 3);
  ASSERT_EQ(longspan_spans_count(spans_), 6U);
  for (std::size_t i = 0; i < 6; ++i) {
    const FilledMask& mask = expected[0].masks[i / 3];
    const longspan_span span = At(i);
    EXPECT_EQ(span.part, i / 3);
    EXPECT_EQ(span.token, mask.guesses[i % 3].id);
    EXPECT_EQ(span.label == nullptr ? "" : span.label, mask.guesses[i % 3].in_text);
    EXPECT_EQ(span.score, mask.guesses[i % 3].score);
    ExpectPlace(span, mask.chars, mask.bytes);
  }
  // A number that there is not, a struct of another size, an older struct.
  longspan_span span{};
  EXPECT_EQ(longspan_spans_at(spans_, 0, &span), LONGSPAN_USAGE);
  EXPECT_TRUE(LastErrorSays("span: its size is 0"));
  span.size = offsetof(longspan_span, score);
  span.score = 17.0;
  EXPECT_EQ(longspan_spans_at(spans_, 5, &span), LONGSPAN_OK);
  EXPECT_EQ(span.score, 17.0);
  EXPECT_EQ(span.part, 1U);
  EXPECT_EQ(longspan_spans_at(spans_, 6, &span), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_spans_at(nullptr, 0, &span), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_spans_at(spans_, 0, nullptr), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_spans_count(nullptr), 0U);
  longspan_spans_free(nullptr);
  longspan_spans* none = nullptr;
  const char* without[] = {"no mask"};
  EXPECT_NE(longspan_fill_masks(context_, model_, without, nullptr, 1, 3, &none), LONGSPAN_OK);
  EXPECT_EQ(longspan_fill_masks(context_, model_, texts, nullptr, 1, 0, &none), LONGSPAN_USAGE);
}

TEST_F(CTasks, Choices) {
  Make(HeadKind::kChoice);
  const char* choices[] = {"the sea", "a storm that came", "nobody"};
  const std::size_t lengths[] = {7, 7, 6};
  std::array<double, 3> scores{};
  ASSERT_EQ(
      longspan_choose(context_, model_, "What is grey?", 13, choices, lengths, 3, scores.data()),
      LONGSPAN_OK)
      << longspan_last_error();
  const std::vector<Question> same = {{"What is grey?", {"the sea", "a storm", "nobody"}}};
  const std::vector<double> expected = ScoreChoices(cpp_, *task_, same).front();
  EXPECT_EQ(std::vector<double>(scores.begin(), scores.end()), expected);
  EXPECT_EQ(longspan_choose(context_, model_, "What?", 5, choices, nullptr, 1, scores.data()),
            LONGSPAN_USAGE);
  const char* hole[] = {"a", nullptr};
  EXPECT_EQ(longspan_choose(context_, model_, "What?", 5, hole, nullptr, 2, scores.data()),
            LONGSPAN_USAGE);
  EXPECT_STREQ(longspan_last_error(), "choices: number 1 is NULL");
  EXPECT_EQ(longspan_choose(context_, model_, nullptr, 5, choices, nullptr, 2, scores.data()),
            LONGSPAN_USAGE);
}

TEST_F(CTasks, Relevance) {
  Make(HeadKind::kSequence, {"fits"});
  const char* texts[] = {"the sea", "a storm", "nobody"};
  std::array<double, 3> scores{};
  ASSERT_EQ(longspan_rerank(context_, model_, "wind", 4, texts, nullptr, 3, scores.data()),
            LONGSPAN_OK)
      << longspan_last_error();
  const std::vector<std::string> same(std::begin(texts), std::end(texts));
  for (const RankedText& ranked : Reranker(*task_).Rank(cpp_, "wind", same, 3)) {
    EXPECT_EQ(scores[static_cast<std::size_t>(ranked.text)], ranked.score);
  }
  EXPECT_EQ(longspan_rerank(context_, model_, "wind", 4, texts, nullptr, 3, nullptr),
            LONGSPAN_USAGE);
  EXPECT_EQ(longspan_mask(nullptr), nullptr);
}

TEST(CNearest, FindsRowsAndRefusesWhatIsNone) {
  const float query[] = {1.0f, 0.0f};
  const float rows[] = {0.0f, 1.0f, 2.0f, 0.0f, 1.0f, 1.0f};
  std::array<int64_t, 5> numbers{};
  std::array<double, 5> cosines{};
  std::size_t found = 99;
  const auto ask = [&](std::int64_t width, std::size_t count, std::size_t most) {
    return longspan_nearest(query, rows, count, width, most, numbers.data(), cosines.data(),
                            &found);
  };
  ASSERT_EQ(ask(2, 3, 5), LONGSPAN_OK);
  ASSERT_EQ(found, 3U);
  EXPECT_EQ(numbers[0], 1);
  EXPECT_EQ(numbers[1], 2);
  EXPECT_EQ(numbers[2], 0);
  EXPECT_DOUBLE_EQ(cosines[0], 1.0);
  ASSERT_EQ(ask(2, 3, 1), LONGSPAN_OK);
  EXPECT_EQ(found, 1U);
  ASSERT_EQ(ask(2, 0, 1), LONGSPAN_OK);
  EXPECT_EQ(found, 0U);
  EXPECT_EQ(ask(0, 3, 1), LONGSPAN_USAGE);
  EXPECT_EQ(ask(2, 3, 0), LONGSPAN_USAGE);
  EXPECT_EQ(longspan_nearest(nullptr, rows, 3, 2, 1, numbers.data(), cosines.data(), &found),
            LONGSPAN_USAGE);
}

}  // namespace
}  // namespace longspan
