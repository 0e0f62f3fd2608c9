// Which model a folder holds whose config.json leaves that open.
#include "model/weight_heads.h"

#include <nlohmann/json.hpp>

#include "families/families.h"
#include "families/longformer/longformer_files.h"
#include "families/longformer/longformer_test.h"
#include "families/reformer/reformer_files.h"
#include "families/reformer/reformer_test.h"
#include "model/text_model.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using nlohmann::json;
using test::GetFile;
using test::PutFile;
using test::TempDir;
using test::Throws;

class WeightHeadsTest : public testing::Test {
 protected:
  void PutLongformer(HeadKind head, std::vector<std::string> labels = {"x", "y", "z"}) {
    LongformerConfig config = SmallLongformer(head);
    if (head != HeadKind::kQuestion) config.labels = std::move(labels);
    Longformer model(config);
    model.Initialise(3);
    SaveLongformer(model, dir_.path());
  }
  void PutReformer(HeadKind head) {
    ReformerConfig config = MixedConfig();
    config.head = head;
    config.is_decoder = head == HeadKind::kCausalLm;
    if (head == HeadKind::kSequence) config.labels = {"x", "y", "z"};
    Reformer model(config);
    model.Initialise(3);
    SaveReformer(model, dir_.path());
  }
  // Sets a field of config.json, or takes it away (discarded value).
  void Change(const char* field, const json& value = json(json::value_t::discarded)) {
    json config = json::parse(GetFile(dir_ / "config.json"));
    config.erase(field);
    if (!value.is_discarded()) config[field] = value;
    PutFile(dir_ / "config.json", config.dump());
  }
  std::string Class() { return ReadTextModelInfo(dir_.path()).class_name; }
  std::string Opened(std::vector<std::string>* notes = nullptr) {
    return LoadTextModel(dir_.path(), {}, notes)->info().class_name;
  }
  testing::AssertionResult Refused(std::string_view says) {
    return Throws([&] { Opened(); }, ErrorCode::kFormat, says);
  }

  TempDir dir_;
};

TEST_F(WeightHeadsTest, NoClassIsTheOneOfTheWeights) {
  for (const HeadKind head : {HeadKind::kNone, HeadKind::kMaskedLm, HeadKind::kSequence,
                              HeadKind::kToken, HeadKind::kQuestion, HeadKind::kChoice}) {
    for (const json& none : {json(json::value_t::discarded), json::array(), json(nullptr)}) {
      PutLongformer(head);
      Change("architectures", none);
      EXPECT_EQ(Class(), LongformerClass(head));
      EXPECT_EQ(Opened(), LongformerClass(head));
    }
  }
  for (const HeadKind head : {HeadKind::kNone, HeadKind::kCausalLm, HeadKind::kMaskedLm,
                              HeadKind::kSequence, HeadKind::kQuestion}) {
    for (const json& none : {json(json::value_t::discarded), json::array(), json(nullptr)}) {
      PutReformer(head);
      Change("architectures", none);
      EXPECT_EQ(Class(), ReformerClass(head));
      EXPECT_EQ(Opened(), ReformerClass(head));
    }
  }
}

TEST_F(WeightHeadsTest, OfSeveralTheOneOfTheWeights) {
  PutLongformer(HeadKind::kMaskedLm);
  Change("architectures", {"LongformerModel", "LongformerForSequenceClassification", "Mine",
                           "LongformerForMaskedLM"});
  EXPECT_EQ(Opened(), "LongformerForMaskedLM");
  Change("architectures", {"LongformerForSequenceClassification", "LongformerModel"});
  EXPECT_EQ(Opened(), "LongformerModel");
  Change("architectures",
         {"LongformerForSequenceClassification", "LongformerForTokenClassification"});
  EXPECT_TRUE(Refused("the weights have the head of none of them"));
  Change("architectures", "LongformerForMaskedLM");
  EXPECT_EQ(Opened(), "LongformerForMaskedLM");
  PutReformer(HeadKind::kSequence);
  Change("architectures", {"ReformerModelWithLMHead", "ReformerForSequenceClassification"});
  EXPECT_EQ(Opened(), "ReformerForSequenceClassification");
}

// One row of classes: a label, or the score of a choice.
TEST_F(WeightHeadsTest, OneRowIsReadByTheLabels) {
  PutLongformer(HeadKind::kToken, {"only"});
  Change("architectures");
  EXPECT_EQ(Opened(), "LongformerForTokenClassification");
  Change("id2label");
  Change("label2id");
  EXPECT_TRUE(Refused("could be one of a token classifier with one label or of multiple choice"));
  Change("architectures", {"LongformerForTokenClassification"});
  EXPECT_EQ(Opened(), "LongformerForTokenClassification");
  PutLongformer(HeadKind::kChoice);
  Change("architectures");
  Change("id2label");
  Change("label2id");
  EXPECT_EQ(Opened(), "LongformerForMultipleChoice");
}

TEST_F(WeightHeadsTest, AsManyLabelsAsTheWeightsHave) {
  using Names = std::vector<std::string>;
  PutLongformer(HeadKind::kSequence);
  Change("id2label");
  Change("label2id");
  std::vector<std::string> notes;
  EXPECT_EQ(LoadTextModel(dir_.path(), {}, &notes)->info().labels,
            (Names{"LABEL_0", "LABEL_1", "LABEL_2"}));
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("the weights have 3 classes"), std::string::npos);
  Change("id2label", {{"0", "a"}, {"2", "c"}});
  notes.clear();
  EXPECT_EQ(LoadTextModel(dir_.path(), {}, &notes)->info().labels, (Names{"a", "LABEL_1", "c"}));
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("no name for class 1"), std::string::npos);
  Change("id2label", {{"0", "a"}, {"1", "b"}});
  EXPECT_TRUE(Refused("has shape (3, 12), the config needs (2, 12)"));
  Change("num_labels", 3);
  EXPECT_EQ(ReadTextModelInfo(dir_.path()).labels, (Names{"a", "b", "LABEL_2"}));
  PutReformer(HeadKind::kSequence);
  Change("id2label");
  Change("label2id", {{"p", 0}, {"q", 1}, {"r", 2}});
  EXPECT_EQ(ReadTextModelInfo(dir_.path()).labels, (Names{"p", "q", "r"}));
}

// A config alone says what it always said.
TEST_F(WeightHeadsTest, WithoutWeights) {
  PutLongformer(HeadKind::kMaskedLm);
  Change("architectures");
  std::filesystem::remove(dir_ / "model.safetensors");
  EXPECT_EQ(Class(), "LongformerModel");
  PutReformer(HeadKind::kCausalLm);
  Change("architectures");
  std::filesystem::remove(dir_ / "model.safetensors");
  EXPECT_EQ(Class(), "ReformerModelWithLMHead");
}

TEST_F(WeightHeadsTest, WhatAFolderIsForAndWhichWouldDo) {
  PutLongformer(HeadKind::kNone);
  const TextModelInfo info = ReadTextModelInfo(dir_.path());
  EXPECT_TRUE(
      Throws([&] { CheckHead(dir_.path(), info, HeadKind::kMaskedLm); }, ErrorCode::kFormat,
             "is a LongformerModel, which is for embed, not for fill-mask; that needs the "
             "folder of a ReformerForMaskedLM, LongformerForMaskedLM, ModernBertForMaskedLM, "
             "BertForMaskedLM, RobertaForMaskedLM, XLMRobertaForMaskedLM or "
             "CamembertForMaskedLM (longspan train mlm makes one)"));
  EXPECT_NO_THROW(CheckHead(dir_.path(), info, HeadKind::kNone));
}

}  // namespace
}  // namespace longspan
