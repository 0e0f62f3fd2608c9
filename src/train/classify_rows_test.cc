// What labels in data mean under a model.
#include <gtest/gtest.h>

#include "tests/support/files.h"
#include "tests/support/word_tokenizer.h"
#include "text/bytes_tokenizer.h"
#include "train/classify_task.h"

namespace longspan {
namespace {

using test::Throws;
using Names = std::vector<std::string>;

LabelledTexts Texts(const Names& labels) {
  LabelledTexts texts{"data.csv", {}, false, 0, "x"};
  for (const std::string& label : labels) {
    LabelledText row;
    row.text = "x";
    row.labels = {label};
    row.line = static_cast<idx_t>(texts.rows.size()) + 2;
    texts.rows.push_back(row);
  }
  return texts;
}

TextModelInfo Classifier(const Names& labels) {
  TextModelInfo info;
  info.head = HeadKind::kSequence;
  info.labels = labels;
  return info;
}

Names Chosen(const Names& labels, const TextModelInfo& info) {
  return ChooseTarget(Texts(labels), ProblemType::kInferred, info).labels;
}

const Names kDefaults = {"LABEL_0", "LABEL_1", "LABEL_2"};

TEST(ChooseTarget, IntegersKeepAHeadWithoutNames) {
  EXPECT_EQ(Chosen({"2", "0", "2"}, Classifier(kDefaults)), kDefaults);
  EXPECT_EQ(Chosen({"2.0", "0.0"}, Classifier(kDefaults)), kDefaults);
  EXPECT_EQ(Chosen({"LABEL_1", "0"}, Classifier(kDefaults)), kDefaults);
  EXPECT_EQ(Chosen({"3", "0"}, Classifier(kDefaults)), (Names{"0", "3"}));
  EXPECT_EQ(Chosen({"1", "0"}, Classifier({"neg", "pos"})), (Names{"0", "1"}));
  EXPECT_EQ(Chosen({"1", "0"}, TextModelInfo()), (Names{"0", "1"}));  // no classifier
}

TEST(ChooseTarget, NamesThatATypingErrorTellsApart) {
  EXPECT_TRUE(Throws(
      [] {
        Chosen({"pos", "neg", "pos "}, TextModelInfo());
      },
      ErrorCode::kFormat,
      "data.csv:4: label \"pos \" differs from \"pos\" of data.csv:2 only by blanks "
      "around it or by case"));
  EXPECT_TRUE(Throws(
      [] {
        Chosen({"Pos", "pos"}, TextModelInfo());
      },
      ErrorCode::kFormat, "label \"pos\" differs from \"Pos\" of data.csv:2"));
  EXPECT_TRUE(Throws(
      [] {
        Chosen({"pos\t", "pos"}, Classifier({"pos", "neg"}));
      },
      ErrorCode::kFormat, "differs from"));
  // A model that has both has them for a reason.
  EXPECT_EQ(Chosen({"A", "a"}, Classifier({"A", "a"})), (Names{"A", "a"}));
}

TEST(ChooseTarget, RowsOfZerosAndOnes) {
  LabelledTexts texts = Texts({"LABEL_0", "LABEL_2"});
  texts.sets = true;
  const auto choose = [&](const TextModelInfo& info) {
    return ChooseTarget(texts, ProblemType::kInferred, info, 4);
  };
  EXPECT_EQ(choose(TextModelInfo()).labels, (Names{"LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"}));
  const ClassifyTarget named = choose(Classifier({"a", "b", "c", "d"}));
  EXPECT_EQ(named.labels, (Names{"a", "b", "c", "d"}));
  EXPECT_EQ(named.problem, ProblemType::kMultiLabel);
  EXPECT_TRUE(named.by_id);
  EXPECT_EQ(choose(Classifier({"a", "b"})).labels.size(), 4u);
}

TEST(TokenizeRows, LabelsBecomeIds) {
  Context context(1);
  const auto tokenizer = text::MakeBytesTokenizer();
  TextModelInfo info = Classifier(kDefaults);
  info.vocab_size = 300;
  const auto ids = [&](const Names& labels, const ClassifyTarget& target) {
    return TokenizeRows(context, *tokenizer, Texts(labels), target, info, {8, false, false}).labels;
  };
  EXPECT_EQ(ids({"2", "0", "1.0", "LABEL_1"}, {kDefaults, ProblemType::kSingleLabel}),
            (std::vector<std::int32_t>{2, 0, 1, 1}));
  ClassifyTarget named{{"a", "b"}, ProblemType::kSingleLabel};
  EXPECT_TRUE(Throws(
      [&] {
        ids({"a", "LABEL_1"}, named);
      },
      ErrorCode::kFormat, "data.csv:3: label \"LABEL_1\" is not one of the 2 that the model has"));
  EXPECT_TRUE(Throws([&] { ids({"B "}, named); }, ErrorCode::kFormat,
                     "label \"B \" is not one of the 2 that the model has; it has \"b\""));
  named.by_id = true;
  EXPECT_EQ(ids({"LABEL_1", "LABEL_0"}, named), (std::vector<std::int32_t>{1, 0}));
}

TEST(TokenizeRows, ARowWithASecondTextIsAPair) {
  Context context(1);
  const test::WordTokenizer words({"x", "y"});
  const text::Tokenizer& tokenizer = words;
  TextModelInfo info = Classifier({"a"});
  info.vocab_size = tokenizer.vocabulary();
  info.token_types = 2;
  LabelledTexts texts{"data.csv", {}, false, 0, "x"};
  for (const char* pair : {"y", ""}) {
    LabelledText row;
    row.text = "x";
    row.pair = pair;
    row.labels = {"a"};
    texts.rows.push_back(row);
  }
  const auto rows_of = [&](bool pairs) {
    return TokenizeRows(context, tokenizer, texts, {{"a"}, ProblemType::kSingleLabel}, info,
                        {8, false, pairs});
  };
  const auto length = [&](const text::Encoding& row) { return row.size(); };
  const ClassifyRows rows = rows_of(false), all = rows_of(true);
  EXPECT_EQ(rows.lengths()[0], length(tokenizer.EncodePair("x", "y", {}).front()));
  EXPECT_EQ(rows.lengths()[1], length(tokenizer.Encode("x", {}).front()));
  EXPECT_EQ(all.lengths()[1], length(tokenizer.EncodePair("x", "", {}).front()));
}

}  // namespace
}  // namespace longspan
