// How a run that goes on names an option that differs.
#include "train/same_options.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tests/support/files.h"

namespace longspan {
namespace {

using nlohmann::json;

testing::AssertionResult Differs(const json& saved, const json& now, std::string_view says,
                                 const std::set<std::string>& may_differ = {}) {
  return test::Throws([&] { CheckSameOptions(saved, now, may_differ); }, ErrorCode::kUsage, says);
}

TEST(SameOptions, AreNamedAsTheyAreTyped) {
  const struct {
    json saved, now;
    std::string_view says;
  } cases[] = {
      {{{"batch", 4}},
       {{"batch", 8}},
       "the run was started with --batch 4, this command goes on with --batch 8; give the same, or "
       "another -o for a new run"},
      {{{"learning_rate", 3e-5}}, {{"learning_rate", 1e-3}}, "with --learning-rate 3e-05, this"},
      {{{"head_learning_rate", 0.5}}, json::object(), "goes on without --head-lr"},
      {{{"packed", true}}, json::object(), "with --packed, this command goes on without --packed"},
      {{{"packed", false}}, {{"packed", true}}, "without --packed, this command goes on with"},
      {{{"dropout", nullptr}}, {{"dropout", 0.1}}, "without --dropout, this command goes on with"},
      {json::object(),
       {{"dtype", "BF16"}},
       "with --dtype f32, this command goes on with --dtype "
       "bf16"},
      {{{"freeze", {"a.*", "b"}}}, json::object(), "with --freeze a.*,b, this"},
      {{{"matryoshka", json::array()}}, {{"matryoshka", {64, 32}}}, "without --matryoshka, this"},
      {{{"labels", {"bad", "good one"}}},
       {{"labels", {"bad"}}},
       "with the labels bad,'good one', this command goes on with the labels bad; give the same "
       "files"},
      {{{"anchor_prompt", "query: "}}, {{"anchor_prompt", ""}}, "with --anchor-prompt ''; give"},
      {{{"cosine_distance", false}},
       {{"cosine_distance", true}},
       "with --distance euclidean, this"},
      {{{"documents", 0}},
       {{"documents", 2}},
       "with --documents file, this command goes on with "
       "--documents line"},
      {json::object(), {{"documents", "blank-line"}}, "with --documents joined, this"},
      {{{"text_column", "a\nb"}}, {{"text_column", "c"}}, "--text-column a\\nb, this"},
      {{{"optimizer", {{"name", "sgd"}, {"momentum", 0.9}}}},
       {{"optimizer", {{"name", "sgd"}, {"momentum", 0.5}}}},
       "with --momentum 0.9, this command goes on with --momentum 0.5"},
      {json::object(),
       {{"optimizer", {{"name", "sgd"}, {"beta2_decay", -0.8}}}},
       "--optimizer adamw, this command goes "
       "on with --optimizer sgd"},
  };
  for (const auto& c : cases) {
    EXPECT_TRUE(Differs(c.saved, c.now, c.says));
    EXPECT_NO_THROW(CheckSameOptions(c.saved, c.saved, {}));
  }
}

TEST(SameOptions, UpdatesAreNamedByTheEpochsThatGaveThem) {
  const json three = {{"epochs", 3.0}, {"steps", 12}, {"warmup", 1}};
  const json five = {{"epochs", 5.0}, {"steps", 20}, {"warmup", 2}};
  const json plain = {{"steps", 12}, {"warmup", 1}};
  EXPECT_TRUE(Differs(three, five,
                      "with --epochs 3 (12 updates), this command goes on with --epochs 5 (20 "
                      "updates); give the same, or another -o for a new run; --extend goes on to "
                      "more"));
  EXPECT_TRUE(Differs(plain, five, "with --steps 12, this command goes on with --epochs 5"));
  EXPECT_NO_THROW(CheckSameOptions(three, plain, {}));  // the same updates
  EXPECT_NO_THROW(CheckSameOptions(three, five, {"steps", "warmup"}));
}

TEST(SameOptions, AnotherTaskGoesFirst) {
  EXPECT_TRUE(Differs({{"batch", 4}}, {{"task", "mlm"}, {"batch", 8}, {"documents", 0}},
                      "the run was started by train lm, this is train mlm; use that command"));
  EXPECT_TRUE(Differs({{"task", "rerank"}}, {{"task", "embed"}},
                      "by train rerank, this is train "
                      "embed"));
}

}  // namespace
}  // namespace longspan
