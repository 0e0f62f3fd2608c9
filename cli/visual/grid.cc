#include "cli/visual/grid.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "cli/check.h"

namespace longspan::cli {
namespace {

constexpr idx_t kMostCells = 1024;  // a side
// CSS pixels that a panel's cells aim at: two panels fill a page, and so does one alone. Sheets of
// many panels have small ones.
constexpr double kPanelSide = 352, kSinglePanelSide = 576, kSmallPanelSide = 224;
constexpr std::size_t kFewPanels = 4;
constexpr double kSheetEdge = 22, kGutter = 34;
constexpr double kTickRoom = 34, kGridTickSize = 11, kNoteSize = 12, kGridLabelSize = 12;
constexpr double kSheetTitleSize = 17, kSectionSize = 15, kPanelTitleSize = 14, kLegendSize = 12;
constexpr double kTitleLine = 18, kNoteLine = 16;  // between two lines of text
constexpr Color kHidden = Rgb(0xeef1f5), kPadding = Rgb(0xd9d2c7);
constexpr double kApart = 26;  // CSS pixels between two labels of an axis
constexpr int kShades = 64;    // levels of weight that a picture tells apart

std::size_t CellIndex(const GridPanel& panel, idx_t row, idx_t column) {
  return static_cast<std::size_t>(row * panel.columns + column);
}

bool IsShaded(const GridPanel& panel, idx_t column) {
  return !panel.shaded.empty() && panel.shaded[static_cast<std::size_t>(column)] != 0;
}

// Pixels must not cut cells unevenly: whole pixels, or halves where cells are smaller than two.
double CellSide(const GridSheet& sheet, const GridPanel& panel) {
  const double aim = sheet.panels.size() == 1            ? kSinglePanelSide
                     : sheet.panels.size() <= kFewPanels ? kPanelSide
                                                         : kSmallPanelSide;
  const double side = aim / static_cast<double>(std::max(panel.rows, panel.columns));
  return std::clamp(side < 2 ? std::floor(side * 2) / 2 : std::floor(side), 0.5, 18.0);
}

// Indices to write at an axis: 0 and multiples of a round number, of the chunk where there is one.
// Labels are `apart` CSS pixels from each other.
std::vector<idx_t> AxisIndices(idx_t count, idx_t line_every, double side, double apart) {
  idx_t step = line_every > 0 && line_every < count ? line_every : 1;
  if (step == 1) {
    const idx_t round[] = {1, 2, 4, 8, 16};
    for (const idx_t r : round) {
      step = r;
      if (static_cast<double>(r) * side >= apart) break;
    }
  }
  while (static_cast<double>(step) * side < apart) step *= 2;
  std::vector<idx_t> indices;
  for (idx_t i = 0; i < count; i += step) indices.push_back(i);
  return indices;
}

using Shade = std::pair<int, int>;  // group (-1: hidden, -2: padding), weight in kShades steps

Shade ShadeOf(const GridPanel& panel, idx_t row, idx_t column) {
  const std::size_t i = CellIndex(panel, row, column);
  const float weight = std::clamp(panel.weight[i], 0.0f, 1.0f);
  const int level = weight > 0 ? std::max(1, static_cast<int>(std::lround(weight * kShades))) : 0;
  if (level == 0) return {IsShaded(panel, column) ? -2 : -1, 0};
  return {panel.group.empty() ? 0 : panel.group[i], level};
}

// Pixels of a panel's parts, from the top left corner of its cells.
struct Cells {
  const GridPanel& panel;
  double side;
  static constexpr double kCut = 7;  // between two chunks that are cut apart

  bool IsCut(idx_t column) const {  // before this column
    return panel.cut && panel.line_every > 0 && column > 0 && column % panel.line_every == 0;
  }
  double X(idx_t column) const {
    const idx_t cuts = panel.cut && panel.line_every > 0
                           ? std::min(column, panel.columns - 1) / panel.line_every
                           : 0;
    return static_cast<double>(column) * side + static_cast<double>(cuts) * kCut;
  }
  double height() const { return side * static_cast<double>(panel.tall); }  // of a cell
  double Y(idx_t row) const { return static_cast<double>(row) * height(); }
  double Width() const { return X(panel.columns); }
  double Height() const { return Y(panel.rows); }
};

void DrawCells(Canvas& canvas, const GridSheet& sheet, const GridPanel& panel, Point at,
               double side) {
  const Cells cells_at{panel, side};
  const double gap = side >= 4 ? 1 : 0;
  std::map<Shade, std::vector<Box>> boxes;
  for (idx_t row = 0; row < panel.rows; ++row) {
    for (idx_t column = 0; column < panel.columns;) {
      const Shade shade = ShadeOf(panel, row, column);
      idx_t end = column + 1;
      while (end < panel.columns && !cells_at.IsCut(end) && ShadeOf(panel, row, end) == shade) {
        ++end;
      }
      boxes[shade].push_back({at.x + cells_at.X(column), at.y + cells_at.Y(row),
                              static_cast<double>(end - column) * side, cells_at.height()});
      column = end;
    }
  }
  for (const auto& [shade, cells] : boxes) {
    Color color = shade.first == -2 ? kPadding : kHidden;
    if (shade.first >= 0) {
      color = Mix(kHidden, sheet.groups[static_cast<std::size_t>(shade.first)].color,
                  static_cast<double>(shade.second) / kShades);
    }
    canvas.Boxes(cells, color);
  }
  // Cells are separated by lines over whole runs of them: far fewer shapes than a box for each.
  if (gap == 0) return;
  std::vector<Box> lines;
  for (idx_t i = 1; i <= panel.columns; ++i) {
    lines.push_back({at.x + cells_at.X(i - 1) + side - gap, at.y, gap, cells_at.Height()});
  }
  for (idx_t i = 1; i <= panel.rows; ++i) {
    lines.push_back({at.x, at.y + cells_at.Y(i) - gap, cells_at.Width(), gap});
  }
  canvas.Boxes(lines, kWhite);
}

void DrawPanelAxes(Canvas& canvas, const GridSheet& sheet, const GridPanel& panel, Point at,
                   double side) {
  const Cells cells{panel, side};
  const double width = cells.Width(), height = cells.Height();
  const double shift = side >= 4 ? 0.5 : 0;  // lines run in the gaps
  const LineStyle chunk_line{Rgb(0x1f2430, 0.55), 1, false};
  const bool lines = panel.line_every > 0 && !panel.cut;
  for (idx_t i = panel.line_every; lines && i < panel.columns; i += panel.line_every) {
    const double x = at.x + static_cast<double>(i) * side - shift;
    canvas.Line({x, at.y}, {x, at.y + height - 2 * shift}, chunk_line);
  }
  for (idx_t i = panel.line_every; lines && i < panel.rows; i += panel.line_every) {
    const double y = at.y + static_cast<double>(i) * side - shift;
    canvas.Line({at.x, y}, {at.x + width - 2 * shift, y}, chunk_line);
  }
  const double half = std::min(side / 2, 9.0);
  for (const idx_t i : AxisIndices(panel.columns, panel.line_every, side, kApart)) {
    canvas.Text({at.x + cells.X(i) + half, at.y - 6}, fmt::format("{}", i),
                {kGridTickSize, kSoftInk, Anchor::kMiddle});
  }
  constexpr idx_t kFewRows = 8;  // each has its label, such as the rounds of hashing
  const idx_t row_lines = panel.cut ? 0 : panel.line_every;
  const double apart = panel.rows <= kFewRows ? kGridTickSize + 1 : kApart;
  for (const idx_t i : AxisIndices(panel.rows, row_lines, cells.height(), apart)) {
    canvas.Text({at.x - 6, at.y + cells.Y(i) + std::min(cells.height() / 2, 9.0) + 4},
                fmt::format("{}", i), {kGridTickSize, kSoftInk, Anchor::kEnd});
  }
  canvas.Text({at.x + width / 2, at.y - 20},
              panel.column_label.empty() ? sheet.column_label : panel.column_label,
              {kGridLabelSize, kSoftInk, Anchor::kMiddle});
  canvas.Text({at.x - 28, at.y + height / 2},
              panel.row_label.empty() ? sheet.row_label : panel.row_label,
              {kGridLabelSize, kSoftInk, Anchor::kMiddle, false, true});
}

struct Entry {
  std::string name;
  Color color;
};

// What the legend has to explain: the groups that are seen, and padding.
std::vector<Entry> LegendEntries(const GridSheet& sheet) {
  std::set<int> seen;
  for (const GridPanel& panel : sheet.panels) {
    for (idx_t row = 0; row < panel.rows; ++row) {
      for (idx_t column = 0; column < panel.columns; ++column) {
        seen.insert(ShadeOf(panel, row, column).first);
      }
    }
  }
  std::vector<Entry> entries;
  for (std::size_t g = 0; g < sheet.groups.size(); ++g) {
    const bool named = !sheet.groups[g].name.empty();
    if (named && seen.count(static_cast<int>(g)) > 0) {
      entries.push_back({sheet.groups[g].name, sheet.groups[g].color});
    }
  }
  if (!entries.empty() && seen.count(-1) > 0) entries.push_back({"not visible", kHidden});
  if (seen.count(-2) > 0) entries.push_back({"padding, not visible", kPadding});
  return entries;
}

double Legend(Canvas& canvas, const std::vector<Entry>& entries, double y, double right,
              bool draw) {
  constexpr double kSwatch = 12, kGap = 6, kSpace = 20, kRow = 20;
  if (entries.empty()) return y;
  double x = kSheetEdge;
  for (const Entry& entry : entries) {
    const TextStyle style{kLegendSize, kInk};
    const double width = kSwatch + kGap + canvas.TextWidth(entry.name, style) + kSpace;
    if (x > kSheetEdge && x + width - kSpace > right) {
      x = kSheetEdge;
      y += kRow;
    }
    if (draw) {
      canvas.FillBox({x, y + 1, kSwatch, kSwatch}, entry.color);
      canvas.Text({x + kSwatch + kGap, y + 11.5}, entry.name, style);
    }
    x += width;
  }
  return y + kRow;
}

// The words of a text in lines of at most `width` pixels; a longer word has a line of its own.
std::vector<std::string> Wrapped(Canvas& canvas, const std::string& text, const TextStyle& style,
                                 double width) {
  std::vector<std::string> lines;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const std::string longer = lines.empty() ? word : lines.back() + " " + word;
    if (lines.empty() || canvas.TextWidth(longer, style) > width) {
      lines.push_back(word);
    } else {
      lines.back() = longer;
    }
  }
  return lines;
}

// The text over a panel, and how much room it takes.
struct PanelHead {
  std::vector<std::string> title, note;
  double height() const {
    return kTitleLine * static_cast<double>(title.size()) +
           kNoteLine * static_cast<double>(note.size()) + kTickRoom;
  }
};

constexpr TextStyle kTitleStyle{kPanelTitleSize, kInk, Anchor::kStart, true};
constexpr TextStyle kNoteStyle{kNoteSize, kSoftInk};

PanelHead HeadOf(Canvas& canvas, const GridPanel& panel, double width) {
  const double room = std::max(width, kSmallPanelSide);
  return {Wrapped(canvas, panel.title, kTitleStyle, room),
          Wrapped(canvas, panel.note, kNoteStyle, room)};
}

void DrawHead(Canvas& canvas, const PanelHead& head, Point at) {
  double y = at.y + 13;
  for (const std::string& line : head.title) {
    canvas.Text({at.x, y}, line, kTitleStyle);
    y += kTitleLine;
  }
  for (const std::string& line : head.note) {
    canvas.Text({at.x, y - 1}, line, kNoteStyle);
    y += kNoteLine;
  }
}

// Where the row of panels ends that begins with panel `first`.
std::size_t EndOfRow(const GridSheet& sheet, std::size_t first) {
  const auto across = static_cast<std::size_t>(std::max<idx_t>(1, sheet.panels_across));
  std::size_t end = first + 1;
  while (end < sheet.panels.size() && end - first < across && sheet.panels[end].section.empty()) {
    ++end;
  }
  return end;
}

std::string Describe(const GridSheet& sheet) {
  std::string text;
  for (const GridPanel& panel : sheet.panels) {
    const auto visible = std::count_if(panel.weight.begin(), panel.weight.end(),
                                       [](float weight) { return weight > 0; });
    text += fmt::format("{}{}: {} x {} cells, {} visible. ", panel.title,
                        panel.note.empty() ? "" : " (" + panel.note + ")", panel.rows,
                        panel.columns, visible);
  }
  return text;
}

// A row of panels from the top `y` on; returns its right and lower ends.
Point LayRow(Canvas& canvas, const GridSheet& sheet, std::size_t first, std::size_t end, double y,
             bool draw) {
  std::vector<PanelHead> heads;
  double head = 0, tallest = 0, x = kSheetEdge;
  for (std::size_t p = first; p < end; ++p) {
    const Cells cells{sheet.panels[p], CellSide(sheet, sheet.panels[p])};
    heads.push_back(HeadOf(canvas, sheet.panels[p], cells.Width()));
    head = std::max(head, heads.back().height());
    tallest = std::max(tallest, cells.Height());
  }
  for (std::size_t p = first; p < end; ++p) {
    const GridPanel& panel = sheet.panels[p];
    const Cells cells{panel, CellSide(sheet, panel)};
    const Point at{x + kTickRoom, y + head};
    if (draw) {
      DrawHead(canvas, heads[p - first], {at.x, y});
      DrawCells(canvas, sheet, panel, at, cells.side);
      DrawPanelAxes(canvas, sheet, panel, at, cells.side);
    }
    double text = 0;
    for (const std::string& line : heads[p - first].title) {
      text = std::max(text, canvas.TextWidth(line, kTitleStyle));
    }
    for (const std::string& line : heads[p - first].note) {
      text = std::max(text, canvas.TextWidth(line, kNoteStyle));
    }
    x = at.x + std::ceil(std::max(cells.Width(), text)) + (p + 1 < end ? kGutter : 0);
  }
  return {x, y + head + tallest};
}

// Draws, or with draw false only finds the sheet's size.
Point LaySheet(Canvas& canvas, const GridSheet& sheet, double right, bool draw) {
  double y = kSheetEdge;
  double widest = 0;
  if (!sheet.title.empty()) {
    const TextStyle style{kSheetTitleSize, kInk, Anchor::kStart, true};
    if (draw) canvas.Text({kSheetEdge, y + 14}, sheet.title, style);
    widest = kSheetEdge + canvas.TextWidth(sheet.title, style);
    y += 30;
  }
  y = Legend(canvas, LegendEntries(sheet), y, right, draw) + 8;
  for (std::size_t first = 0; first < sheet.panels.size();) {
    const std::size_t end = EndOfRow(sheet, first);
    if (const std::string& section = sheet.panels[first].section; !section.empty()) {
      const TextStyle style{kSectionSize, kInk, Anchor::kStart, true};
      if (draw) {
        canvas.Line({kSheetEdge, y + 4}, {right, y + 4}, {kGridLine, 1, false});
        canvas.Text({kSheetEdge, y + 28}, section, style);
      }
      widest = std::max(widest, kSheetEdge + canvas.TextWidth(section, style));
      y += 44;
    }
    const Point corner = LayRow(canvas, sheet, first, end, y, draw);
    widest = std::max(widest, corner.x);
    y = corner.y + (end < sheet.panels.size() ? kGutter : 0);
    first = end;
  }
  return {widest + kSheetEdge, y + kSheetEdge};
}

}  // namespace

void CheckGrid(const GridSheet& sheet) {
  for (const GridPanel& panel : sheet.panels) {
    const auto cells = static_cast<std::size_t>(panel.rows * panel.columns);
    Check(panel.rows > 0 && panel.columns > 0 && panel.weight.size() == cells, ErrorCode::kUsage,
          "grid '{}': {} weights for {} x {} cells", panel.title, panel.weight.size(), panel.rows,
          panel.columns);
    Check(panel.group.empty() || panel.group.size() == cells, ErrorCode::kUsage,
          "grid '{}': {} groups for {} x {} cells", panel.title, panel.group.size(), panel.rows,
          panel.columns);
    Check(panel.shaded.empty() || panel.shaded.size() == static_cast<std::size_t>(panel.columns),
          ErrorCode::kUsage, "grid '{}': {} shaded flags for {} columns", panel.title,
          panel.shaded.size(), panel.columns);
    const std::uint8_t most =
        panel.group.empty() ? 0 : *std::max_element(panel.group.begin(), panel.group.end());
    Check(most < sheet.groups.size(), ErrorCode::kUsage, "grid '{}': group {} of {}", panel.title,
          most, sheet.groups.size());
  }
}

GridPanel Pool(const GridPanel& panel, idx_t rows, idx_t columns) {
  // One factor for both axes: cells stay square.
  const idx_t factor = std::max(CeilDiv(panel.rows, rows), CeilDiv(panel.columns, columns));
  if (factor <= 1) return panel;
  GridPanel pooled = panel;
  pooled.rows = CeilDiv(panel.rows, factor);
  pooled.columns = CeilDiv(panel.columns, factor);
  pooled.line_every = panel.line_every % factor == 0 ? panel.line_every / factor : 0;
  if (pooled.line_every == 1) pooled.line_every = 0;
  const auto cells = static_cast<std::size_t>(pooled.rows * pooled.columns);
  pooled.weight.assign(cells, 0);
  pooled.group.assign(panel.group.empty() ? 0 : cells, 0);
  pooled.shaded.assign(panel.shaded.empty() ? 0 : static_cast<std::size_t>(pooled.columns), 1);
  for (idx_t row = 0; row < panel.rows; ++row) {
    for (idx_t column = 0; column < panel.columns; ++column) {
      const std::size_t from = CellIndex(panel, row, column);
      const std::size_t to = CellIndex(pooled, row / factor, column / factor);
      if (panel.weight[from] <= pooled.weight[to]) continue;
      pooled.weight[to] = panel.weight[from];
      if (!panel.group.empty()) pooled.group[to] = panel.group[from];
    }
  }
  for (idx_t column = 0; !panel.shaded.empty() && column < panel.columns; ++column) {
    if (!IsShaded(panel, column)) pooled.shaded[static_cast<std::size_t>(column / factor)] = 0;
  }
  pooled.note +=
      fmt::format("{}one cell stands for {} x {}", panel.note.empty() ? "" : "; ", factor, factor);
  return pooled;
}

std::string DrawGrid(const GridSheet& sheet, PictureFormat format) {
  CheckGrid(sheet);
  GridSheet pooled = sheet;
  for (GridPanel& panel : pooled.panels) panel = Pool(panel, kMostCells, kMostCells);
  // The legend breaks where the panels end, so that the panels set the width.
  Canvas measure(PictureFormat::kPng, 8, 8);
  double right = 360.0;
  for (std::size_t first = 0; first < pooled.panels.size();) {
    const std::size_t end = EndOfRow(pooled, first);
    right = std::max(right, LayRow(measure, pooled, first, end, 0, false).x);
    first = end;
  }
  const Point size = LaySheet(measure, pooled, right, false);
  Canvas canvas(format, std::max(size.x, right + kSheetEdge), size.y);
  LaySheet(canvas, pooled, right, true);
  return canvas.Finish(sheet.title, Describe(sheet));
}

}  // namespace longspan::cli
