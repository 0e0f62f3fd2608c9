// PrintGrid: cells made of characters.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string_view>

#include "cli/visual/grid.h"
#include "cli/visual/text.h"

namespace longspan::cli {
namespace {

constexpr Color kHiddenCell = Rgb(0xd0d5dd), kPaddingCell = Rgb(0xa89f91);
constexpr idx_t kGap = 3;  // columns between two panels

enum class Style { kColoredBlocks, kBlocks, kSymbols };

// 256-colour codes: the 6 x 6 x 6 cube is understood by nearly every terminal.
int ColorCode(const Color& color) {
  const auto level = [](double value) { return static_cast<int>(std::lround(value * 5)); };
  return 16 + 36 * level(color.red) + 6 * level(color.green) + level(color.blue);
}

struct PanelText {
  std::vector<std::string> head, lines;
  idx_t width = 0;
};

// The words of a text in lines of at most `columns` columns; a longer word is clipped.
std::vector<std::string> WrappedColumns(const std::string& text, idx_t columns) {
  std::vector<std::string> lines;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (!lines.empty() && Columns(lines.back()) + 1 + Columns(word) <= columns) {
      lines.back() += " " + word;
    } else {
      lines.push_back(ClipColumns(word, columns));
    }
  }
  return lines;
}

class Printer {
 public:
  Printer(const GridSheet& sheet, const Terminal& terminal) : sheet_(sheet), terminal_(terminal) {
    bool several = false;  // groups, shades or padding: what black and white cannot show
    for (const GridPanel& panel : sheet.panels) {
      const auto seen = [&](std::uint8_t g) { return g != panel.group.front(); };
      several |= std::any_of(panel.group.begin(), panel.group.end(), seen);
      several |= std::any_of(panel.weight.begin(), panel.weight.end(),
                             [](float weight) { return weight > 0 && weight < 1; });
      several |= std::any_of(panel.shaded.begin(), panel.shaded.end(),
                             [](std::uint8_t flag) { return flag != 0; });
    }
    style_ = terminal.utf8 && terminal.color ? Style::kColoredBlocks
             : terminal.utf8 && !several     ? Style::kBlocks
                                             : Style::kSymbols;
  }

  PanelText Panel(const GridPanel& whole) const {
    idx_t room = std::max<idx_t>(8, terminal_.width - kLeft);
    if (whole.cut && whole.line_every > 0) room -= room / (whole.line_every + 1);
    const GridPanel panel = Pool(whole, std::max<idx_t>(room, 8), room);
    PanelText text;
    text.width = panel.columns + Cuts(panel, panel.columns - 1) + kLeft;
    const idx_t words = std::max(text.width, terminal_.width / 2 - kGap);
    for (const std::string& part : {panel.title, panel.note}) {
      for (std::string& line : WrappedColumns(Printable(part), words)) {
        text.width = std::max(text.width, Columns(line));
        text.head.push_back(std::move(line));
      }
    }
    text.lines.push_back(Ruler(panel, whole));
    const idx_t per_line = style_ == Style::kSymbols ? 1 : 2;
    const idx_t factor = CeilDiv(whole.rows, panel.rows);
    for (idx_t row = 0; row < panel.rows; row += per_line) {
      const idx_t every = panel.line_every > 0 ? panel.line_every : 8;
      std::string line = row % every < per_line && row % every == 0
                             ? fmt::format("{:>4} ", row * factor)
                             : std::string(static_cast<std::size_t>(kLeft), ' ');
      std::string colors;  // set now: escape sequences only where they change
      for (idx_t column = 0; column < panel.columns; ++column) {
        if (column > 0 && Cuts(panel, column) != Cuts(panel, column - 1)) {
          if (!colors.empty()) line += kPlainColor;
          colors.clear();
          line += terminal_.utf8 ? "│" : "|";
        }
        const std::string wanted = CellColors(panel, row, column);
        if (wanted != colors) line += colors = wanted;
        line += Cell(panel, row, column);
      }
      if (style_ == Style::kColoredBlocks) line += kPlainColor;
      text.lines.push_back(line);
    }
    return text;
  }

  std::string Legend() const {
    std::vector<std::string> entries;
    for (std::size_t g = 0; g < sheet_.groups.size(); ++g) {
      if (!Seen(static_cast<int>(g)) || sheet_.groups[g].name.empty()) continue;
      entries.push_back(Sample(sheet_.groups[g].color, sheet_.groups[g].symbol) + " " +
                        Printable(sheet_.groups[g].name));
    }
    if (!entries.empty()) entries.push_back(Sample(kHiddenCell, HiddenSymbol()) + " not visible");
    if (Seen(-2)) entries.push_back(Sample(kPaddingCell, kPaddingSymbol) + " padding, not visible");
    std::string out, line;
    for (const std::string& entry : entries) {
      if (!line.empty() && Columns(line) + 3 + Columns(entry) > terminal_.width) {
        out += line + "\n";
        line.clear();
      }
      line += (line.empty() ? "" : "   ") + entry;
    }
    return line.empty() ? out : out + line + "\n";
  }

 private:
  static constexpr idx_t kLeft = 5;
  static constexpr char kPaddingSymbol = '-';

  static char HiddenSymbol() { return '.'; }

  // Signs between chunks that are cut apart, up to this column.
  static idx_t Cuts(const GridPanel& panel, idx_t column) {
    return panel.cut && panel.line_every > 0 ? column / panel.line_every : 0;
  }

  // Group of a cell; -1 hidden, -2 hidden and padding.
  static int GroupOf(const GridPanel& panel, idx_t row, idx_t column) {
    const auto i = static_cast<std::size_t>(row * panel.columns + column);
    if (panel.weight[i] > 0) return panel.group.empty() ? 0 : panel.group[i];
    return !panel.shaded.empty() && panel.shaded[static_cast<std::size_t>(column)] != 0 ? -2 : -1;
  }
  bool Seen(int group) const {
    for (const GridPanel& panel : sheet_.panels) {
      for (idx_t row = 0; row < panel.rows; ++row) {
        for (idx_t column = 0; column < panel.columns; ++column) {
          if (GroupOf(panel, row, column) == group) return true;
        }
      }
    }
    return false;
  }

  Color ColorOf(const GridPanel& panel, idx_t row, idx_t column) const {
    const int group = GroupOf(panel, row, column);
    if (group < 0) return group == -2 ? kPaddingCell : kHiddenCell;
    const float weight = panel.weight[static_cast<std::size_t>(row * panel.columns + column)];
    return Mix(kHiddenCell, sheet_.groups[static_cast<std::size_t>(group)].color,
               std::min(1.0f, weight));
  }

  std::string Symbol(const GridPanel& panel, idx_t row, idx_t column) const {
    const int group = GroupOf(panel, row, column);
    if (group < 0) return std::string(1, group == -2 ? kPaddingSymbol : HiddenSymbol());
    const float weight = panel.weight[static_cast<std::size_t>(row * panel.columns + column)];
    const bool one_group = sheet_.groups.size() == 1;
    if (one_group && weight < 1) {  // how dark, when the symbol is not needed for the group
      constexpr std::string_view kDensity = ":-=+*%@";
      const auto level = static_cast<std::size_t>(weight * static_cast<float>(kDensity.size()));
      return std::string(1, kDensity[std::min(level, kDensity.size() - 1)]);
    }
    return std::string(1, sheet_.groups[static_cast<std::size_t>(group)].symbol);
  }

  std::string Cell(const GridPanel& panel, idx_t row, idx_t column) const {
    if (style_ == Style::kSymbols) return Symbol(panel, row, column);
    if (style_ == Style::kBlocks) {
      const bool upper = GroupOf(panel, row, column) >= 0;
      const bool lower = row + 1 < panel.rows && GroupOf(panel, row + 1, column) >= 0;
      return upper ? (lower ? "█" : "▀") : (lower ? "▄" : " ");
    }
    return "▀";  // upper half in the foreground colour, lower half in the background's
  }

  std::string CellColors(const GridPanel& panel, idx_t row, idx_t column) const {
    if (style_ != Style::kColoredBlocks) return "";
    const int upper = ColorCode(ColorOf(panel, row, column));
    if (row + 1 >= panel.rows) return fmt::format("\x1b[38;5;{}m\x1b[49m", upper);
    return fmt::format("\x1b[38;5;{};48;5;{}m", upper, ColorCode(ColorOf(panel, row + 1, column)));
  }

  std::string Ruler(const GridPanel& panel, const GridPanel& whole) const {
    const idx_t factor = CeilDiv(whole.columns, panel.columns);
    const idx_t chunk = panel.line_every > 0 ? panel.line_every : 8;
    std::string ruler(static_cast<std::size_t>(kLeft), ' ');
    for (idx_t column = 0; column < panel.columns; column += chunk) {
      const std::string label = fmt::format("{}", column * factor);
      const idx_t at = kLeft + column + Cuts(panel, column);
      if (static_cast<idx_t>(ruler.size()) > at) continue;
      ruler.resize(static_cast<std::size_t>(at), ' ');
      ruler += label;
      if (chunk < 6) ruler += ' ';
    }
    return ruler;
  }

  std::string Sample(const Color& color, char symbol) const {
    if (style_ == Style::kColoredBlocks) {
      return fmt::format("\x1b[38;5;{}m██{}", ColorCode(color), kPlainColor);
    }
    if (style_ == Style::kBlocks) return symbol == HiddenSymbol() ? "' '" : "█";
    return std::string(1, symbol);
  }

  const GridSheet& sheet_;
  const Terminal& terminal_;
  Style style_;
};

}  // namespace

std::string PrintGrid(const GridSheet& sheet, const Terminal& terminal) {
  CheckGrid(sheet);
  const Printer printer(sheet, terminal);
  std::string out;
  if (!sheet.title.empty()) out += ClipColumns(Printable(sheet.title), terminal.width) + "\n";
  out += ClipColumns(fmt::format("rows: {}, columns: {}", Printable(sheet.row_label),
                                 Printable(sheet.column_label)),
                     terminal.width) +
         "\n";
  out += printer.Legend();
  for (std::size_t first = 0; first < sheet.panels.size();) {
    if (const std::string& section = sheet.panels[first].section; !section.empty()) {
      out += "\n" + ClipColumns("== " + Printable(section), terminal.width) + "\n";
    }
    // As many panels side by side as fit.
    std::vector<PanelText> row;
    idx_t width = 0;
    while (first < sheet.panels.size()) {
      PanelText text = printer.Panel(sheet.panels[first]);
      const bool fits = width + kGap + text.width <= terminal.width &&
                        static_cast<idx_t>(row.size()) < sheet.panels_across;
      if (!row.empty() && (!fits || !sheet.panels[first].section.empty())) break;
      width += (row.empty() ? 0 : kGap) + text.width;
      row.push_back(std::move(text));
      ++first;
    }
    std::size_t head = 0, tallest = 0;  // cells begin on one line
    for (const PanelText& text : row) head = std::max(head, text.head.size());
    for (PanelText& text : row) {
      text.head.resize(head);
      text.lines.insert(text.lines.begin(), text.head.begin(), text.head.end());
      tallest = std::max(tallest, text.lines.size());
    }
    out += "\n";
    for (std::size_t i = 0; i < tallest; ++i) {
      std::string line;
      for (std::size_t p = 0; p < row.size(); ++p) {
        const std::string cell = i < row[p].lines.size() ? row[p].lines[i] : "";
        const bool last = p + 1 == row.size();
        line += last ? cell : PadColumns(cell, row[p].width + kGap);
      }
      out += line.erase(line.find_last_not_of(' ') + 1) + "\n";
    }
  }
  return out;
}

}  // namespace longspan::cli
