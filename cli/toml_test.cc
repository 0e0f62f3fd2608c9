#include "cli/toml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/files.h"

namespace longspan::cli {
namespace {

using test::Throws;
using testing::ElementsAre;

TEST(Toml, ReadsKeysWithTextsNumbersAndLists) {
  const auto entries = ParseToml(
      "# of a run\n"
      "steps = 20\r\n"
      "\n"
      "learning-rate = 3e-05   # small\n"
      "train = [ \"a, b.txt\", 'C:\\new',\n  # more\n  \"\\u00e4\\\\#\\n\",\n]\n"
      "'packed' = true\n"
      "empty = \"\"\n"
      "none = []",
      "file");
  ASSERT_EQ(entries.size(), 6u);
  EXPECT_EQ(entries[0].key, "steps");
  EXPECT_THAT(entries[0].values, ElementsAre("20"));
  EXPECT_FALSE(entries[0].list);
  EXPECT_THAT(entries[1].values, ElementsAre("3e-05"));
  EXPECT_THAT(entries[2].values, ElementsAre("a, b.txt", "C:\\new", "\u00e4\\#\n"));
  EXPECT_TRUE(entries[2].list);
  EXPECT_EQ(entries[3].key, "packed");
  EXPECT_EQ(entries[3].line, 9);
  EXPECT_THAT(entries[4].values, ElementsAre(""));
  EXPECT_THAT(entries[5].values, ElementsAre());
}

TEST(Toml, NamesTheLineOfAFault) {
  const auto refuses = [](const char* text, const char* said) {
    return Throws([&] { ParseToml(text, "run.toml"); }, ErrorCode::kFormat, said);
  };
  EXPECT_TRUE(refuses("steps 20", "run.toml, line 1: need '=' behind 'steps'"));
  EXPECT_TRUE(refuses("\nsteps =", "line 2: need a value"));
  EXPECT_TRUE(refuses("steps = 2 0", "line 1: need one option a line"));
  EXPECT_TRUE(refuses("a = \"x", "a text has no end"));
  EXPECT_TRUE(refuses("a = 'x\n'", "a text has no end"));
  EXPECT_TRUE(refuses("a = \"\\q\"", "a backslash"));
  EXPECT_TRUE(refuses("a = \"\\ud800\"", "a backslash"));
  EXPECT_TRUE(refuses("a = \"\\u00", "a backslash"));
  EXPECT_TRUE(refuses("a = [1\n2]", "line 2: need ',' or ']'"));
  EXPECT_TRUE(refuses("a = [[1]]", "need a value"));
  EXPECT_TRUE(refuses("a = [1,", "the list has no end"));
  EXPECT_TRUE(refuses("[lm]\na = 1", "line 1: a table in brackets"));
  EXPECT_TRUE(refuses("a = 1\nb = 2\na = 3", "line 3: 'a' is there already, in line 1"));
  EXPECT_TRUE(refuses("= 3", "need a key"));
}

TEST(Toml, WhatIsWrittenReadsTheSame) {
  const std::vector<std::string> values = {
      "plain", "a \"b\" \\ 'c'", "tab\tline\n", "1e-3", "-1", "true", "1.2.3", "", "\u00e4,#"};
  for (const std::string& value : values) {
    const auto entries = ParseToml(TomlLine("key", {value}, false), "file");
    ASSERT_EQ(entries.size(), 1u);
    EXPECT_THAT(entries[0].values, ElementsAre(value));
  }
  EXPECT_EQ(ParseToml(TomlLine("key", values, true), "file")[0].values, values);
  EXPECT_EQ(TomlLine("steps", {"20"}, false), "steps = 20\n");
  EXPECT_EQ(TomlLine("train", {"a", "b"}, true), "train = [\"a\", \"b\"]\n");
}

}  // namespace
}  // namespace longspan::cli
