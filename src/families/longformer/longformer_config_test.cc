// config.json of a Longformer, and the named policies for global tokens.
#include "families/longformer/longformer_config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "families/longformer/family.h"
#include "families/longformer/longformer.h"
#include "longspan/attention.h"
#include "model/global_policy.h"
#include "model/text_model.h"

namespace longspan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

LongformerConfig ParseConfig(const std::string& text) {
  return ParseLongformerConfig(text, "here");
}

void ExpectRefusedConfig(const std::string& text, const char* says) {
  try {
    ParseConfig(text);
    ADD_FAILURE() << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kFormat);
    EXPECT_THAT(error.what(), HasSubstr(says)) << text;
    EXPECT_THAT(error.what(), HasSubstr("here")) << text;
  }
}

TEST(LongformerConfigTest, DefaultsAreHuggingFaces) {
  const LongformerConfig c = ParseConfig("{}");
  EXPECT_EQ(c.head, HeadKind::kNone);
  EXPECT_EQ(c.attention_window, std::vector<idx_t>(12, 512));
  EXPECT_EQ(c.vocab_size, 30522);
  EXPECT_EQ(c.hidden_size, 768);
  EXPECT_EQ(c.head_size(), 64);
  EXPECT_EQ(c.feed_forward_size, 3072);
  EXPECT_EQ(c.max_positions, 512);
  EXPECT_EQ(c.longest(), 510);
  EXPECT_EQ(c.token_types, 2);
  EXPECT_EQ(c.layer_norm_eps, 1e-12);
  EXPECT_EQ(c.pad_token, 1);
  EXPECT_EQ(c.sep_token, 2);
  EXPECT_EQ(c.label_count(), 2);
}

// The rule of the training is a field that only this project reads.
TEST(LongformerConfigTest, TheRuleAboutGlobalTokensIsSaved) {
  const LongformerConfig silent = ParseConfig("{}");
  EXPECT_EQ(silent.global.Name(), "auto");
  EXPECT_THAT(ToJson(silent), Not(HasSubstr("global")));
  for (const char* rule : {"first:3", "none", "every:16", "ids:0,7", "token:4", "question"}) {
    const auto text = fmt::format(R"({{"longspan_global_tokens": "{}"}})", rule);
    const LongformerConfig c = ParseConfig(text);
    EXPECT_EQ(InfoOf(c).global.Name(), rule);
    EXPECT_EQ(ParseConfig(ToJson(c)).global.Name(), rule);
  }
  EXPECT_EQ(ParseConfig(R"({"longspan_global_tokens": "head"})").global.Name(), "auto");
  EXPECT_EQ(ParseConfig(R"({"longspan_global_tokens": null})").global.Name(), "auto");
  for (const char* bad : {R"("many")", R"("first:0")", R"("choices")", R"("token:<s>")", "7"}) {
    ExpectRefusedConfig(fmt::format(R"({{"longspan_global_tokens": {}}})", bad),
                        "longspan_global_tokens");
  }
}

TEST(LongformerConfigTest, OptionsWinOverTheTrainingsRuleAndThatOverTheHeads) {
  TextModelInfo info = InfoOf(ParseConfig(R"({
      "architectures": ["LongformerForSequenceClassification"],
      "longspan_global_tokens": "first:3"})"));
  const auto resolved = [&](const char* given) {
    std::vector<std::string> notes;
    const std::string name = ResolveGlobal(info, GlobalPolicy::Parse(given), &notes).Name();
    EXPECT_EQ(notes.size(), 1u);
    return name + "; " + notes.at(0);
  };
  EXPECT_EQ(resolved("auto"), "first:3; global tokens: first:3, as in its training");
  EXPECT_EQ(resolved("head"), "ids:0; global tokens: ids:0, as its head needs");
  EXPECT_EQ(resolved("none"), "none; global tokens: none, as the options say");
  info.global = {};
  EXPECT_EQ(resolved("auto"), "ids:0; global tokens: ids:0, as its head needs");

  const auto saved = [&](const char* given) {
    const auto rule = GlobalToSave(info, GlobalPolicy::Parse(given));
    return rule ? rule->Name() : "as it is";
  };
  EXPECT_EQ(saved("auto"), "as it is");
  EXPECT_EQ(saved("head"), "auto");
  EXPECT_EQ(saved("ids:0"), "auto") << "the head implies it";
  EXPECT_EQ(saved("none"), "none");
  EXPECT_EQ(saved("every:8"), "every:8");
}

TEST(LongformerConfigTest, SpecialTokensHaveRows) {
  for (const char* field : {"pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id"}) {
    ExpectRefusedConfig(std::string(R"({"vocab_size": 100, ")") + field + R"(": 1000000})", field);
    ExpectRefusedConfig(std::string(R"({"vocab_size": 100, ")") + field + R"(": 100})", "[0, 99]");
  }
  // Ids that nobody named, of a larger vocabulary.
  const LongformerConfig c = ParseConfig(R"({"vocab_size": 2})");
  EXPECT_EQ(c.bos_token, 0);
  EXPECT_FALSE(c.eos_token.has_value() || c.sep_token.has_value());
}

TEST(LongformerConfigTest, WindowsAreANumberOrAList) {
  EXPECT_THAT(ParseConfig(R"({"attention_window": 64, "num_hidden_layers": 3})").attention_window,
              ElementsAre(64, 64, 64));
  const LongformerConfig c =
      ParseConfig(R"({"attention_window": [6, 20], "num_hidden_layers": 2})");
  EXPECT_EQ(c.window(0), 3);
  EXPECT_EQ(c.window(1), 10);
  EXPECT_EQ(c.largest_window(), 20);
  ExpectRefusedConfig(R"({"attention_window": [6, 7], "num_hidden_layers": 2})",
                      "need even numbers");
  ExpectRefusedConfig(R"({"attention_window": [6], "num_hidden_layers": 2})", "need one for each");
  ExpectRefusedConfig(R"({"attention_window": 0})", "attention_window");
}

TEST(LongformerConfigTest, WhatIsRefused) {
  ExpectRefusedConfig(R"({"model_type": "bert"})", "'bert' is not supported");
  ExpectRefusedConfig(R"({"architectures": ["LongformerForSpeech"]})", "LongformerForMaskedLM");
  ExpectRefusedConfig(R"({"hidden_size": 100})", "no multiple of num_attention_heads 12");
  ExpectRefusedConfig(R"({"hidden_act": "softplus"})", "hidden_act");
  ExpectRefusedConfig(R"({"position_embedding_type": "relative_key"})", "position_embedding_type");
  ExpectRefusedConfig(R"({"pad_token_id": null})", "pad_token_id");
  ExpectRefusedConfig(R"({"pad_token_id": 5, "max_position_embeddings": 6})", "leaves no position");
  ExpectRefusedConfig(R"({"hidden_dropout_prob": 1.0})", "hidden_dropout_prob");
  ExpectRefusedConfig(R"({"layer_norm_eps": 0})", "layer_norm_eps");
  ExpectRefusedConfig(R"({"type_vocab_size": 0})", "type_vocab_size");
  ExpectRefusedConfig(R"({"attention_dilation": [1, 1]})", "one-sided");
  ExpectRefusedConfig(R"({"id2label": {"a": "b"}})", "id2label has the id 'a'");
  ExpectRefusedConfig(R"({"id2label": {"0": []}})", "is no text");
  ExpectRefusedConfig(R"({"problem_type": "ranking"})", "'ranking' is unknown");
  ExpectRefusedConfig(R"({"architectures": ["LongformerForQuestionAnswering"], "num_labels": 3})",
                      "needs 2");
  ExpectRefusedConfig(R"({"tie_word_embeddings": 1})", "tie_word_embeddings");
  ExpectRefusedConfig(R"({"hidden_act": "prelu"})", "parameters of its own");
}

TEST(LongformerConfigTest, WhatIsWrittenIsReadBack) {
  LongformerConfig c = LongformerPreset("small");
  c.head = HeadKind::kSequence;
  c.labels = {"no", "yes", "maybe"};
  c.problem = ProblemType::kMultiLabel;
  c.activation = "gelu_new";
  c.sep_token.reset();
  c.attention_window = {2, 4, 8, 16, 32, 64};
  const std::string text = ToJson(c);
  const LongformerConfig back = ParseConfig(text);
  EXPECT_EQ(ToJson(back), text);
  EXPECT_EQ(back.labels, c.labels);
  EXPECT_EQ(back.problem, c.problem);
  EXPECT_EQ(back.attention_window, c.attention_window);
  EXPECT_FALSE(back.sep_token.has_value());
  EXPECT_EQ(nlohmann::json::parse(text)["label2id"]["maybe"], 2);
}

// The counts of the released checkpoint's sizes.
TEST(LongformerConfigTest, CountsOfTheBaseModel) {
  LongformerConfig c = LongformerPreset("base");
  EXPECT_EQ(ParameterCount(c), 148'711'257u);
  c.head = HeadKind::kNone;
  EXPECT_EQ(ParameterCount(c), 148'659'456u);
  c.pooler = false;
  EXPECT_EQ(ParameterCount(c), 148'068'864u);
  EXPECT_EQ(c.longest(), 4096);
  EXPECT_THROW(LongformerPreset("huge"), Error);
}

TEST(LongformerConfigTest, CountsAreThoseOfTheModel) {
  for (int head = 0; head < 6; ++head) {
    LongformerConfig c = LongformerPreset("tiny");
    c.vocab_size = 50;
    c.head = static_cast<HeadKind>(head);
    c.labels = {"a", "b"};
    EXPECT_EQ(static_cast<idx_t>(ParameterCount(c)), Longformer(c).parameters().count());
    c.tied = false;
    EXPECT_EQ(static_cast<idx_t>(ParameterCount(c)), Longformer(c).parameters().count());
  }
}

// ---- global tokens by name ----------------------------------------------------------------------

// The roles of one row of ids; padding (id 1) is hidden.
std::vector<int> RolesBy(const GlobalPolicy& policy, const std::vector<std::int32_t>& ids,
                         HeadKind head = HeadKind::kNone) {
  LongformerConfig c;
  c.head = head;
  std::vector<std::uint8_t> roles;
  for (const std::int32_t id : ids) roles.push_back(id == 1 ? kHiddenToken : kLocalToken);
  policy.Apply(InfoOf(c), ids, 1, static_cast<idx_t>(ids.size()), roles);
  return {roles.begin(), roles.end()};
}
std::vector<int> Roles(const std::string& policy, const std::vector<std::int32_t>& ids,
                       HeadKind head = HeadKind::kNone) {
  return RolesBy(GlobalPolicy::Parse(policy), ids, head);
}

TEST(GlobalPolicyTest, NamesAndWhatTheyMark) {
  const std::vector<std::int32_t> ids = {0, 7, 8, 2, 2, 9, 7, 2, 1, 1};
  EXPECT_THAT(Roles("none", ids), ElementsAre(1, 1, 1, 1, 1, 1, 1, 1, 0, 0));
  EXPECT_THAT(Roles("first:3", ids), ElementsAre(2, 2, 2, 1, 1, 1, 1, 1, 0, 0));
  EXPECT_THAT(Roles("question", ids), ElementsAre(2, 2, 2, 1, 1, 1, 1, 1, 0, 0));
  EXPECT_THAT(Roles("every:4", ids), ElementsAre(2, 1, 1, 1, 2, 1, 1, 1, 0, 0));
  for (const char* places : {"ids:1,5,9", "positions:1,5,9"}) {
    EXPECT_THAT(Roles(places, ids), ElementsAre(1, 2, 1, 1, 1, 2, 1, 1, 0, 0)) << places;
    EXPECT_EQ(GlobalRule::Parse(places).Name(), "ids:1,5,9");
  }
  EXPECT_THAT(Roles("token:7", ids), ElementsAre(1, 2, 1, 1, 1, 1, 2, 1, 0, 0));
  EXPECT_THAT(Roles("first:2", {1, 1, 0, 5, 6}), ElementsAre(0, 0, 2, 2, 1));
  for (const char* name :
       {"auto", "none", "first:3", "question", "every:4", "ids:1,5,9", "token:7"}) {
    EXPECT_EQ(GlobalPolicy::Parse(name).Name(), name);
  }
}

TEST(GlobalPolicyTest, AutoIsWhatTheHeadNeeds) {
  const std::vector<std::int32_t> ids = {0, 7, 8, 2, 2, 9, 7, 2, 1, 1};
  const auto choose = [&](HeadKind head) { return Roles("auto", ids, head); };
  for (const HeadKind head : {HeadKind::kNone, HeadKind::kMaskedLm, HeadKind::kToken}) {
    EXPECT_THAT(choose(head), ElementsAre(1, 1, 1, 1, 1, 1, 1, 1, 0, 0));
  }
  EXPECT_THAT(choose(HeadKind::kSequence), ElementsAre(2, 1, 1, 1, 1, 1, 1, 1, 0, 0));
  EXPECT_THAT(choose(HeadKind::kQuestion), ElementsAre(2, 2, 2, 1, 1, 1, 1, 1, 0, 0));
  EXPECT_THAT(choose(HeadKind::kChoice), ElementsAre(1, 1, 1, 1, 1, 2, 2, 2, 0, 0));
  EXPECT_EQ(GlobalPolicy().For(HeadKind::kQuestion).Name(), "question");
  EXPECT_EQ(GlobalPolicy().For(HeadKind::kChoice).Name(), "choices");
}

TEST(GlobalPolicyTest, WhatIsRefused) {
  for (const char* text :
       {"", "all", "choices", "first", "first:", "first:0", "first:x", "first:2,3", "none:1",
        "ids:1,,2", "ids:1,", "ids:-1", "token:1:2", "every:99999999999999999999"}) {
    EXPECT_THROW(GlobalPolicy::Parse(text), Error) << text;
  }
  EXPECT_THROW(Roles("ids:3", {0, 5, 6}), Error);
  // Nobody asks a folder's rule of a text that is shorter than those of the training.
  EXPECT_THAT(RolesBy(GlobalPolicy::OfModel(GlobalRule::Positions({1, 3})), {0, 5, 6}),
              ElementsAre(1, 2, 1));
  try {
    Roles("question", {0, 5, 6});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("row 0 has no separator"));
  }
}

}  // namespace
}  // namespace longspan
