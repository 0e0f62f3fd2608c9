#include "cli/visual/grid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>

#include "cli/visual/text.h"
#include "longspan/error.h"

namespace longspan::cli {
namespace {

GridPanel Triangle(idx_t tokens) {
  GridPanel panel;
  panel.title = "causal";
  panel.rows = panel.columns = tokens;
  for (idx_t row = 0; row < tokens; ++row) {
    for (idx_t column = 0; column < tokens; ++column) {
      panel.weight.push_back(column <= row ? 1.0f : 0.0f);
    }
  }
  return panel;
}

GridSheet OneGroup(std::vector<GridPanel> panels) {
  GridSheet sheet;
  sheet.title = "sheet <1>";
  sheet.groups = {{"visible", Rgb(0x0072b2), '#'}};
  sheet.panels = std::move(panels);
  return sheet;
}

TEST(PrintGrid, HalfBlocksHoldTwoRows) {
  const std::string text = PrintGrid(OneGroup({Triangle(4)}), {false, false, true, 80});
  EXPECT_NE(text.find("█▄\n"), std::string::npos) << text;    // rows 0 and 1
  EXPECT_NE(text.find("███▄\n"), std::string::npos) << text;  // rows 2 and 3
}

TEST(PrintGrid, AsciiHasASymbolForEachCell) {
  const std::string text = PrintGrid(OneGroup({Triangle(4)}), {false, false, false, 80});
  EXPECT_NE(text.find("   0 #...\n     ##..\n     ###.\n     ####\n"), std::string::npos) << text;
}

TEST(PrintGrid, ShowsGroupsPaddingAndWeights) {
  GridSheet sheet = OneGroup({Triangle(4)});
  sheet.groups.push_back({"self", Rgb(0), 'S'});
  sheet.panels[0].group.assign(16, 0);
  for (std::size_t i = 0; i < 16; i += 5) sheet.panels[0].group[i] = 1;
  sheet.panels[0].shaded = {0, 0, 0, 1};
  const std::string text = PrintGrid(sheet, {false, false, true, 80});
  EXPECT_NE(text.find("   0 S..-\n     #S.-\n     ##S-\n     ###S\n"), std::string::npos) << text;
  GridSheet shades = OneGroup({Triangle(2)});
  shades.panels[0].weight = {1, 0, 0.3f, 0.7f};
  const std::string shaded = PrintGrid(shades, {false, false, false, 80});
  EXPECT_NE(shaded.find("   0 #.\n     =*\n"), std::string::npos) << shaded;
}

TEST(PrintGrid, FitsTheTerminal) {
  for (const idx_t width : {20, 45, 80}) {
    for (const idx_t tokens : {1, 7, 32, 200}) {
      for (const bool utf8 : {false, true}) {
        const bool color = utf8;
        const std::string text =
            PrintGrid(OneGroup({Triangle(tokens), Triangle(tokens)}), {true, color, utf8, width});
        std::istringstream lines(text);
        for (std::string line; std::getline(lines, line);) {
          EXPECT_LE(Columns(line), width) << tokens << " tokens\n" << text;
        }
      }
    }
  }
}

TEST(Pool, KeepsTheStrongestCell) {
  GridPanel panel = Triangle(6);
  panel.weight[1] = 0.5f;  // above the diagonal
  const GridPanel pooled = Pool(panel, 3, 3);
  EXPECT_EQ(pooled.rows, 3);
  EXPECT_EQ(pooled.weight, (std::vector<float>{1, 0, 0, 1, 1, 0, 1, 1, 1}));
  EXPECT_NE(pooled.note.find("2 x 2"), std::string::npos);
  EXPECT_EQ(Pool(panel, 6, 6).weight, panel.weight);
  const GridPanel odd = Pool(Triangle(7), 3, 3);
  EXPECT_EQ(odd.rows, 3);
  EXPECT_EQ(odd.weight.back(), 1);
}

TEST(DrawGrid, WritesBothFormatsAtAnySize) {
  for (const idx_t tokens : {1, 5, 64, 300, 1500}) {
    const GridSheet sheet = OneGroup({Triangle(tokens), Triangle(3), Triangle(9)});
    const std::string png = DrawGrid(sheet, PictureFormat::kPng);
    EXPECT_EQ(png.substr(1, 3), "PNG");
    const std::string svg = DrawGrid(sheet, PictureFormat::kSvg);
    EXPECT_NE(svg.find("<title>sheet &lt;1&gt;</title>"), std::string::npos);
    EXPECT_EQ(svg.substr(svg.size() - 7), "</svg>\n");
  }
}

TEST(CheckGrid, SaysWhichPanelAndWhichSizes) {
  GridSheet sheet = OneGroup({Triangle(4)});
  sheet.panels[0].weight.pop_back();
  try {
    CheckGrid(sheet);
    FAIL() << "15 weights for 16 cells";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    EXPECT_EQ(std::string(error.what()), "grid 'causal': 15 weights for 4 x 4 cells");
  }
  sheet = OneGroup({Triangle(4)});
  sheet.panels[0].group.assign(16, 1);
  EXPECT_THROW(CheckGrid(sheet), Error);
  sheet = OneGroup({Triangle(4)});
  sheet.panels[0].shaded.assign(3, 1);
  EXPECT_THROW(CheckGrid(sheet), Error);
}

TEST(FormatOf, KnowsTwoExtensions) {
  EXPECT_EQ(FormatOf("a.svg"), PictureFormat::kSvg);
  EXPECT_EQ(FormatOf("dir.svg/b.PNG"), PictureFormat::kPng);
  for (const char* name : {"a.pdf", "a", "-", "a.svg/", ""}) {
    EXPECT_THROW(FormatOf(name), Error) << name;
  }
}

}  // namespace
}  // namespace longspan::cli
