#include "cli/shown_bytes.h"

#include <gtest/gtest.h>

namespace longspan::cli {
namespace {

// Whole characters alone, whichever way the bytes come in.
TEST(ShownBytes, OnATerminalAreWholeCharacters) {
  const std::string text = "a\xC3\xA4 \xF0\x9F\x99\x82 \xE2\x82z\xFF\x1B[31m\n\tend\xE2\x82";
  const std::string right = "a\u00e4 \U0001F642 \uFFFDz\uFFFD\uFFFD[31m\n\tend\uFFFD";
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    ShownBytes shown(true);
    std::string all;
    for (std::size_t at = 0; at < text.size(); at += piece) {
      all += shown.Add(std::string_view(text).substr(at, piece));
    }
    EXPECT_EQ(all + shown.Finish(), right) << piece;
  }
  ShownBytes terminal(true);
  EXPECT_EQ(terminal.Add("\xC3"), "");
  EXPECT_EQ(terminal.Add("\xA4"), "\u00e4");
  EXPECT_EQ(terminal.Finish(), "");
}

TEST(ShownBytes, ElsewhereAreAsTheyCome) {
  ShownBytes file(false);
  EXPECT_EQ(file.Add("\xC3"), "\xC3");
  EXPECT_EQ(file.Add("\xFF\x1B"), "\xFF\x1B");
  EXPECT_EQ(file.Finish(), "");
}

}  // namespace
}  // namespace longspan::cli
