#include "io/json.h"

#include <sys/stat.h>

#include "longspan/files.h"
#include "tests/support/files.h"

namespace longspan::io {
namespace {

using test::Throws;

testing::AssertionResult RejectsJson(std::string_view text, std::string_view fragment) {
  return Throws([&] { ParseJson(text, "config.json"); }, ErrorCode::kFormat, fragment);
}

TEST(Escape, ShowsNothingThatATerminalActsOn) {
  EXPECT_EQ(Escape("plain name.0"), "plain name.0");
  EXPECT_EQ(Escape("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
  EXPECT_EQ(Escape(std::string_view("\0\x1b[31m\x7f", 7)), "\\x00\\x1b[31m\\x7f");
  EXPECT_EQ(Escape("\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80"),
            "\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80");
  EXPECT_EQ(Escape("\xc2\x9b"), "\\xc2\\x9b");           // a C1 control
  EXPECT_EQ(Escape("\xe2\x80\xae"), "\\xe2\\x80\\xae");  // right-to-left override
  EXPECT_EQ(Escape("\xc0\xaf"), "\\xc0\\xaf");           // overlong
  EXPECT_EQ(Escape("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // surrogate
  EXPECT_EQ(Escape("\xff\xc3"), "\\xff\\xc3");           // stray, cut off
  EXPECT_EQ(Escape(std::string(100, 'x'), 3), "xxx... (100 bytes)");
}

TEST(Json, ParsesWhatIsJson) {
  const auto document = ParseJson(
      "  {\"a\": [1, -2, 3.5, true, null, \"\\u00e9\\ud83d\\ude00\"], \"b\": {\"a\": {}}} \n", "x");
  EXPECT_EQ(document["a"][1].get<int>(), -2);
  EXPECT_EQ(document["a"][5].get<std::string>(), "\xc3\xa9\xf0\x9f\x98\x80");
  EXPECT_TRUE(document["b"]["a"].is_object());
  EXPECT_EQ(ParseJson("1", "x").get<int>(), 1);
  EXPECT_EQ(ParseJson("[[1,2],[3],[]]", "x").dump(), "[[1,2],[3],[]]");
}

TEST(Json, RejectsWhatIsNot) {
  EXPECT_TRUE(RejectsJson("{\"a\": NaN}", "config.json: byte "));
  EXPECT_TRUE(RejectsJson("{\"a\": Infinity}", "config.json: byte "));
  EXPECT_TRUE(RejectsJson("{\"a\": -Infinity}", "byte "));
  EXPECT_TRUE(RejectsJson("{\"a\": 1e400}", "number overflow"));
  EXPECT_TRUE(RejectsJson("\xef\xbb\xbf{}", "byte 0: byte-order mark"));
  EXPECT_TRUE(RejectsJson("// c\n{}", "byte 0"));
  EXPECT_TRUE(RejectsJson("{} /* c */", "byte 3"));
  EXPECT_TRUE(RejectsJson("{\"a\": 1, \"a\": 2}", "byte 12: duplicate key \"a\""));
  EXPECT_TRUE(RejectsJson("{\"a\": {\"b\": 1, \"\\u0062\": 2}}", "duplicate key \"b\""));
  EXPECT_TRUE(RejectsJson("{} x", "byte 3"));
  EXPECT_TRUE(RejectsJson("{}{}", "byte 2"));
  EXPECT_TRUE(RejectsJson("[1,]", "byte 3"));
  EXPECT_TRUE(RejectsJson("", "byte 0"));
  EXPECT_TRUE(RejectsJson("{\"a\"", "byte 4"));
  EXPECT_TRUE(RejectsJson("\"\xff\"", "byte 1"));
  EXPECT_TRUE(RejectsJson("\"\xc0\xaf\"", "byte 1"));
  EXPECT_TRUE(RejectsJson("\"\\ud800\"", "surrogate"));
  EXPECT_TRUE(RejectsJson("\"a\nb\"", "byte 2"));
  EXPECT_TRUE(RejectsJson("'a'", "byte 0"));
  EXPECT_TRUE(RejectsJson("01", "byte 1"));
  // The lexer would end at a NUL byte and never see the rest.
  EXPECT_TRUE(RejectsJson(std::string_view("{}\0garbage", 10), "byte 2: NUL"));
  EXPECT_TRUE(RejectsJson(std::string_view("{}\0", 3), "byte 2: NUL"));
  EXPECT_TRUE(RejectsJson("{\"\x1b[31m\": 1}", "byte "));
}

TEST(Json, SaysWhatStandsThereAndWhatMust) {
  EXPECT_TRUE(RejectsJson("{\"a\": 1,\n \"b\": NaN}",
                          "config.json: byte 15: line 2, column 7: 'NaN' is no JSON"));
  EXPECT_TRUE(RejectsJson("{\"a\": nul}", "byte 6: line 1, column 7: 'nul' is no JSON"));
  EXPECT_TRUE(RejectsJson("nul", "byte 0: line 1, column 1: 'nul' is no JSON"));
  EXPECT_TRUE(RejectsJson("[1, tru, 2]", "'tru' is no JSON"));
  EXPECT_TRUE(RejectsJson("{\"a\" 1}", "byte 5: line 1, column 6: '1' stands where a colon must"));
  EXPECT_TRUE(RejectsJson("{\"a\": }", "'}' stands where a value must"));
  EXPECT_TRUE(
      RejectsJson("{\"a\": 1 \"b\": 2}",
                  "byte 8: line 1, column 9: the text 'b' stands where a comma or the end of "
                  "the object must"));
  EXPECT_TRUE(RejectsJson("{1: 2}", "'1' stands where a name in double quotes must"));
  EXPECT_TRUE(RejectsJson("[1 2]", "'2' stands where a comma or the end of the list must"));
  EXPECT_TRUE(RejectsJson("[1]\n]", "byte 4: line 2, column 1: ']' stands behind the end"));
  EXPECT_TRUE(RejectsJson("{\"a\": [1,\n", "line 2, column 1: ends too early, where a value must"));
  EXPECT_TRUE(RejectsJson("[\"a", "a string is not closed"));
  EXPECT_TRUE(
      RejectsJson("[\"\xc3\xbc\xff\"]", "byte 4: line 1, column 4: a byte that is no UTF-8"));
  EXPECT_TRUE(RejectsJson("[\"\\x\"]", "an escape that JSON does not have: 'x'"));
  EXPECT_TRUE(RejectsJson("[\"\\u12g4\"]", "\\u without four hexadecimal digits"));
  EXPECT_TRUE(RejectsJson("[\"a\nb\"]", "the control character 0x0a stands bare in a string"));
  EXPECT_TRUE(RejectsJson("[-x]", "'x' in a number, where a digit must stand"));
  EXPECT_TRUE(RejectsJson("[1, -2e999]", "byte 4: line 1, column 5: -2e999: the number overflows"));
  for (const char* text : {"{a}", "[1,]", "tru", "nul1", "/* c */ 1", "[01]", "\"", "{\"a\":1,}"}) {
    for (const char* word : {"syntax error", "parse", "literal", "unexpected", "expected"}) {
      EXPECT_FALSE(RejectsJson(text, word)) << text;
    }
  }
}

TEST(Json, IntegersBeyond64BitsMayBeKept) {
  JsonLimits limits;
  limits.exact_integers = true;
  const std::string text = "[123456789012345678901234567890,-99999999999999999999,7,1.5,\"x\"]";
  EXPECT_EQ(JsonText(ParseJson(text, "x", limits)), text);
  EXPECT_EQ(ParseJson("18446744073709551616", "x").get<double>(), 18446744073709551616.0);
  EXPECT_EQ(
      DumpJson(nlohmann::ordered_json{{"id", ParseJson("18446744073709551616", "x", limits)}}),
      "{\n  \"id\": 18446744073709551616\n}\n");
  // Only that: texts that look like it stay texts.
  for (const char* other :
       {"[\"\\u0000integer x\"]", "[\"\\u0000integer 5\"]", "[\"a\\\"\\u0000integer 5\"]",
        "{\"\\u0000integer 5\":1}", "[\"integer 5\"]"}) {
    EXPECT_EQ(JsonText(ParseJson(other, "x", limits)), other);
  }
}

TEST(Json, RejectsEveryPrefix) {
  const std::string text = "{\"a\": [1, 2.5, \"x\\u0041\"], \"b\": {\"c\": null, \"d\": true}}";
  ASSERT_NO_THROW(ParseJson(text, "x"));
  for (std::size_t n = 0; n < text.size(); ++n) {
    EXPECT_TRUE(RejectsJson(std::string_view(text).substr(0, n), "byte")) << n;
  }
}

TEST(Json, HasLimits) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_NO_THROW(ParseJson(nested(64), "x"));
  EXPECT_TRUE(RejectsJson(nested(65), "byte 65: nested deeper than 64"));
  EXPECT_TRUE(RejectsJson(nested(100'000), "nested deeper"));
  EXPECT_TRUE(RejectsJson(std::string(100'000, '['), "nested deeper"));
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
  EXPECT_TRUE(RejectsJson(deep, "nested deeper"));
  EXPECT_TRUE(
      RejectsJson("\"" + std::string(std::size_t{16} << 20, 'x') + "\"", "at most 16777216"));
  std::string many = "[0";
  for (int i = 0; i < 2'000'000; ++i) many += ",0";
  EXPECT_TRUE(RejectsJson(many + "]", "too many values"));
}

TEST(Json, ReadsRegularFilesOnly) {
  const test::TempDir dir;
  test::PutFile(dir / "config.json", "{\"a\": 1}");
  EXPECT_EQ(ReadJsonFile(dir / "config.json")["a"].get<int>(), 1);
  test::PutFile(dir / "bad.json", "{\"a\": 1");
  EXPECT_TRUE(
      Throws([&] { ReadJsonFile(dir / "bad.json"); }, ErrorCode::kFormat, "bad.json: byte 7"));
  EXPECT_TRUE(Throws([&] { ReadJsonFile(dir / "none"); }, ErrorCode::kIo, "No such file"));
  EXPECT_TRUE(Throws([&] { ReadJsonFile(dir.path()); }, ErrorCode::kIo, "a directory"));
  ASSERT_EQ(mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_TRUE(Throws([&] { ReadJsonFile(dir / "fifo"); }, ErrorCode::kIo, "a FIFO"));
  std::filesystem::create_symlink("loop", dir / "loop");
  EXPECT_TRUE(Throws([&] { ReadJsonFile(dir / "loop"); }, ErrorCode::kIo, "symbolic links"));
}

class Fields : public testing::Test {
 protected:
  // GetInt of a field that has this value.
  static testing::AssertionResult IntRejects(const std::string& value) {
    const auto document = ParseJson("{\"hidden_size\": " + value + "}", "x");
    return Throws([&] { GetInt(document, "hidden_size", 1, 1000, 256, "config.json"); },
                  ErrorCode::kFormat, "an integer in [1, 1000]");
  }
};

TEST_F(Fields, IntegersAreIntegers) {
  for (const char* value : {"0", "-1", "2147483648", "9223372036854775808", "18446744073709551616",
                            "1.5", "2.0", "1e2", "\"768\"", "null", "true", "[]", "{}"}) {
    EXPECT_TRUE(IntRejects(value)) << value;
  }
  const auto document = ParseJson("{\"a\": 7, \"b\": null, \"c\": \"x\"}", "x");
  EXPECT_EQ(GetInt(document, "a", 7, 7, kRequired, "x"), 7);
  EXPECT_EQ(GetInt(document, "absent", 1, 9, 3, "x"), 3);
  EXPECT_EQ(GetOptionalInt(document, "b", 1, 9, "x"), std::nullopt);
  EXPECT_EQ(GetOptionalInt(document, "absent", 1, 9, "x"), std::nullopt);
  EXPECT_EQ(GetOptionalInt(document, "a", 1, 9, "x"), 7);
  EXPECT_TRUE(IsNullOrAbsent(document, "b"));
  EXPECT_TRUE(IsNullOrAbsent(document, "absent"));
  EXPECT_FALSE(IsNullOrAbsent(document, "a"));
  EXPECT_TRUE(Throws([&] { GetInt(document, "absent", 1, 9, kRequired, "config.json"); },
                     ErrorCode::kFormat,
                     "config.json: absent is missing, must be an integer in [1, 9]"));
  EXPECT_TRUE(Throws([&] { GetInt(document, "c", 1, 9, 2, "config.json"); }, ErrorCode::kFormat,
                     "config.json: c is \\\"x\\\", must be an integer in [1, 9]"));
  EXPECT_TRUE(
      Throws([&] { GetOptionalInt(document, "c", 1, 9, "x"); }, ErrorCode::kFormat, "c is"));
  EXPECT_TRUE(Throws([&] { GetInt(ParseJson("[1]", "x"), "a", 1, 9, 2, "x"); }, ErrorCode::kFormat,
                     "instead of an object"));
}

TEST_F(Fields, FloatsAreFiniteAndInRange) {
  const auto document = ParseJson(
      "{\"eps\": 1e-12, \"one\": 1, \"zero\": 0.0, \"text\": \"0.1\", \"null\": null, \"neg\": -1,"
      " \"half\": 0.5}",
      "x");
  EXPECT_EQ(GetFloat(document, "eps", 1e-30, 1.0, kRequired, "x"), 1e-12);
  EXPECT_EQ(GetFloat(document, "one", 0.0, 1.0, kRequired, "x"), 1.0);
  EXPECT_EQ(GetFloat(document, "absent", 0.0, 1.0, 0.25, "x"), 0.25);
  for (const char* field : {"zero", "text", "null", "neg"}) {
    EXPECT_TRUE(Throws([&] { GetFloat(document, field, 1e-30, 1.0, 0.5, "config.json"); },
                       ErrorCode::kFormat, std::string("config.json: ") + field + " is "));
  }
  EXPECT_EQ(GetDropout(document, "zero", kRequired, "x"), 0.0);
  EXPECT_EQ(GetDropout(document, "half", kRequired, "x"), 0.5);
  EXPECT_EQ(GetOptionalDropout(document, "null", "x"), std::nullopt);
  EXPECT_TRUE(Throws([&] { GetDropout(document, "one", 0.1, "x"); }, ErrorCode::kFormat,
                     "one is 1, must be a number in [0, 1)"));
  EXPECT_TRUE(Throws([&] { GetDropout(document, "neg", 0.1, "x"); }, ErrorCode::kFormat, "neg"));
}

TEST_F(Fields, TextAndLists) {
  const auto document = ParseJson(
      "{\"act\": \"relu\", \"flag\": false, \"layers\": [\"local\", \"lsh\"], \"shape\": [64, 32],"
      " \"buckets\": 16, \"bad\": [1, \"\\u001b[31m\"], \"null\": null}",
      "x");
  EXPECT_EQ(GetString(document, "act", kRequired, "x"), "relu");
  EXPECT_EQ(GetOptionalString(document, "null", "x"), std::nullopt);
  EXPECT_EQ(GetChoice(document, "act", {"relu", "gelu"}, kRequired, "x"), "relu");
  EXPECT_TRUE(Throws(
      [&] {
        GetChoice(document, "act", {"gelu", "tanh"}, "gelu", "x");
      },
      ErrorCode::kFormat, "must be one of gelu, tanh"));
  EXPECT_FALSE(GetBool(document, "flag", true, "x"));
  EXPECT_TRUE(Throws([&] { GetBool(document, "buckets", true, "x"); }, ErrorCode::kFormat,
                     "buckets is 16, must be true or false"));
  EXPECT_EQ(GetStringList(document, "layers", kRequired, "x"),
            (std::vector<std::string>{"local", "lsh"}));
  EXPECT_EQ(GetIntList(document, "shape", 1, 64, kRequired, "x"), (std::vector<idx_t>{64, 32}));
  EXPECT_EQ(GetIntList(document, "absent", 1, 64, std::vector<idx_t>{1, 2}, "x"),
            (std::vector<idx_t>{1, 2}));
  EXPECT_EQ(GetIntOrList(document, "buckets", 1, 64, kRequired, "x"), (std::vector<idx_t>{16}));
  EXPECT_EQ(GetIntOrList(document, "shape", 1, 64, kRequired, "x"), (std::vector<idx_t>{64, 32}));
  EXPECT_TRUE(Throws([&] { GetIntList(document, "buckets", 1, 64, kRequired, "x"); },
                     ErrorCode::kFormat, "buckets is 16, must be a list"));
  EXPECT_TRUE(Throws([&] { GetIntList(document, "shape", 1, 63, kRequired, "x"); },
                     ErrorCode::kFormat, "shape[0] is 64, must be an integer in [1, 63]"));
  EXPECT_TRUE(Throws([&] { GetIntList(document, "bad", 1, 63, kRequired, "x"); },
                     ErrorCode::kFormat, "bad[1] is"));
}

}  // namespace
}  // namespace longspan::io
