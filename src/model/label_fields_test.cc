// Labels as people's config.json files have them, and what data mean by them.
#include "model/label_fields.h"

#include <nlohmann/json.hpp>

#include "tests/support/files.h"

namespace longspan {
namespace {

using nlohmann::json;
using test::Throws;
using LabelNames = std::vector<std::string>;

LabelFields ParseFields(const char* text) { return ParseLabels(json::parse(text), "config.json"); }

void ExpectRefusedLabels(const char* text, const char* says) {
  EXPECT_TRUE(Throws([&] { ParseFields(text); }, ErrorCode::kFormat, says)) << text;
}

TEST(LabelFields, ManyFormsOfOneThing) {
  for (const char* text :
       {R"({"id2label": {"0": "a", "1": "b"}})", R"({"id2label": ["a", "b"]})",
        R"({"id2label": {"01": "b", "00": "a"}})", R"({"label2id": {"b": 1, "a": 0}})",
        R"({"label2id": {"a": "0", "b": "1"}})",
        R"({"id2label": {"0": "a", "1": "b"}, "num_labels": 2})",
        R"({"id2label": null, "label2id": {"a": 0, "b": 1}})",
        R"({"id2label": {"0": "a", "1": "b"}, "label2id": {"x": 7}})"}) {
    const LabelFields labels = ParseFields(text);
    EXPECT_EQ(labels.names, (LabelNames{"a", "b"})) << text;
    EXPECT_TRUE(labels.notes.empty() && labels.certain && labels.said) << text;
  }
}

TEST(LabelFields, NumbersAreNames) {
  EXPECT_EQ(ParseFields(R"({"id2label": {"0": 0, "1": 1}})").names, (LabelNames{"0", "1"}));
  EXPECT_EQ(ParseFields(R"({"id2label": [-1, 0.5, true]})").names,
            (LabelNames{"-1", "0.5", "true"}));
}

TEST(LabelFields, WithoutNames) {
  LabelFields labels = ParseFields(R"({"num_labels": 3})");
  EXPECT_EQ(labels.names, (LabelNames{"LABEL_0", "LABEL_1", "LABEL_2"}));
  EXPECT_TRUE(labels.certain);
  EXPECT_EQ(ParseFields(R"({"_num_labels": 1})").names, (LabelNames{"LABEL_0"}));
  labels = ParseFields("{}");
  EXPECT_EQ(labels.names, (LabelNames{"LABEL_0", "LABEL_1"}));
  EXPECT_FALSE(labels.certain || labels.said);
  FitLabels(5, "config.json", &labels);
  EXPECT_EQ(labels.names.size(), 5u);
  EXPECT_EQ(labels.names[4], "LABEL_4");
  EXPECT_EQ(labels.notes,
            (LabelNames{"config.json: says nothing of labels; the weights have 5 classes, "
                        "named LABEL_k"}));
}

TEST(LabelFields, GapsAreNamedAndTold) {
  LabelFields labels = ParseFields(R"({"id2label": {"0": "a", "2": "c"}})");
  EXPECT_EQ(labels.names, (LabelNames{"a", "LABEL_1", "c"}));
  EXPECT_EQ(labels.notes, (LabelNames{"config.json: no name for class 1; named LABEL_k"}));
  EXPECT_FALSE(labels.certain);
  FitLabels(3, "config.json", &labels);
  EXPECT_EQ(labels.notes.size(), 1u);
  FitLabels(4, "config.json", &labels);
  EXPECT_EQ(labels.names, (LabelNames{"a", "LABEL_1", "c", "LABEL_3"}));
  labels = ParseFields(R"({"id2label": {"9": "z"}})");
  EXPECT_EQ(labels.notes,
            (LabelNames{"config.json: no name for classes 0, 1, 2, 3, 4, ...; named LABEL_k"}));
}

TEST(LabelFields, CountsThatDisagree) {
  LabelFields labels = ParseFields(R"({"id2label": {"0": "a", "1": "b"}, "num_labels": 3})");
  EXPECT_EQ(labels.names, (LabelNames{"a", "b"}));
  EXPECT_EQ(labels.notes,
            (LabelNames{"config.json: num_labels is 3, but id2label names 2 classes; the "
                        "names count"}));
  FitLabels(3, "config.json", &labels);  // the weights side with num_labels
  EXPECT_EQ(labels.names, (LabelNames{"a", "b", "LABEL_2"}));
  labels = ParseFields(R"({"label2id": {"a": 0, "b": 1}, "num_labels": 3})");
  EXPECT_EQ(labels.names, (LabelNames{"a", "b", "LABEL_2"}));
  EXPECT_EQ(labels.notes, (LabelNames{"config.json: no name for class 2; named LABEL_k"}));
  // LabelNames that are certain are the config's affair.
  labels = ParseFields(R"({"id2label": {"0": "a", "1": "b"}})");
  FitLabels(3, "config.json", &labels);
  EXPECT_EQ(labels.names.size(), 2u);
}

TEST(LabelFields, TwoOfAName) {
  EXPECT_EQ(ParseFields(R"({"id2label": ["x", "y", "x"]})").notes,
            (LabelNames{"config.json: classes 0 and 2 have the same name, 'x'"}));
  const LabelFields labels = ParseFields(R"({"label2id": {"b": 0, "a": 0, "c": 1}})");
  EXPECT_EQ(labels.names, (LabelNames{"a", "c"}));
  EXPECT_EQ(labels.notes,
            (LabelNames{"config.json: label2id gives 'a' and 'b' the id 0; its name is 'a'"}));
}

TEST(LabelFields, WhatIsRefused) {
  ExpectRefusedLabels(R"({"id2label": {}})", "id2label has 0 labels");
  ExpectRefusedLabels(R"({"id2label": []})", "id2label has 0 labels");
  ExpectRefusedLabels(R"({"id2label": "a"})", "id2label is neither an object nor a list");
  ExpectRefusedLabels(R"({"id2label": {"x": "a"}})", "id2label has the id 'x'");
  ExpectRefusedLabels(R"({"id2label": {"-1": "a"}})", "id2label has the id '-1'");
  ExpectRefusedLabels(R"({"id2label": {"524288": "a"}})", "integers from 0 to 524287");
  ExpectRefusedLabels(R"({"id2label": {"5000": "a"}})", "leaves 5000 before it without a name");
  ExpectRefusedLabels(R"({"id2label": {"0": "a", "1": "b", "6000": "c"}})", "(the first is 2)");
  ExpectRefusedLabels(R"({"id2label": {"0": "a", "00": "b"}})", "id2label names id 0 twice");
  ExpectRefusedLabels(R"({"id2label": {"0": ["a"]}})", "id2label 0 is no text");
  ExpectRefusedLabels(R"({"id2label": {"0": null}})", "id2label 0 is no text");
  ExpectRefusedLabels(R"({"label2id": ["a"]})", "label2id is no object");
  ExpectRefusedLabels(R"({"label2id": {"a": 1.5}})", "label2id has the id '1.5'");
  ExpectRefusedLabels(R"({"num_labels": 0})", "num_labels");
}

TEST(LabelFields, WhatIsWrittenIsReadBack) {
  for (const LabelNames& names :
       {LabelNames{"0", "1"}, LabelNames{"x", "x"}, LabelNames{"a b", "", "\xc3\xa9"}}) {
    json object;
    WriteLabels(names, ProblemType::kSingleLabel, &object);
    EXPECT_EQ(ParseLabels(object, "x").names, names);
    EXPECT_EQ(ParseProblemType(object, "x"), ProblemType::kSingleLabel);
  }
}

TEST(LabelFields, ProblemTypes) {
  EXPECT_EQ(ParseProblemType(json::parse(R"({"problem_type": null})"), "x"),
            ProblemType::kInferred);
  EXPECT_EQ(ParseProblemType(json::object(), "x"), ProblemType::kInferred);
  LabelFields one = ParseFields(R"({"num_labels": 1})"), two = ParseFields(R"({"num_labels": 2})");
  ProblemType problem = ProblemType::kSingleLabel;
  CheckProblem("config.json", &problem, &two);
  EXPECT_EQ(problem, ProblemType::kSingleLabel);
  CheckProblem("config.json", &problem, &one);
  EXPECT_EQ(problem, ProblemType::kInferred);
  EXPECT_EQ(one.notes.size(), 1u);
  for (ProblemType other : {ProblemType::kMultiLabel, ProblemType::kRegression}) {
    const ProblemType before = other;
    CheckProblem("config.json", &other, &one);
    EXPECT_EQ(other, before);
  }
}

TEST(FindLabel, NamesFirst) {
  const LabelNames named = {"neg", "pos", "2"};
  EXPECT_EQ(FindLabel(named, "pos"), 1);
  EXPECT_EQ(FindLabel(named, "2"), 2);
  EXPECT_FALSE(FindLabel(named, "0"));  // no numbers for names
  EXPECT_FALSE(FindLabel(named, "POS"));
  EXPECT_FALSE(FindLabel(named, ""));
}

TEST(FindLabel, NumbersOfClassesWithoutNames) {
  const LabelNames defaults = {"LABEL_0", "LABEL_1", "LABEL_2"};
  EXPECT_EQ(FindLabel(defaults, "LABEL_1"), 1);
  for (const char* two : {"2", "2.0", "02", "+2", "2.", "2.000"})
    EXPECT_EQ(FindLabel(defaults, two), 2);
  for (const char* none : {"3", "-1", "1.5", "1e0", " 1", "one", ".0", ""}) {
    EXPECT_FALSE(FindLabel(defaults, none)) << none;
  }
  // Not LABEL_k of their own places: names like any other.
  EXPECT_FALSE(FindLabel(LabelNames{"LABEL_1", "LABEL_0"}, "1"));
}

TEST(FindLabel, IntegersAsNames) {
  const LabelNames years = {"-1", "0", "10"};
  EXPECT_EQ(FindLabel(years, "-1.0"), 0);
  EXPECT_EQ(FindLabel(years, "10.0"), 2);
  EXPECT_FALSE(FindLabel(years, "2"));  // the value, not the place
}

}  // namespace
}  // namespace longspan
