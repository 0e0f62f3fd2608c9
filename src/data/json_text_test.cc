#include "data/json_text.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/files.h"

namespace longspan {
namespace {

using test::Throws;
using Members = std::vector<std::pair<std::string, std::string>>;

Members Of(std::string_view text) {
  Members members;
  data::ForEachMember(text, "t", [&](std::string_view key, std::string_view value) {
    members.emplace_back(key, value);
  });
  return members;
}

TEST(JsonTextTest, ValuesStandAsTheyAre) {
  EXPECT_EQ(Of(" { \"a\" : 1 , \"b\":[1,{\"c\":\"]}\"}],\"d\":\"x\\\"}\" } "),
            (Members{{"a", "1"}, {"b", "[1,{\"c\":\"]}\"}]"}, {"d", "\"x\\\"}\""}}));
  EXPECT_EQ(Of("[1,\"a,b\", {}]"), (Members{{"", "1"}, {"", "\"a,b\""}, {"", "{}"}}));
  EXPECT_TRUE(Of("{}").empty());
  EXPECT_TRUE(Of(" [ ] ").empty());
  EXPECT_EQ(Of("{\"\\u0061\\n\":2}"), (Members{{"a\n", "2"}}));
}

TEST(JsonTextTest, WhatNobodyAskedForMayBeAnything) {
  EXPECT_EQ(
      Of("{\"a\":NaN,\"\\ud800\":\"\\ud800\",\"c\":\"\xff\",\"d\":-Infinity}"),
      (Members{{"a", "NaN"}, {"\\ud800", "\"\\ud800\""}, {"c", "\"\xff\""}, {"d", "-Infinity"}}));
  // Deeper than any stack.
  const std::string deep = std::string(1'000'000, '[') + std::string(1'000'000, ']');
  EXPECT_EQ(Of("{\"a\":" + deep + "}").front().second, deep);
}

TEST(JsonTextTest, StructureHasToBeRight) {
  for (const char* text :
       {"",           "1",          "\"a\"",       "{",         "{\"a\"", "{\"a\":", "{\"a\":1",
        "{\"a\":1,}", "{\"a\":1}x", "{\"a\" 1}",   "{a:1}",     "[1",     "[1,]",    "[1 2]",
        "[,1]",       "{\"a\":[}",  "{\"a\":\"x}", "{\"a\":1]", "[1}",    "{\"a\":}"}) {
    EXPECT_TRUE(Throws([&] { Of(text); }, ErrorCode::kFormat, "t: ")) << text;
  }
}

// Wherever the text is cut, the end is found where it is.
TEST(JsonTextTest, TheEndIsFoundInPieces) {
  for (const std::string value : {"{\"a\":[1,\"]\\\"\"]}", "\"x\\\\\"", "[[],{}]", "12.5", "NaN"}) {
    const std::string text = value + ", more";
    for (std::size_t cut = 1; cut < text.size(); ++cut) {
      data::JsonEnd end;
      std::size_t found = end.Find(std::string_view(text).substr(0, cut), 0, "t");
      if (found == std::string_view::npos) found = end.Find(text, cut, "t");
      EXPECT_EQ(found, value.size()) << value << " " << cut;
    }
  }
}

}  // namespace
}  // namespace longspan
