// Pictures of cells: who sees whom, and how much. Rows are queries, columns are keys.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/visual/canvas.h"
#include "cli/visual/terminal.h"

namespace longspan::cli {

// Smallest integer >= a / b, for a >= 0 and b > 0.
constexpr idx_t CeilDiv(idx_t a, idx_t b) { return (a + b - 1) / b; }

// A class of cells that has a colour of its own.
struct GridGroup {
  std::string name;  // in the legend
  Color color;
  char symbol;  // on a terminal without colours
};

struct GridPanel {
  std::string title, note;
  std::string row_label, column_label;  // empty: the sheet's
  idx_t rows = 0, columns = 0;
  std::vector<float> weight;         // rows x columns, 0..1: how strong the cell's colour is
  std::vector<std::uint8_t> group;   // rows x columns indices into groups; empty: all group 0
  std::vector<std::uint8_t> shaded;  // columns, 1 = a key that does not exist (padding); or empty
  idx_t line_every = 0;              // heavier lines between chunks of so many cells; 0 = none
  bool cut = false;                  // the columns are cut apart at these lines: gaps, not lines
  idx_t tall = 1;                    // a cell's height in its widths: strips of few rows
  std::string section;               // not empty: a new row of panels begins, under this heading
};

struct GridSheet {
  std::string title;
  std::string row_label = "query", column_label = "key";
  std::vector<GridGroup> groups;
  std::vector<GridPanel> panels;  // in reading order
  idx_t panels_across = 2;
};

// Throws kUsage when a panel's fields differ in size or a group does not exist.
void CheckGrid(const GridSheet& sheet);

// A panel of at most `rows` x `columns` cells: each takes the strongest of the cells it stands for.
GridPanel Pool(const GridPanel& panel, idx_t rows, idx_t columns);

// An SVG or PNG file. Panels above 1024 cells a side are pooled.
std::string DrawGrid(const GridSheet& sheet, PictureFormat format);

// Text: half blocks, two cells a character, on a terminal with colours or when there is but one
// group; else a symbol for each cell. Panels wider than the terminal are pooled.
std::string PrintGrid(const GridSheet& sheet, const Terminal& terminal);

}  // namespace longspan::cli
