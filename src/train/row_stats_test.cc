// Statistics of the rows of each training.
#include <gtest/gtest.h>

#include "longspan/data_stats.h"
#include "tests/support/files.h"
#include "tests/support/word_tokenizer.h"

namespace longspan {
namespace {

using test::PutFile;
using test::TempDir;
using test::Throws;

class RowStatsTest : public testing::Test {
 protected:
  RowStats Stats(DataTask task, const std::string& name, std::string_view bytes) {
    options_.task = task;
    options_.files = {PutFile(d_ / name, bytes)};
    return CollectRowStats(context_, options_);
  }
  static double Number(const RowPartStats& part, const std::string& name) {
    for (const NamedNumber& number : part.numbers) {
      if (number.name == name) return number.value;
    }
    ADD_FAILURE() << name << " is missing";
    return -1.0;
  }
  // "labels of rows: a 2, b 1".
  static std::string Names(const RowPartStats& part, std::size_t group) {
    const NameCounts& names = part.names.at(group);
    std::string text = names.what + " of " + names.of + ":";
    for (const LabelCount& count : names.counts) {
      text += (text.ends_with(':') ? " " : ", ") + count.label + " " + std::to_string(count.rows);
    }
    return text;
  }
  // "rows: 3 to 5, longer 1 0".
  static std::string Lengths(const RowPartStats& part, std::size_t group = 0) {
    const RowLengths& own = part.lengths.at(group);
    std::string text = own.what + ": " + std::to_string(own.lengths.shortest) + " to " +
                       std::to_string(own.lengths.longest) + ", longer";
    for (const idx_t count : own.longer) text += " " + std::to_string(count);
    return text;
  }

  TempDir d_;
  Context context_{2};
  test::WordTokenizer words_{{"a", "b", "c", "d", "e"}};
  RowStatsOptions options_;
};

TEST_F(RowStatsTest, ClassesWithDuplicatesAndHeldOutRows) {
  options_.tokenizer = &words_;
  options_.lengths = {4, 5};
  options_.eval = PutFile(d_ / "eval.csv", "text,label\nb,x\na b c,x\nc,z\n");
  const RowStats stats = Stats(DataTask::kClassify, "train.csv",
                               "text,label\na b c,x\nb,y\na b c,x\nb,x\n,x\nd,\na,y,z\n");
  EXPECT_EQ(stats.train.rows, 4);
  EXPECT_EQ(stats.train.bad, 3);
  ASSERT_EQ(stats.train.bad_rows.size(), 3u);
  EXPECT_NE(stats.train.bad_rows[0].find("train.csv:6: "), std::string::npos);
  EXPECT_EQ(stats.train.duplicates, 2);
  EXPECT_EQ(stats.train.contradictions, 1);
  EXPECT_EQ(Names(stats.train, 0), "labels of rows: x 3, y 1");
  EXPECT_EQ(Lengths(stats.train), "rows: 3 to 5, longer 2 0");  // [CLS] and [SEP] count
  ASSERT_TRUE(stats.held_out.has_value());
  EXPECT_EQ(stats.held_out->rows, 3);
  EXPECT_EQ(stats.held_out->in_training, 2);
  EXPECT_EQ(stats.held_out->duplicates, 0);
  EXPECT_EQ(Names(*stats.held_out, 0), "labels of rows: x 2, z 1");
}

TEST_F(RowStatsTest, LabelsThatATypingErrorTellsApart) {
  const RowStats stats =
      Stats(DataTask::kClassify, "train.csv", "text,label\na,x\nb,y\nc,X\nd,\"x \"\ne,X\na b,y\n");
  const std::string file = (d_ / "train.csv").string();
  const std::string differs =
      " differs from \"x\" of " + file + ":2 only by blanks around it or by case";
  EXPECT_EQ(stats.train.label_twins,
            (std::vector<std::string>{file + ":4: label \"X\"" + differs,
                                      file + ":5: label \"x \"" + differs}));
  EXPECT_TRUE(
      Stats(DataTask::kClassify, "b.csv", "text,label\na,x\nb,y\n").train.label_twins.empty());
}

TEST_F(RowStatsTest, SetsNumbersAndProse) {
  EXPECT_EQ(
      Names(Stats(DataTask::kClassify, "a.txt", "__label__x __label__y a\n__label__x b\n").train,
            0),
      "labels of rows: x 2, y 1");
  EXPECT_EQ(
      Number(Stats(DataTask::kClassify, "a.txt", "__label__x __label__y a\n__label__x b\n").train,
             "rows with several labels"),
      1.0);
  options_.problem = ProblemType::kRegression;
  const RowStats numbers = Stats(DataTask::kClassify, "a.csv", "text,label\na,1\nb,2.5\n");
  EXPECT_EQ(Number(numbers.train, "mean number"), 1.75);
  EXPECT_EQ(Number(numbers.train, "highest number"), 2.5);
  EXPECT_EQ(Lengths(numbers.train), "rows: 1 to 1, longer");  // bytes
}

TEST_F(RowStatsTest, TagsAndEntities) {
  const RowStats stats = Stats(DataTask::kTokenClassify, "a.conll",
                               "a B-PER\nb I-PER\nc O\n\nd O\n\nbad\n\na B-LOC\nb B-PER\n");
  EXPECT_EQ(stats.train.rows, 3);
  EXPECT_EQ(stats.train.bad, 1);
  EXPECT_EQ(Number(stats.train, "words"), 6.0);
  EXPECT_EQ(Number(stats.train, "entities"), 3.0);
  EXPECT_EQ(Number(stats.train, "rows without an entity"), 1.0);
  EXPECT_EQ(Names(stats.train, 0), "types of entities of entities: PER 2, LOC 1");
  EXPECT_EQ(Names(stats.train, 1), "tags of words: B-PER 2, O 2, B-LOC 1, I-PER 1");
  const RowStats plain = Stats(DataTask::kTokenClassify, "b.conll", "a NN\nb VB\n");
  EXPECT_EQ(plain.train.names.size(), 1u);
}

TEST_F(RowStatsTest, AnswersAndTheirPlaces) {
  options_.tokenizer = &words_;
  options_.lengths = {5};
  const RowStats stats =
      Stats(DataTask::kAnswers, "a.jsonl",
            "{\"question\": \"a b\", \"context\": \"c d e\", \"answers\": [{\"text\": \"e\", "
            "\"answer_start\": 4}]}\n"
            "{\"question\": \"a\", \"context\": \"c d e\", \"answers\": [{\"text\": \"c\", "
            "\"answer_start\": 0}]}\n"
            "{\"question\": \"a\", \"context\": \"c d e\", \"answers\": []}\n"
            "{\"question\": \"a\", \"context\": \"c d e\", \"answers\": [{\"text\": \"x\", "
            "\"answer_start\": 0}]}\n");
  EXPECT_EQ(stats.train.rows, 3);
  EXPECT_EQ(stats.train.bad, 1);
  EXPECT_EQ(Number(stats.train, "questions with an answer"), 2.0);
  EXPECT_EQ(Number(stats.train, "questions without an answer"), 1.0);
  EXPECT_EQ(Number(stats.train, "different contexts"), 1.0);
  EXPECT_EQ(stats.train.duplicates, 1);
  EXPECT_EQ(stats.train.contradictions, 1);
  EXPECT_EQ(Lengths(stats.train, 0), "rows: 7 to 8, longer 3");  // [CLS] a b [SEP] c d e [SEP]
  EXPECT_EQ(Lengths(stats.train, 1), "answers begin at: 3 to 6, longer 1");
}

TEST_F(RowStatsTest, ChoicesPairsAndJudgedTexts) {
  const RowStats choices =
      Stats(DataTask::kChoices, "c.jsonl",
            "{\"question\": \"a\", \"choices\": [\"b\", \"c\"], \"label\": 1}\n"
            "{\"question\": \"a\", \"choices\": [\"b\", \"c\", \"d\", \"e\"], \"label\": 1}\n");
  EXPECT_EQ(Number(choices.train, "accuracy of choosing at random"), 0.375);
  EXPECT_EQ(Names(choices.train, 0), "right choices of questions: number 1 2");
  EXPECT_EQ(choices.train.lengths[0].lengths.total, 12);  // six pairs of two bytes
  const RowStats pairs =
      Stats(DataTask::kEmbed, "p.jsonl",
            "{\"anchor\": \"a\", \"positive\": \"b\", \"negative\": [\"c\", \"d\"]}\n"
            "{\"anchor\": \"a\", \"positive\": \"c\"}\n");
  EXPECT_EQ(Number(pairs.train, "different texts"), 4.0);
  EXPECT_EQ(Number(pairs.train, "different anchors"), 1.0);
  EXPECT_EQ(Number(pairs.train, "negatives"), 2.0);
  const RowStats scored =
      Stats(DataTask::kEmbed, "s.csv", "sentence1,sentence2,score\na,b,0.5\nc,d,1\n");
  EXPECT_EQ(Number(scored.train, "mean score"), 0.75);
  const RowStats judged =
      Stats(DataTask::kRerank, "j.csv", "query,text,label\na,b,1\na,c,0\nd,b,0.25\n");
  EXPECT_EQ(Number(judged.train, "queries"), 2.0);
  EXPECT_EQ(Number(judged.train, "queries without a relevant text"), 1.0);
  EXPECT_EQ(Number(judged.train, "relevant texts"), 1.0);
  EXPECT_EQ(Names(judged.train, 0), "relevances of pairs: 0 1, 0.25 1, 1 1");
}

TEST_F(RowStatsTest, TheSameForAnyNumberOfThreadsAndErrors) {
  std::string rows = "text,label\n";
  for (int i = 0; i < 200; ++i) rows += "a b c d,x" + std::to_string(i % 3) + "\n";
  options_.tokenizer = &words_;
  const RowStats two = Stats(DataTask::kClassify, "a.csv", rows);
  Context one(1);
  const RowStats alone = CollectRowStats(one, options_);
  EXPECT_EQ(alone.train.duplicates, two.train.duplicates);
  EXPECT_EQ(alone.train.lengths[0].lengths.total, two.train.lengths[0].lengths.total);
  EXPECT_TRUE(Throws([&] { Stats(DataTask::kClassify, "b.csv", "text,label\n,x\n"); },
                     ErrorCode::kFormat, "b.csv:2: \"text\" is missing"));
  EXPECT_TRUE(
      Throws([&] { Stats(DataTask::kEmbed, "b.txt", "a\n"); }, ErrorCode::kUsage, "come as .csv"));
  options_.lengths = {0};
  EXPECT_TRUE(Throws([&] { CollectRowStats(one, options_); }, ErrorCode::kUsage, "lengths: 0"));
  EXPECT_TRUE(Throws([] { ParseDataTask("sort"); }, ErrorCode::kUsage, "'sort'"));
  EXPECT_EQ(ParseDataTask("rerank"), DataTask::kRerank);
  EXPECT_STREQ(DataTaskName(DataTask::kAnswers), "qa");
}

}  // namespace
}  // namespace longspan
