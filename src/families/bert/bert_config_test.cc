// config.json of BERTs and RoBERTas, of 2019 and of today.
#include "families/bert/bert_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "families/bert/bert.h"
#include "longspan/error.h"

namespace longspan {
namespace {

using testing::HasSubstr;

BertConfig Parsed(const std::string& text) { return ParseBertConfig(text, "c.json"); }

std::string Refusal(const std::string& text) {
  try {
    Parsed(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kFormat);
    return error.what();
  }
  return "nothing refused";
}

TEST(BertConfigTest, DefaultsAreThoseOfTheBaseModels) {
  const BertConfig bert = Parsed(R"({"model_type": "bert"})");
  EXPECT_EQ(bert.class_name(), "BertModel");
  EXPECT_EQ(ParameterCount(bert), 109482240u);
  EXPECT_EQ(bert.longest(), 512);
  EXPECT_EQ(bert.pad_token, 0);
  EXPECT_EQ(bert.bos_token, std::nullopt);
  const BertConfig roberta =
      Parsed(R"({"model_type": "roberta", "max_position_embeddings": 514, "type_vocab_size": 1})");
  EXPECT_EQ(roberta.class_name(), "RobertaModel");
  EXPECT_EQ(ParameterCount(roberta), 124645632u);
  EXPECT_EQ(roberta.longest(), 512);  // rows 0 and 1 are no token's
  EXPECT_EQ(roberta.bos_token, 0);
  EXPECT_EQ(roberta.sep_token, std::nullopt);
}

TEST(BertConfigTest, TheClassSaysTheTypeOfOldFiles) {
  EXPECT_EQ(Parsed(R"({"architectures": ["BertForMaskedLM"]})").type->name, "bert");
  EXPECT_EQ(Parsed(R"({"architectures": ["RobertaForMaskedLM"]})").type->name, "roberta");
  EXPECT_EQ(Parsed(R"({"architectures": ["CamembertModel"]})").type->name, "camembert");
  EXPECT_EQ(Parsed(R"({"architectures": ["XLMRobertaForTokenClassification"]})").head,
            HeadKind::kToken);
  EXPECT_EQ(Parsed(R"({"architectures": ["BertForPreTraining"]})").class_name(), "BertForMaskedLM");
}

TEST(BertConfigTest, CountsOfTheReleasedModels) {
  const auto count = [](std::string_view type) {
    return ParameterCount(BertPreset(BertTypeNamed(type, "test"), "base"));
  };
  EXPECT_EQ(count("bert"), 109514298u);
  EXPECT_EQ(count("roberta"), 124697433u);
  EXPECT_EQ(count("xlm-roberta"), 278295186u);
}

// What a config writes it reads again, and a count from the config alone is the model's.
TEST(BertConfigTest, WrittenAndReadAgain) {
  for (const BertType& type : BertTypes()) {
    for (const HeadClass& row : type.heads) {
      BertConfig c = BertPreset(type, "tiny");
      c.vocab_size = 50;
      c.head = row.head;
      c.tied = row.head != HeadKind::kMaskedLm || !type.bert;
      c.classifier_dropout = 0.25;
      if (row.head == HeadKind::kSequence) c.labels = {"red", "green", "blue"};
      const std::string text = ToJson(c);
      const BertConfig back = Parsed(text);
      EXPECT_EQ(ToJson(back), text);
      EXPECT_EQ(back.class_name(), row.class_name);
      EXPECT_EQ(back.type, c.type);
      const Bert model(back);
      EXPECT_EQ(static_cast<std::uint64_t>(model.parameters().count()), ParameterCount(back))
          << row.class_name;
    }
  }
}

TEST(BertConfigTest, WhatIsNotComputedIsRefusedByName) {
  EXPECT_THAT(Refusal(R"({"model_type": "bert", "is_decoder": true})"),
              HasSubstr("c.json: is_decoder is true; a BERT is read as an encoder"));
  EXPECT_THAT(Refusal(R"({"model_type": "roberta", "add_cross_attention": true})"),
              HasSubstr("add_cross_attention is true"));
  for (const std::string kind : {"relative_key", "relative_key_query"}) {
    EXPECT_THAT(Refusal(R"({"model_type": "bert", "position_embedding_type": ")" + kind + "\"}"),
                HasSubstr("position_embedding_type '" + kind + "' is not computed"));
  }
  EXPECT_THAT(Refusal(R"({"architectures": ["BertLMHeadModel"]})"), HasSubstr("'BertLMHeadModel'"));
  EXPECT_THAT(Refusal(R"({"model_type": "bert", "architectures": ["RobertaModel"]})"),
              HasSubstr("'RobertaModel' is not supported; use one of BertModel, "));
  EXPECT_THAT(Refusal(R"({"model_type": "distilbert"})"),
              HasSubstr("need one of bert, roberta, xlm-roberta, camembert"));
}

TEST(BertConfigTest, WhatIsWrongIsNamed) {
  EXPECT_THAT(Refusal(R"({"hidden_size": 10, "num_attention_heads": 3})"),
              HasSubstr("no multiple of num_attention_heads"));
  EXPECT_THAT(Refusal(R"({"hidden_act": "prelu"})"), HasSubstr("hidden_act"));
  EXPECT_THAT(Refusal(R"({"classifier_dropout": 1.5})"), HasSubstr("classifier_dropout"));
  EXPECT_THAT(Refusal(R"({"num_hidden_layers": 0})"), HasSubstr("num_hidden_layers"));
  EXPECT_THAT(Refusal(R"({"model_type": "roberta", "max_position_embeddings": 2})"),
              HasSubstr("leaves no position behind pad_token_id 1"));
  EXPECT_THAT(Refusal(R"({"architectures": ["BertForQuestionAnswering"], "num_labels": 3})"),
              HasSubstr("3 labels; a BertForQuestionAnswering needs 2"));
  EXPECT_THAT(Refusal("[]"), HasSubstr("a list instead of an object"));
}

TEST(BertConfigTest, DropoutOfTheClassifier) {
  BertConfig c = Parsed(R"({"classifier_dropout": 0.3})");
  EXPECT_EQ(c.classifier_dropout, 0.3);
  c.SetDropout(0.0);
  EXPECT_EQ(c.classifier_dropout, std::nullopt);
  EXPECT_EQ(Parsed(R"({"classifier_dropout": null})").classifier_dropout, std::nullopt);
}

}  // namespace
}  // namespace longspan
