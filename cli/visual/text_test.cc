#include "cli/visual/text.h"

#include <gtest/gtest.h>

#include <string>

#include "cli/visual/clipped.h"

namespace longspan::cli {
namespace {

TEST(Printable, KeepsTextAndReplacesWhatDrivesATerminal) {
  EXPECT_EQ(Printable("loss, größe, 数, 🙂"), "loss, größe, 数, 🙂");
  EXPECT_EQ(Printable("\x1b[2J\n\t\x7f"), "?[2J???");
  EXPECT_EQ(Printable("\xc2\x9b"
                      "31m"),
            "??31m");  // the one-character escape introducer
  EXPECT_EQ(Printable(std::string_view("a\0b", 3)), "a?b");
}

TEST(Printable, ReplacesEveryKindOfBadUtf8) {
  EXPECT_EQ(Printable("\xff"), "?");
  EXPECT_EQ(Printable("\xc3"), "?");                 // cut
  EXPECT_EQ(Printable("\xc0\xaf"), "??");            // overlong
  EXPECT_EQ(Printable("\xe0\x80\x80"), "???");       // overlong
  EXPECT_EQ(Printable("\xed\xa0\x80"), "???");       // surrogate
  EXPECT_EQ(Printable("\xf4\x90\x80\x80"), "????");  // beyond the last code point
  EXPECT_EQ(Printable("\xef\xbf\xbf"), "???");       // not a character, not allowed in XML
}

TEST(EscapeXml, AllFive) {
  EXPECT_EQ(EscapeXml("<a href=\"x\">&'\x01"), "&lt;a href=&quot;x&quot;&gt;&amp;&apos;?");
}

TEST(Columns, CountsCodePointsAndNoEscapes) {
  EXPECT_EQ(Columns("größe"), 5);
  EXPECT_EQ(Columns("\x1b[38;5;24m█\x1b[0m│"), 2);
  EXPECT_EQ(ClipColumns("größe", 3), "grö");
  EXPECT_EQ(ClipColumns("\x1b[31mabc\x1b[0m", 2), "\x1b[31mab\x1b[0m");
  EXPECT_EQ(ClipColumns("abc", 0), "");
  EXPECT_EQ(PadColumns("ö", 3), "ö  ");
  EXPECT_EQ(PadColumns("long", 3), "long");
}

TEST(Text, ClippedNamesShowIt) {
  EXPECT_EQ(ClipWithDots("precise", 7), "precise");
  EXPECT_EQ(ClipWithDots("précise", 6), "pré...");
}

}  // namespace
}  // namespace longspan::cli
