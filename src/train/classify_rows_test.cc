// What labels in data mean under a model.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <utility>

#include "model/head_fields.h"
#include "tests/support/files.h"
#include "tests/support/word_tokenizer.h"
#include "text/bytes_tokenizer.h"
#include "train/classify_task.h"
#include "train/row_training.h"

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

// A head of one number stays, under its own name (a CrossEncoder's "score").
TEST(ChooseTarget, ANumberKeepsAHeadOfOneLabel) {
  const auto chosen = [](TextModelInfo info, ProblemType problem) {
    info.problem = problem;
    return ChooseTarget(Texts({"0.5"}), ProblemType::kRegression, info).labels;
  };
  const TextModelInfo score = Classifier({"score"});
  EXPECT_EQ(chosen(score, ProblemType::kInferred), (Names{"score"}));
  EXPECT_EQ(chosen(score, ProblemType::kRegression), (Names{"score"}));
  EXPECT_EQ(chosen(score, ProblemType::kMultiLabel), (Names{"LABEL_0"}));
  EXPECT_EQ(chosen(Classifier({"a", "b"}), ProblemType::kInferred), (Names{"LABEL_0"}));
  EXPECT_EQ(chosen(TextModelInfo(), ProblemType::kInferred), (Names{"LABEL_0"}));
  HeadFields files{HeadKind::kSequence, {"score"}, ProblemType::kInferred, {}};
  EXPECT_TRUE(files.Put({HeadKind::kSequence, chosen(score, ProblemType::kInferred),
                         ProblemType::kRegression}));  // its numbers are taken over
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
        Chosen({"pos", "neg", "pos ", "POS", " neg", "pos "}, TextModelInfo());
      },
      ErrorCode::kFormat,
      "by case; so do \"POS\" of data.csv:5 and \"pos\", \" neg\" of data.csv:6 and \"neg\"; "
      "write them alike"));
  Names many;
  for (int i = 0; i < 30; ++i) many.push_back(std::string(static_cast<std::size_t>(i), ' ') + "a");
  EXPECT_TRUE(Throws([&] { Chosen(many, TextModelInfo()); }, ErrorCode::kFormat,
                     " and 9 more, which `longspan data stats --task classify` lists"));
  EXPECT_TRUE(Throws(
      [] {
        Chosen({"pos\t", "pos"}, Classifier({"pos", "neg"}));
      },
      ErrorCode::kFormat, "differs from"));
  const std::pair<const char*, const char*> numbers[] = {
      {"1", "1.0"},  {"0.0", "0"},     {"-0", "0"},        {"+7", "07 "}, {"1", "1e0"},
      {"1E1", "10"}, {"150", "1.5e2"}, {"-20", "-.2e+02"}, {"0e9", "0"}};
  for (const auto& [one, other] : numbers) {
    const Names labels = {one, "x", other};
    EXPECT_TRUE(
        Throws([&] { Chosen(labels, TextModelInfo()); }, ErrorCode::kFormat,
               fmt::format("data.csv:4: label \"{}\" differs from \"{}\" of data.csv:2 only "
                           "by the way in which the number is written",
                           other, one)));
  }
  // Numbers that no double tells apart are two names, and so is what is no number.
  const Names two = {"12345678901234567890", "12345678901234567891"};
  EXPECT_EQ(Chosen(two, TextModelInfo()), two);
  EXPECT_EQ(Chosen({"-1", "1", "v1.0", "v1", "1-1"}, TextModelInfo()).size(), 5u);
  EXPECT_EQ(Chosen({"1e", "1", "e1", "1e1e1", "10", "1e1000"}, TextModelInfo()).size(), 6u);
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
    return TokenizeRows(context, *tokenizer, Texts(labels), target, info, {.tokens = 8}).labels;
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
                        {.tokens = 8, .pairs = pairs});
  };
  const auto length = [&](const text::Encoding& row) { return row.size(); };
  const ClassifyRows rows = rows_of(false), all = rows_of(true);
  EXPECT_EQ(rows.lengths()[0], length(tokenizer.EncodePair("x", "y", {}).front()));
  EXPECT_EQ(rows.lengths()[1], length(tokenizer.Encode("x", {}).front()));
  EXPECT_EQ(all.lengths()[1], length(tokenizer.EncodePair("x", "", {}).front()));
}

TEST(ClassifyRowsCounts, EachLabelIsCountedInClassesAndInSets) {
  ClassifyRows classes, sets, numbers;
  classes.labels = {2, 0, 2};
  EXPECT_EQ(classes.Counts({kDefaults, ProblemType::kSingleLabel}), (std::vector<idx_t>{1, 0, 2}));
  sets.values = {1, 0, 1, 1, 0, 0};
  EXPECT_EQ(sets.Counts({kDefaults, ProblemType::kMultiLabel}), (std::vector<idx_t>{2, 0, 1}));
  numbers.values = {0.7f};
  EXPECT_TRUE(numbers.Counts({{"LABEL_0"}, ProblemType::kRegression}).empty());
}

TEST(ClassesOfBothParts, ThoseWithoutARowAreNamed) {
  std::string note;
  TrainHooks hooks;
  hooks.on_event = [&](const TrainEvent& event) { note += event.text; };
  const auto told = [&](const Names& labels, const std::vector<idx_t>& train,
                        const std::vector<idx_t>& held_out) {
    note.clear();
    TellAboutClasses(hooks, "row", labels, train, held_out);
    return note;
  };
  EXPECT_EQ(told({"a", "b"}, {1, 2}, {3, 1}), "");
  EXPECT_EQ(told({"a", "b"}, {1, 0}, {3, 1}), "no row to train on has the label \"b\"");
  EXPECT_EQ(told({"a", "b", "c"}, {1, 0, 1}, {0, 1, 0}),
            "no row to train on has the label \"b\"; no held-out row has the label \"a\", \"c\"");
  EXPECT_EQ(told({"a", "b", "c", "d", "e"}, {1, 1, 1, 1, 1}, {0, 0, 0, 0, 0}),
            "no held-out row has the label \"a\", \"b\", \"c\" and 2 more");
  const auto check = [](const std::vector<idx_t>& train, const std::vector<idx_t>& held_out) {
    CheckClassesLeft("t.csv", train, held_out);
  };
  check({5, 1}, {0, 0});
  check({5, 0}, {2, 0});  // one class in all: what the labels of a model were chosen by
  check({5, 1, 0}, {0, 0, 3});
  EXPECT_TRUE(Throws(
      [&] {
        check({5, 0}, {1, 1});
      },
      ErrorCode::kFormat, "t.csv: what is left to train on has 1 of 2 labels, need at least 2"));
}

}  // namespace
}  // namespace longspan
