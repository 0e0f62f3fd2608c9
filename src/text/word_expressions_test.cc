#include "text/word_expressions.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "io/json.h"
#include "text/text_test.h"

namespace longspan::text {
namespace {

using nlohmann::json;

std::vector<std::uint32_t> Ends(const WordExpression& e, const Glyphs& glyphs) {
  std::vector<std::uint32_t> ends;
  for (std::size_t at = 0; at < glyphs.size();) {
    const std::size_t end = WordEnd(e, glyphs, at, glyphs.size());
    if (end <= at || end > glyphs.size()) return {};
    ends.push_back(static_cast<std::uint32_t>(end));
    at = end;
  }
  return ends;
}

// A scalar value beside characters of the kinds that the expressions know: around() of
// tools/make_tokenizer_fixtures.py.
Glyphs Around(char32_t c) {
  std::u32string text;
  for (const char32_t x : std::u32string_view(U"# #a#A#1#!#\n##'#'s#'S \n# ")) {
    text += x == '#' ? c : x;
  }
  Glyphs glyphs;
  for (const char32_t x : text) glyphs.push_back({x, 0, 0});
  return glyphs;
}

// Recorded from the package's regular expressions.
TEST(WordExpressions, CutAsThePackageDoes) {
  const json rows = io::ReadJsonFile(kFolder / "expressions.json");
  ASSERT_EQ(rows.size(), 7u);
  for (const json& row : rows) {
    const auto e = WordExpressionOf(row["pattern"].get<std::string>());
    ASSERT_TRUE(e.has_value()) << row["name"];
    ASSERT_GE(row["texts"].size(), 150u);
    for (const json& text : row["texts"]) {
      EXPECT_EQ(Ends(*e, GlyphsOf(text[0].get<std::string>())),
                text[1].get<std::vector<std::uint32_t>>())
          << row["name"] << ": " << text[0];
    }
  }
}

TEST(WordExpressions, KnowEveryScalarValueAsThePackageDoes) {
  constexpr char32_t kBlock = 4096;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr char32_t kStep = 7;  // blocks: every one takes minutes
#else
  constexpr char32_t kStep = 1;
#endif
  char32_t number = 0;
  for (const json& row : io::ReadJsonFile(kFolder / "expressions.json")) {
    const auto e = WordExpressionOf(row["pattern"].get<std::string>());
    ASSERT_TRUE(e.has_value());
    const char32_t turn = number++ % 4;
    const std::string hashes = row["scalars"];
    for (char32_t first = 0; first < 0x110000; first += kBlock) {
      // No scalar of the planes 4 to 13, 15 and 16 has a property of its own.
      const bool empty_plane = first >= 0x40000 && first / 0x10000 != 14;
      if (first / kBlock % kStep != 0 || (empty_plane && first % 0x10000 != 0)) continue;
      // Planes 2 and 3 are ideographs: the expressions take turns.
      if (first / 0x20000 == 1 && first / kBlock % 4 != turn) continue;
      std::string bytes;
      for (char32_t c = first; c < first + kBlock; ++c) {
        if (c >= 0xD800 && c < 0xE000) continue;
        for (const std::uint32_t end : Ends(*e, Around(c))) {
          bytes.append(reinterpret_cast<const char*>(&end), sizeof(end));
        }
      }
      const std::string hash =
          fmt::format("{:016x}", XXH64(bytes.data(), bytes.size(), 0)).substr(8);
      ASSERT_EQ(hash, hashes.substr(first / kBlock * 8, 8))
          << row["name"] << ": a scalar in [" << std::uint32_t{first} << ", "
          << std::uint32_t{first + kBlock} << ")";
    }
  }
}

// Texts on which an engine that backtracks, or one that looks at a run again for each of its
// characters, needs quadratic time. Loose: what is quadratic takes hours.
TEST(WordExpressions, TakeLinearTime) {
  const auto begin = std::chrono::steady_clock::now();
  for (const json& row : io::ReadJsonFile(kFolder / "expressions.json")) {
    const auto e = WordExpressionOf(row["pattern"].get<std::string>());
    for (const char* unit : {" ", "\n", " \n", "A", "\xE4\xB8\xAD",
                             "\xE4\xB8\xAD"
                             "A",
                             "!", "'", "1", "\xCC\x81",
                             "\xCC\x81"
                             "A",
                             "!\n", "/\n", "a\xCC\x81"}) {
      for (const char* front : {"", "\n", "\xE4\xB8\xAD", "\xCC\x81", "!"}) {
        std::string text = front;
        while (text.size() < 50000) text += unit;
        EXPECT_EQ(Ends(*e, GlyphsOf(text)).back(), GlyphsOf(text).size()) << row["name"];
      }
    }
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(120));
}

TEST(WordExpressions, OthersAreNotKnown) {
  EXPECT_FALSE(WordExpressionOf("").has_value());
  EXPECT_FALSE(WordExpressionOf(R"(\p{L}+|\s+)").has_value());
}

}  // namespace
}  // namespace longspan::text
