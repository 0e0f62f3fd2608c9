#include "data/rows.h"

#include <gtest/gtest.h>

#include "tests/support/files.h"

namespace longspan {
namespace {

using data::Format;
using data::Row;
using data::RowRules;
using test::Throws;
using Texts = std::vector<std::string>;

RowRules Rules() {
  RowRules rules;
  rules.fields = {{"text", true}, {"id"}};
  return rules;
}

std::vector<Row> Read(std::string_view bytes, Format format, const RowRules& rules = Rules()) {
  data::RowReader reader(bytes, "f", format, rules);
  std::vector<Row> rows;
  while (auto row = reader.Next()) rows.push_back(std::move(*row));
  return rows;
}

// The texts of the rows; of a row that cannot be used what is wrong with it.
Texts Say(std::string_view bytes, Format format, const RowRules& rules = Rules()) {
  Texts texts;
  for (const Row& row : Read(bytes, format, rules)) {
    texts.push_back(row.refused        ? row.refused->what()
                    : row.has_fields() ? row.OptionalText("text").value_or("(none)")
                                       : row.text);
  }
  return texts;
}

const Texts kTwo = {"Anne was glad.", "He went away."};

TEST(RowsTest, EveryFormatAndLineEndSaysTheSame) {
  for (const std::string end : {"\n", "\r\n", "\r"}) {
    for (const std::string mark : {"", "\xef\xbb\xbf"}) {
      const auto lines = [&](std::initializer_list<const char*> list) {
        std::string text = mark;
        for (const char* line : list) text += line + end;
        return text;
      };
      const std::string json = lines({"{\"text\": \"Anne was glad.\", \"id\": 7}", "", " ",
                                      "{\"x\": NaN, \"text\": \"He went away.\"}"});
      EXPECT_EQ(Say(json, Format::kJsonLines), kTwo);
      EXPECT_EQ(Say(json, Format::kJson), kTwo);
      RowRules by_lines = Rules();
      by_lines.lines = true;
      EXPECT_EQ(Say(lines({"Anne was glad.", "", "  ", "He went away."}), Format::kText, by_lines),
                kTwo);
      EXPECT_EQ(Say(lines({"Anne was glad.", "He went away."}), Format::kText),
                Texts{"Anne was glad.\nHe went away."});
      if (end == "\r") continue;  // ends no line of a table
      EXPECT_EQ(Say(lines({"id,text", "1,Anne was glad.", "", "2,He went away."}), Format::kCsv),
                kTwo);
      EXPECT_EQ(Say(lines({"text\tid", "Anne was glad.\t1", "He went away.\t2"}), Format::kTsv),
                kTwo);
    }
  }
  EXPECT_EQ(Say("[{\"text\": \"Anne was glad.\"},\n {\"text\": \"He went away.\"}]", Format::kJson),
            kTwo);
  EXPECT_EQ(Say("{\n \"text\":\n \"Anne was glad.\"\n}\n", Format::kJson), Texts{"Anne was glad."});
}

TEST(RowsTest, NamesAndLinesAreThoseOfTheFile) {
  const auto names = [](std::string_view bytes, Format format) {
    Texts all;
    for (const Row& row : Read(bytes, format)) all.push_back(row.name);
    return all;
  };
  EXPECT_EQ(names("{\"text\":\"a\"}\n\n{\"text\":\"b\"}", Format::kJsonLines),
            (Texts{"f:1", "f:3"}));
  EXPECT_EQ(names("[{\"text\":\"a\"},\n{\"text\":\"b\"}]", Format::kJson), (Texts{"f[0]", "f[1]"}));
  EXPECT_EQ(names("text\n\"a\nb\"\nc\n", Format::kCsv), (Texts{"f:2", "f:4"}));
  EXPECT_EQ(names("a\nb", Format::kText), Texts{"f"});
  EXPECT_EQ(Read("{\"text\":\"a\",\"id\":[1]}", Format::kJsonLines)[0].fields["id"].dump(), "[1]");
}

TEST(RowsTest, OneBadRowIsNamedAndTheOthersAreRead) {
  EXPECT_EQ(
      Say("{\"text\": \"a\"}\n{\"text\": 5 \n[1]\n{\"text\": \"\\ud800\"}\n{\"text\": \"b\"}\n",
          Format::kJsonLines),
      (Texts{"a", "f:2: byte 11: ends too early", "f:3: is no JSON object",
             "f:4: \"text\": byte 7: line 1, column 8: half a surrogate pair: '\\\"'", "b"}));
  EXPECT_EQ(Say("text,id\na,1\nb\n\"c\"d,2\n\xff,3\ne,\xff\n", Format::kCsv)[0], "a");
  const Texts table = Say("text,other\na,1\nb\n\"c\"d,2\n\xff,3\ne,\xff\n", Format::kCsv);
  ASSERT_EQ(table.size(), 5u);
  EXPECT_EQ(table[1], "f:3: 1 fields, but the first line names 2 columns");
  EXPECT_EQ(table[2].substr(0, 36), "f:4: bytes behind a closing quote: \"");
  EXPECT_EQ(table[3].substr(0, 43), "f:5: column \"text\", byte 0 is 0xff, which i");
  EXPECT_EQ(table[4], "e");  // what nobody asked for is not looked at
  RowRules by_lines = Rules();
  by_lines.lines = true;
  const Texts lines = Say("a\n\xff\nb\n", Format::kText, by_lines);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[1].substr(0, 26), "f:2: byte 0 of the line is");
  EXPECT_EQ(lines[2], "b");
}

TEST(RowsTest, WhatCannotBeReadAtAllIsOneRefusal) {
  const auto refused = [](std::string_view bytes, Format format, std::string_view says) {
    const Texts all = Say(bytes, format);
    return all.size() == 1 && all[0].find(says) != std::string::npos
               ? testing::AssertionSuccess()
               : testing::AssertionFailure() << testing::PrintToString(all);
  };
  for (const Format format :
       {Format::kText, Format::kCsv, Format::kTsv, Format::kJsonLines, Format::kJson}) {
    EXPECT_TRUE(refused("", format, "f: is empty"));
  }
  EXPECT_TRUE(refused("\n", Format::kText, "f: is empty"));
  EXPECT_TRUE(refused("text,id\n\n", Format::kCsv, "f: holds no text"));
  EXPECT_TRUE(refused("\n \n", Format::kJsonLines, "f: holds no text"));
  EXPECT_TRUE(refused(" [ ] ", Format::kJson, "f: holds no text"));
  EXPECT_TRUE(refused("a\xff", Format::kText, "f:1: byte 1 of the line is 0xff"));
  EXPECT_TRUE(refused(std::string_view("a\0b", 3), Format::kText, "byte 1 is 0"));
  EXPECT_TRUE(refused("{\"text\": 1}\n{\"text\": 2}\n", Format::kText, "--format jsonl"));
  EXPECT_TRUE(refused("Text,x\na,b\n", Format::kCsv,
                      "f:1: no column \"text\"; there are Text, x; it is written \"Text\" there"));
  EXPECT_TRUE(refused("text;x\na;b\n", Format::kCsv, "parted by commas"));
  EXPECT_TRUE(refused("text,text\na,b\n", Format::kCsv, "2 columns are named \"text\""));
  EXPECT_TRUE(refused("text,x\ra,b\r", Format::kCsv, "f:1: a carriage return alone"));
  EXPECT_TRUE(refused("[{\"text\":\"a\"", Format::kJson, "ends inside"));
  // Damage behind good rows.
  EXPECT_EQ(Say("[{\"text\":\"a\"} {\"text\":\"b\"}]", Format::kJson),
            (Texts{"a", "f:1: a comma must stand between two items"}));
  EXPECT_EQ(Say("[{\"text\":\"a\"}] x", Format::kJson), (Texts{"a", "f:1: bytes behind the list"}));
}

TEST(RowsTest, FieldsAreWhatTheyShouldBe) {
  const auto text = [](std::string_view json) {
    return Read(json, Format::kJsonLines).front().Text("text");
  };
  EXPECT_EQ(text("{\"text\": \"a\"}"), "a");
  for (const auto& [json, says] : {std::pair("{}", "f:1: \"text\" is missing"),
                                   {"{\"text\": null}", "is missing"},
                                   {"{\"text\": \"\"}", "f:1: \"text\" is empty"},
                                   {"{\"text\": 5}", "f:1: text is 5, must be"}}) {
    EXPECT_TRUE(Throws([&, j = json] { text(j); }, ErrorCode::kFormat, says)) << json;
  }
  EXPECT_TRUE(Throws([] { Read("text,id\n,1\n", Format::kCsv).front().Text("text"); },
                     ErrorCode::kFormat, "missing or empty"));
  EXPECT_EQ(Say("{\"text\":\"a\",\"text\":\"b\"}", Format::kJsonLines),
            Texts{"f:1: \"text\" stands there twice"});
}

TEST(RowsTest, AnyBytesOfProseForModelsOfBytes) {
  RowRules rules = Rules();
  rules.any_bytes = true;
  const std::string bytes("a\xff\0\r\nb", 6);
  EXPECT_EQ(Say(bytes, Format::kText, rules), Texts{std::string("a\xff\0\nb", 5)});
  rules.options.encoding = "bytes";
  EXPECT_EQ(Say(bytes, Format::kText, rules), Texts{bytes});
  EXPECT_TRUE(
      Throws([&] { Read("text\na\n", Format::kCsv, rules); }, ErrorCode::kUsage, "is for prose"));
}

TEST(RowsTest, LongLinesAreALimit) {
  RowRules rules = Rules();
  rules.options.most_line_bytes = 1000;
  const std::string ok(1000, 'x'), line(1001, 'x');
  for (const bool lines : {false, true}) {
    rules.lines = lines;
    EXPECT_EQ(Say(ok, Format::kText, rules), Texts{ok});
    EXPECT_TRUE(
        Throws([&] { Read(line, Format::kText, rules); }, ErrorCode::kLimit, "--max-line-bytes"));
  }
  const std::string json = "{\"text\": \"" + line + "\"}";
  EXPECT_TRUE(Throws([&] { Read(json, Format::kJsonLines, rules); }, ErrorCode::kLimit, "1000"));
  EXPECT_TRUE(Throws([&] { Read(json, Format::kJson, rules); }, ErrorCode::kLimit, "1000"));
  EXPECT_TRUE(
      Throws([&] { Read("text\n" + line, Format::kCsv, rules); }, ErrorCode::kLimit, "1000"));
}

TEST(RowsTest, LongRowsAreLeftOutWhereThatIsAllowed) {
  RowRules rules = Rules();
  rules.options.most_line_bytes = 1000;
  rules.options.skip_bad = true;
  const std::string line(5000, 'x');
  const auto expect = [&](const std::string& bytes, Format format) {
    const std::vector<Row> rows = Read(bytes, format, rules);
    ASSERT_EQ(rows.size(), 3u);
    EXPECT_FALSE(rows[0].refused.has_value());
    ASSERT_TRUE(rows[1].refused.has_value());
    EXPECT_EQ(rows[1].name, "f:3");
    EXPECT_FALSE(rows[1].ends_file);
    EXPECT_FALSE(rows[2].refused.has_value());
    EXPECT_EQ(rows[2].name, "f:4");
  };
  expect("text\na\n" + line + "\nb\n", Format::kCsv);
  expect("text\na\n" + line + "\nb\n", Format::kTsv);
  expect("\n{\"text\": \"a\"}\n{\"text\": \"" + line + "\"}\n{\"text\": \"b\"}",
         Format::kJsonLines);
  rules.lines = true;
  expect("\na\n" + line + "\nb\n", Format::kText);
  // Nothing comes behind it, or nobody knows where it ends.
  rules.lines = false;
  EXPECT_TRUE(Read("text\na\n\"" + line + "\nb\n", Format::kCsv, rules).back().ends_file);
  EXPECT_TRUE(Read(line, Format::kText, rules).back().ends_file);
}

TEST(RowsTest, AnEmptyIdOfAColumnIsNull) {
  RowRules rules = Rules();
  rules.fields = {{"text", true}, {"id", false, true}};
  const std::vector<Row> rows = Read("id,text\n,a\n7,b\n", Format::kCsv, rules);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_TRUE(rows[0].fields.at("id").is_null());
  EXPECT_EQ(rows[1].fields.at("id"), "7");
  EXPECT_FALSE(Read("text\na\n", Format::kCsv, rules)[0].fields.contains("id"));
}

TEST(RowsTest, SquadIsItsQuestions) {
  RowRules rules;
  rules.fields = {{"context", true}, {"question"}, {"id"}};
  rules.options.text_field = "context";
  rules.squad = true;
  const auto rows = Read(
      "{\"version\": \"2\", \"data\": [{\"title\": \"A\", \"paragraphs\": [{\"qas\": [{\"id\": "
      "\"q1\", \"question\": \"Who?\"}, {\"id\": \"q2\", \"question\": \"When?\"}], \"context\": "
      "\"Anne.\"}]}, {\"paragraphs\": [{\"context\": \"He.\", \"qas\": [{\"question\": "
      "\"What?\"}]}]}]}",
      Format::kJson, rules);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].Text("context"), "Anne.");
  EXPECT_EQ(rows[1].Text("question"), "When?");
  EXPECT_EQ(rows[1].Text("id"), "q2");
  EXPECT_EQ(rows[2].Text("context"), "He.");
  EXPECT_EQ(rows[2].name, "f[2]");
  // The file may go on, and what should have questions and has none is a row, too.
  const auto odd = Read(
      "{\"data\": [{\"paragraphs\": [{\"context\": \"a\", \"qas\": null}, {\"context\": \"b\", "
      "\"qas\": "
      "[{\"question\": \"q\"}]}]}, {\"title\": \"t\"}]}\n{\"context\": \"c\", \"data\": [1]}",
      Format::kJson, rules);
  ASSERT_EQ(odd.size(), 4u);
  EXPECT_TRUE(odd[0].refused && odd[2].refused);
  EXPECT_EQ(odd[1].Text("context"), "b");
  EXPECT_EQ(odd[3].Text("context"), "c");
  // Rows that only look a little like it.
  EXPECT_EQ(Read("{\"data\": \"x\", \"context\": \"c\"}", Format::kJson, rules)[0].Text("context"),
            "c");
}

TEST(RowsTest, ColumnsAreSentences) {
  RowRules rules;
  rules.columns = TaggedColumns{};
  rules.columns->tags = "ner";
  const auto words = [&](const Row& row) { return row.fields["tokens"].dump(); };
  const auto tags = [&](const Row& row) { return row.fields["ner"].dump(); };
  // Remarks, the marks of documents, blanks and tabs, sentences without an end.
  const auto rows = Read(
      "# all of it\n\n-DOCSTART- -X- O\n\nAnne NNP B-PER\r\n went  VBD O \n# . O\n# x\n \n\na "
      "b\tX\tO",
      Format::kText, rules);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].name, "f:5");
  EXPECT_EQ(words(rows[0]), "[\"Anne\",\"went\",\"#\"]");
  EXPECT_EQ(tags(rows[0]), "[\"B-PER\",\"O\",\"O\"]");
  EXPECT_EQ(words(rows[1]), "[\"a b\"]");
  rules.columns->word = 3;
  rules.columns->tag = 1;
  EXPECT_EQ(tags(Read("a b c\n", Format::kText, rules)[0]), "[\"a\"]");
  // What cannot be used is a row too, and the next one can.
  rules.columns = TaggedColumns{};
  const auto odd = Read("a O\nb\n\nc O\n\n\xff O\n\nd\t\tO\n\nt\t\n", Format::kText, rules);
  ASSERT_EQ(odd.size(), 5u);
  EXPECT_TRUE(odd[0].refused && odd[2].refused && odd[3].refused && odd[4].refused);
  EXPECT_EQ(words(odd[1]), "[\"c\"]");
  EXPECT_STREQ(odd[4].refused->what(), "f:10: the word or its tag is empty");
  rules.options.most_line_bytes = 10;
  EXPECT_TRUE(Throws([&] { Read("aaaa O\nbbbb O\n", Format::kText, rules); }, ErrorCode::kLimit,
                     "f:2: a sentence of more than 10 bytes"));
}

}  // namespace
}  // namespace longspan
