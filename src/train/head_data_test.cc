// Words with tags, questions with answers and questions with choices, in every form in which they
// come.
#include <gtest/gtest.h>

#include "tests/support/files.h"
#include "tests/support/word_tokenizer.h"
#include "train/answer_task.h"
#include "train/choice_task.h"
#include "train/token_class_task.h"

namespace longspan {
namespace {

using test::PutFile;
using test::TempDir;
using test::Throws;
using Names = std::vector<std::string>;

std::vector<idx_t> Ends(const std::vector<text::Span>& spans) {
  std::vector<idx_t> ends;
  for (const text::Span& span : spans) {
    ends.push_back(span.begin);
    ends.push_back(span.end);
  }
  return ends;
}

class HeadData : public testing::Test {
 protected:
  TaggedTexts Tagged(const std::string& name, std::string_view bytes,
                     const TokenClassOptions& task = {}) {
    return ReadTaggedTexts({PutFile(d_ / name, bytes)}, data_, task, &notes_);
  }
  AnsweredTexts Answered(const std::string& name, std::string_view bytes) {
    return ReadAnsweredTexts({PutFile(d_ / name, bytes)}, data_, &notes_);
  }
  ChoiceTexts Choices(const std::string& name, std::string_view bytes) {
    return ReadChoiceTexts({PutFile(d_ / name, bytes)}, data_, &notes_);
  }

  TempDir d_;
  DataOptions data_;
  std::vector<std::string> notes_;
};

// ---- words with tags ----------------------------------------------------------------------------

TEST_F(HeadData, ConllsColumnsAreSentences) {
  const TaggedTexts texts = Tagged("train.txt",
                                   "# id 1 domain=x\n-DOCSTART- -X- O O\n\nAnne NNP B-NP B-PER\n"
                                   "went VBD  B-VP O\n\n\n# two\nHe PRP B-NP O\r\n# . # O\n");
  ASSERT_EQ(texts.rows.size(), 2u);
  EXPECT_EQ(texts.rows[0].text, "Anne went");
  EXPECT_EQ(Ends(texts.rows[0].words), (std::vector<idx_t>{0, 4, 5, 9}));
  EXPECT_EQ(texts.rows[0].tags, (Names{"B-PER", "O"}));
  EXPECT_EQ(texts.rows[0].where.substr(texts.rows[0].where.rfind('/') + 1), "train.txt:4");
  EXPECT_EQ(texts.rows[1].text, "He #");  // as many columns as words have: no remark
  TokenClassOptions task;
  task.word_column = 2;
  task.tag_column = 3;
  const TaggedTexts tabs = Tagged("a.conll", "1\tNew York\tB\tx\n2\tis\tO\tx", task);
  EXPECT_EQ(tabs.rows[0].text, "New York is");
  EXPECT_EQ(tabs.rows[0].tags, (Names{"B", "O"}));
  EXPECT_TRUE(Throws([&] { Tagged("b.conll", "a O\nb\n"); }, ErrorCode::kFormat,
                     "b.conll:2: 1 columns, but the first word has 2"));
  EXPECT_TRUE(Throws([&] { Tagged("c.conll", "a\nb\n"); }, ErrorCode::kFormat,
                     "c.conll:1: 1 columns, need a word in column 1"));
  data_.skip_bad = true;
  EXPECT_EQ(Tagged("d.conll", "a O\nb\n\nc O\n").rows.size(), 1u);
  EXPECT_NE(notes_.back().find("1 row cannot be used"), std::string::npos) << notes_.back();
}

TEST_F(HeadData, ListsOfWordsAndTags) {
  const TaggedTexts lines =
      Tagged("a.jsonl",
             "{\"id\": 7, \"tokens\": [\"Zo\\u00eb\", \"x\"], \"ner_tags\": [1, 0]}\n"
             "{\"tokens\": [\"y\"], \"tags\": [\"O\"]}\n");
  EXPECT_EQ(lines.rows[0].tags, (Names{"1", "0"}));
  EXPECT_EQ(Ends(lines.rows[0].words), (std::vector<idx_t>{0, 3, 4, 5}));
  EXPECT_EQ(lines.rows[0].id, "7");
  TokenClassOptions named;
  named.label_names = {"O", "B-PER"};
  named.tag_field = "t";
  const TaggedTexts table =
      Tagged("a.csv", "tokens,t\n\"[\"\"a\"\", \"\"b\"\"]\",\"[1, \"\"O\"\"]\"\n", named);
  EXPECT_EQ(table.rows[0].tags, (Names{"B-PER", "O"}));
  EXPECT_TRUE(Throws([&] { Tagged("b.jsonl", "{\"tokens\": [\"a\"], \"t\": [2]}", named); },
                     ErrorCode::kFormat, "b.jsonl:1: word 1"));
  const auto refused = [&](const char* row, const char* says) {
    return Throws([&] { Tagged("c.jsonl", row); }, ErrorCode::kFormat, says);
  };
  EXPECT_TRUE(refused("{\"tokens\": [\"a\"], \"tags\": []}", "c.jsonl:1: 1 words and 0 tags"));
  EXPECT_TRUE(refused("{\"tokens\": [\"\"], \"tags\": [\"O\"]}", "word 1 is no text or empty"));
  EXPECT_TRUE(refused("{\"tokens\": \"a\", \"tags\": [\"O\"]}", "\"tokens\" is no list"));
  EXPECT_TRUE(refused("{\"tokens\": [\"a\"]}", "\"tags\" is missing; --tag-column"));
  EXPECT_TRUE(refused("{\"tokens\": [\"a\"], \"tags\": [[1]]}", "is a list"));
  EXPECT_TRUE(refused("{\"tokens\": [], \"tags\": []}", "has no word"));
  EXPECT_TRUE(refused("{\"words\": 1}", "has neither \"tokens\", a list of words, nor \"text\""));
}

TEST_F(HeadData, SpansBecomeTagsOfWords) {
  const TaggedTexts texts = Tagged(
      "a.jsonl",
      "{\"text\": \"\\u00c9lo\\u00efse's (New York) x\", \"spans\": [{\"start\": 10, \"end\": 18, "
      "\"label\": \"LOC\"}, {\"start\": 0, \"end\": 6, \"label\": \"PER\"}]}\n");
  EXPECT_EQ(Ends(texts.rows[0].words),
            (std::vector<idx_t>{0, 6, 6, 7, 7, 8, 9, 10, 10, 13, 14, 18, 18, 19, 20, 21}));
  EXPECT_EQ(texts.rows[0].tags, (Names{"B-PER", "O", "O", "O", "B-LOC", "I-LOC", "O", "O"}));
  const auto refused = [&](const char* spans, const char* says) {
    return Throws(
        [&] { Tagged("b.jsonl", std::string("{\"text\": \"ab  d\", \"spans\": ") + spans + "}"); },
        ErrorCode::kFormat, says);
  };
  EXPECT_TRUE(refused("[{\"start\": 0, \"end\": 6, \"label\": \"X\"}]", "span 0: end is 6"));
  EXPECT_TRUE(refused("[{\"start\": 1, \"end\": 1, \"label\": \"X\"}]", "end is 1"));
  EXPECT_TRUE(refused("[{\"start\": 0, \"end\": 2, \"label\": \"\"}]", "a label of 0 bytes"));
  EXPECT_TRUE(
      refused("[{\"start\": 2, \"end\": 4, \"label\": \"X\"}]", "1 of 1 spans hold blanks"));
  EXPECT_TRUE(
      refused("[{\"start\": 0, \"end\": 2, \"label\": \"X\"}, {\"start\": 1, \"end\": 5, "
              "\"label\": \"X\"}]",
              "spans 0 to 2 and 1 to 5 overlap"));
}

template <class T>
std::vector<T> Listed(std::span<const T> values) {
  return {values.begin(), values.end()};
}

// Words of one, two and no tokens; and what windows make of them.
TEST_F(HeadData, TheFirstTokenOfAWordHasItsClass) {
  Context context(2);
  const auto tokenizer = text::MakeBytesTokenizer();
  TextModelInfo info;
  info.vocab_size = 300;
  info.longest = 64;
  const TaggedTexts texts =
      Tagged("a.jsonl", "{\"tokens\": [\"ab\", \"c\", \"def\"], \"tags\": [\"X\", \"O\", \"X\"]}");
  const Names labels = ChooseTags(texts, info);
  EXPECT_EQ(labels, (Names{"O", "X"}));
  const auto rows = [&](idx_t tokens, text::Overflow overflow, idx_t stride = 0) {
    TokenClassOptions task;
    task.overflow = overflow;
    task.stride = stride;
    return TokenizeTagged(context, *tokenizer, texts, labels, info, task, tokens);
  };
  const std::int32_t none = kIgnoreLabel;
  const TaggedRows whole = rows(64, text::Overflow::kError);
  EXPECT_EQ(Listed(whole.labels.all()),
            (std::vector<std::int32_t>{1, none, none, 0, none, 1, none, none}));
  EXPECT_EQ(Listed(whole.words.all()), (std::vector<idx_t>{0, -1, -1, 1, -1, 2, -1, -1}));
  const TaggedRows windows = rows(4, text::Overflow::kWindow, 2);  // ab c, "b c ", "c de", " def"
  EXPECT_EQ(windows.labelled, (std::vector<idx_t>{1, 1, 1}));
  EXPECT_EQ(windows.size(), 3);
  const TaggedRows cut = rows(4, text::Overflow::kTruncate);
  EXPECT_EQ(cut.cut, 1);
  EXPECT_EQ(Listed(cut.labels.all()), (std::vector<std::int32_t>{1, none, none, 0}));
  EXPECT_TRUE(Throws([&] { rows(4, text::Overflow::kError); }, ErrorCode::kLimit,
                     "a.jsonl:1: the text has 8 tokens, rows 4 at most"));
  info.head = HeadKind::kToken;
  info.labels = {"O", "X", "Y"};
  EXPECT_EQ(ChooseTags(texts, info), info.labels);
  EXPECT_TRUE(Throws(
      [&] {
        TokenizeTagged(context, *tokenizer, texts, {"O", "Y"}, info, {}, 64);
      },
      ErrorCode::kFormat, "the tag \"X\" of word 1 is not one of the 2"));
}

// ---- answers ------------------------------------------------------------------------------------

TEST_F(HeadData, AnswersStandAtTheirPlaces) {
  const AnsweredTexts squad = Answered(
      "dev.json",
      "{\"version\": \"v2.0\", \"data\": [{\"title\": \"t\", \"paragraphs\": [{\"context\": "
      "\"\\u00c9l\\u00e9a saw Paris.\", \"qas\": [{\"id\": \"q1\", \"question\": \"Where?\", "
      "\"answers\": [{\"text\": \"Paris\", \"answer_start\": 9}, {\"text\": \"saw Paris\", "
      "\"answer_start\": 5}], \"is_impossible\": false}, {\"id\": \"q2\", \"question\": \"Why?\", "
      "\"plausible_answers\": [{\"text\": \"x\", \"answer_start\": 0}], \"answers\": [], "
      "\"is_impossible\": true}]}]}]}");
  ASSERT_EQ(squad.rows.size(), 2u);
  EXPECT_EQ(squad.rows[0].answers, (Names{"Paris", "saw Paris"}));
  EXPECT_EQ(squad.rows[0].place, (text::Span{9, 14}));
  EXPECT_EQ(squad.rows[0].id, "\"q1\"");
  EXPECT_TRUE(squad.rows[1].answers.empty());
  EXPECT_TRUE(squad.unanswerable());
  const AnsweredTexts lines = Answered(
      "a.jsonl",
      "{\"question\": \"q\", \"context\": \"a b\", \"answers\": {\"text\": [\"b\"], "
      "\"answer_start\": [2]}}\n{\"question\": \"q\", \"text\": \"a b\", \"answers\": {\"text\": "
      "\"a\", \"answer_start\": 0}}\n");
  EXPECT_EQ(lines.rows[0].place, (text::Span{2, 3}));
  EXPECT_EQ(lines.rows[1].place, (text::Span{0, 1}));
  EXPECT_FALSE(lines.unanswerable());
  const AnsweredTexts table =
      Answered("a.csv",
               "question,context,answers\nq,a b,\"[{\"\"text\"\": \"\"a\"\", "
               "\"\"answer_start\"\": 0}]\"\nq,a b,\n");
  EXPECT_EQ(table.rows[0].place, (text::Span{0, 1}));
  EXPECT_TRUE(table.rows[1].answers.empty());
}

TEST_F(HeadData, AnAnswerElsewhereIsAnError) {
  const auto row = [](const char* answers) {
    return std::string("{\"id\": 3, \"question\": \"q\", \"context\": \"a b\", \"answers\": ") +
           answers + "}\n";
  };
  const auto refused = [&](const char* answers, const char* says) {
    return Throws([&] { Answered("a.jsonl", row(answers)); }, ErrorCode::kFormat, says);
  };
  EXPECT_TRUE(refused("[{\"text\": \"b\", \"answer_start\": 1}]",
                      "a.jsonl:1 (id 3): \"answers\": \"b\" does not stand at character 1 of the "
                      "context, which has \" \" there"));
  EXPECT_TRUE(refused("[{\"text\": \"b\", \"answer_start\": 7}]", "of 3 characters"));
  EXPECT_TRUE(refused("[{\"text\": \"\", \"answer_start\": 0}]", "an answer is empty"));
  EXPECT_TRUE(refused("{\"text\": [\"a\"], \"answer_start\": []}", "as many \"answer_start\""));
  EXPECT_TRUE(refused("null", "is missing; a question without an answer has an empty list"));
  EXPECT_TRUE(refused("5", "neither a list nor an object"));
  data_.skip_bad = true;
  const AnsweredTexts rest =
      Answered("b.jsonl", row("[{\"text\": \"b\", \"answer_start\": 1}]") + row("[]"));
  EXPECT_EQ(rest.rows.size(), 1u);
}

// Windows as the asking command makes them: those without the whole answer point to the first
// token.
TEST_F(HeadData, WindowsKnowTheTokensOfTheirAnswer) {
  Context context(2);
  const test::WordTokenizer words({"q", "a", "b", "c", "d", "e", "f"});
  TextModelInfo info;
  info.vocab_size = 12;
  info.token_types = 2;
  info.longest = 64;
  const AnsweredTexts texts =
      Answered("a.jsonl",
               "{\"question\": \"q\", \"context\": \"a b c d e f\", \"answers\": "
               "[{\"text\": \"c d\", \"answer_start\": 4}]}");
  AnswerTaskOptions task;
  const AnswerRows one = TokenizeAnswered(context, words, texts, info, task, 64, false);
  EXPECT_EQ(one.starts, (std::vector<std::int32_t>{5}));  // [CLS] q [SEP] a b c d e f [SEP]
  EXPECT_EQ(one.ends, (std::vector<std::int32_t>{6}));
  EXPECT_EQ(one.length(0), 10);
  EXPECT_TRUE(one.windows.empty());
  EXPECT_EQ(Listed(one.row(0).types), (std::vector<std::int32_t>{0, 0, 0, 1, 1, 1, 1, 1, 1, 1}));
  task.stride = 1;
  const AnswerRows three = TokenizeAnswered(context, words, texts, info, task, 7, true);
  EXPECT_EQ(three.first, (std::vector<idx_t>{0, 3}));  // a b c, c d e, e f
  EXPECT_EQ(three.starts, (std::vector<std::int32_t>{0, 3, 0}));
  EXPECT_EQ(three.ends, (std::vector<std::int32_t>{0, 4, 0}));
  EXPECT_EQ(three.windows.size(), 3u);
  task.overflow = text::Overflow::kError;
  EXPECT_TRUE(Throws([&] { TokenizeAnswered(context, words, texts, info, task, 7, false); },
                     ErrorCode::kLimit, "a.jsonl:1: the text has 10 tokens, rows 7 at most"));
  task.overflow = text::Overflow::kWindow;
  EXPECT_TRUE(Throws([&] { TokenizeAnswered(context, words, texts, info, task, 4, false); },
                     ErrorCode::kLimit, "a.jsonl:1: text: the first text alone has 1 tokens"));
}

// ---- choices ------------------------------------------------------------------------------------

TEST_F(HeadData, ChoicesInEveryForm) {
  const ChoiceTexts texts = Choices(
      "a.jsonl",
      "{\"context\": \"c\", \"question\": \"q\", \"choices\": [\"x\", \"y\"], \"label\": 1}\n"
      "{\"question\": \"q\", \"choices\": [\"1\", \"0\"], \"label\": \"0\"}\n"
      "{\"sent1\": \"s\", \"sent2\": \"t\", \"ending0\": \"u\", \"ending1\": \"v\", \"ending2\": "
      "\"w\", \"label\": 2}\n"
      "{\"article\": \"r\", \"question\": \"q\", \"options\": [\"x\", \"y\", \"z\"], \"answer\": "
      "\"C\", \"id\": \"r1\"}\n");
  ASSERT_EQ(texts.rows.size(), 4u);
  EXPECT_EQ(texts.rows[0].question.text, "c q");
  EXPECT_EQ(texts.rows[0].label, 1);
  EXPECT_EQ(texts.rows[1].label, 1);  // its text, before its number
  EXPECT_EQ(texts.rows[2].question.text, "s");
  EXPECT_EQ(texts.rows[2].question.choices, (Names{"t u", "t v", "t w"}));
  EXPECT_EQ(texts.rows[2].label, 2);
  EXPECT_EQ(texts.rows[3].question.text, "r q");
  EXPECT_EQ(texts.rows[3].label, 2);
  const ChoiceTexts table =
      Choices("a.csv",
              "question,choices,label\nq,\"[\"\"x\"\", \"\"y\"\"]\",1\nq,\"[\"\"x\"\", "
              "\"\"y\"\"]\",a\n");
  EXPECT_EQ(table.rows[0].label, 1);
  EXPECT_EQ(table.rows[1].label, 0);
  const auto refused = [&](const char* row, const char* says) {
    return Throws([&] { Choices("b.jsonl", row); }, ErrorCode::kFormat, says);
  };
  EXPECT_TRUE(refused("{\"question\": \"q\", \"choices\": [\"x\", \"y\"], \"label\": 2}",
                      "b.jsonl:1: \"label\" is 2, need a number from 0 to 1"));
  EXPECT_TRUE(refused("{\"question\": \"q\", \"choices\": [\"x\", \"y\"], \"label\": \"C\"}",
                      "\"label\" is C, need"));
  EXPECT_TRUE(refused("{\"question\": \"q\", \"choices\": [\"x\"], \"label\": 0}", "1 choices"));
  EXPECT_TRUE(refused("{\"choices\": [\"x\", \"y\"], \"label\": 0}", "no question"));
  EXPECT_TRUE(refused("{\"question\": \"q\", \"label\": 0}", "has no \"choices\""));
  EXPECT_TRUE(
      refused("{\"question\": \"q\", \"choices\": [\"x\", \"y\"]}", "\"label\" is missing"));
}

}  // namespace
}  // namespace longspan
