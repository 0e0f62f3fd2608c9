// PrintChart: a chart made of characters.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string_view>
#include <vector>

#include "cli/visual/chart.h"
#include "cli/visual/text.h"

namespace longspan::cli {
namespace {

constexpr std::array<std::string_view, 7> kColorCodes = {
    "\x1b[34m", "\x1b[33m", "\x1b[32m", "\x1b[35m", "\x1b[36m", "\x1b[31m", "\x1b[90m"};
constexpr std::string_view kAsciiMarks = "*o+x#@%&=$~^";

// The plot's characters. Braille packs 2 x 4 dots into one; ASCII has one dot a character.
class DotField {
 public:
  DotField(idx_t columns, idx_t rows, bool braille)
      : columns_(columns),
        rows_(rows),
        across_(braille ? 2 : 1),
        down_(braille ? 4 : 1),
        cells_(static_cast<std::size_t>(columns * rows)) {}

  idx_t dots_across() const { return columns_ * across_; }
  idx_t dots_down() const { return rows_ * down_; }

  struct Cell {
    std::uint8_t dots = 0;
    idx_t series = -1;  // that drew here last
    char letter = 0;    // in place of the dots
  };
  Cell& at(idx_t column, idx_t row) {
    return cells_[static_cast<std::size_t>(row * columns_ + column)];
  }

  void Dot(idx_t x, idx_t y, idx_t series) {
    if (x < 0 || y < 0 || x >= dots_across() || y >= dots_down()) return;
    // Bits of a braille character (U+2800 + bits), by row and column of the dot.
    constexpr std::uint8_t kBits[4][2] = {{1, 8}, {2, 16}, {4, 32}, {64, 128}};
    Cell& cell = at(x / across_, y / down_);
    cell.dots |= kBits[y % down_][x % across_];
    cell.series = series;
  }

  void Line(idx_t x0, idx_t y0, idx_t x1, idx_t y1, idx_t series) {
    const idx_t steps = std::max({std::abs(x1 - x0), std::abs(y1 - y0), idx_t{1}});
    for (idx_t i = 0; i <= steps; ++i) {
      const double t = static_cast<double>(i) / static_cast<double>(steps);
      Dot(std::lround(static_cast<double>(x0) + t * static_cast<double>(x1 - x0)),
          std::lround(static_cast<double>(y0) + t * static_cast<double>(y1 - y0)), series);
    }
  }

  // A letter every `spacing` columns on the cells of `series`, so that it can be told apart.
  void Letters(idx_t series, char letter, idx_t spacing) {
    for (idx_t column = series * 3 % spacing; column < columns_; column += spacing) {
      for (idx_t row = 0; row < rows_; ++row) {
        if (at(column, row).series != series) continue;
        at(column, row).letter = letter;
        break;
      }
    }
  }

 private:
  idx_t columns_, rows_, across_, down_;
  std::vector<Cell> cells_;
};

std::string BrailleCharacter(std::uint8_t dots) {
  const unsigned point = 0x2800u + dots;
  return {static_cast<char>(0xE0 | (point >> 12)), static_cast<char>(0x80 | ((point >> 6) & 63)),
          static_cast<char>(0x80 | (point & 63))};
}

// Colours are the picture's, so lines may share one there: discs and pale lines tell them apart. A
// terminal has neither. A line's letter, and in ASCII its mark, are those of its legend's entry.
struct Painter {
  const PreparedChart& prepared;
  const Terminal& terminal;
  std::vector<idx_t> entries;  // of the legend: series that have a name and are listed

  Painter(const PreparedChart& chart, const Terminal& where) : prepared(chart), terminal(where) {
    for (idx_t s = 0; s < static_cast<idx_t>(chart.series.size()); ++s) {
      if (!Get(s).name.empty() && Get(s).listed) entries.push_back(s);
    }
  }

  const Series& Get(idx_t series) const {
    return prepared.series[static_cast<std::size_t>(series)];
  }
  std::string_view ColorCode(idx_t series) const {
    return kColorCodes[static_cast<std::size_t>(Get(series).color) % kColorCodes.size()];
  }
  // The place of its entry: its own, else that of its colour. Without one: behind the last.
  std::size_t Entry(idx_t series) const {
    const auto own = std::find(entries.begin(), entries.end(), series);
    if (own != entries.end()) return static_cast<std::size_t>(own - entries.begin());
    const auto same = std::find_if(entries.begin(), entries.end(), [&](idx_t entry) {
      return Get(entry).color == Get(series).color;
    });
    return static_cast<std::size_t>(same - entries.begin());
  }
  char Mark(idx_t series) const { return kAsciiMarks[Entry(series) % kAsciiMarks.size()]; }
  char Letter(idx_t series) const { return static_cast<char>('a' + Entry(series) % 26); }

  bool EntriesShareAColor() const {
    std::set<std::string_view> colors;
    for (const idx_t entry : entries) colors.insert(ColorCode(entry));
    return colors.size() < entries.size();
  }
  bool letters() const {
    return terminal.utf8 && entries.size() > 1 && (!terminal.color || EntriesShareAColor());
  }

  void Draw(DotField& field) const {
    const bool lettered = letters();
    for (idx_t s = 0; s < static_cast<idx_t>(prepared.series.size()); ++s) {
      const Series& series = Get(s);
      // Behind an average, raw values would only blot the few dots there are.
      if (series.faint && series.name.empty()) continue;
      bool pen_down = false;
      idx_t last_x = 0, last_y = 0;
      for (std::size_t i = 0; i < series.x.size(); ++i) {
        const double fx = prepared.x.Fraction(series.x[i]), fy = prepared.y.Fraction(series.y[i]);
        if (!(std::abs(fx) <= 2) || !(std::abs(fy) <= 2)) {  // NaN too
          pen_down = false;
          continue;
        }
        const idx_t x = std::lround(fx * static_cast<double>(field.dots_across() - 1));
        const idx_t y = std::lround((1 - fy) * static_cast<double>(field.dots_down() - 1));
        field.Line(pen_down ? last_x : x, pen_down ? last_y : y, x, y, s);
        pen_down = true;
        last_x = x;
        last_y = y;
      }
      if (lettered && !series.name.empty()) field.Letters(s, Letter(s), 12);
    }
  }

  std::string Cell(const DotField::Cell& cell) const {
    if (cell.series < 0) return " ";
    std::string shown = terminal.utf8 ? BrailleCharacter(cell.dots) : std::string();
    if (!terminal.utf8) shown = Mark(cell.series);
    if (cell.letter != 0) shown = cell.letter;
    return Colored(cell.series, shown);
  }
  std::string Colored(idx_t series, const std::string& shown) const {
    return terminal.color ? fmt::format("{}{}{}", ColorCode(series), shown, kPlainColor) : shown;
  }

  // Entries separated by three spaces, in lines as wide as the terminal.
  std::string Legend() const {
    const bool lettered = letters();
    std::string out, line;
    for (const idx_t s : entries) {
      std::string sample = terminal.utf8 ? "──" : std::string(2, Mark(s));
      if (lettered) sample = std::string(1, Letter(s));
      const std::string entry = fmt::format("{} {}", Colored(s, sample), Printable(Get(s).name));
      if (!line.empty() && Columns(line) + 3 + Columns(entry) > terminal.width) {
        out += line + "\n";
        line.clear();
      }
      line += (line.empty() ? "" : "   ") + ClipColumns(entry, terminal.width);
    }
    return line.empty() ? out : out + line + "\n";
  }
};

// The line of numbers below the x axis; the plot begins at column `left`.
std::string XLabels(const Scale& scale, idx_t left, idx_t columns) {
  std::string line(static_cast<std::size_t>(left + columns), ' ');
  idx_t free_from = 0;
  const int count = static_cast<int>(std::max<idx_t>(2, columns / 12));
  for (const Tick& tick : Ticks(scale, count)) {
    const idx_t size = static_cast<idx_t>(tick.label.size());
    const idx_t center =
        left + std::lround(scale.Fraction(tick.value) * static_cast<double>(columns - 1));
    const idx_t begin = std::clamp<idx_t>(center - size / 2, 0, left + columns - size);
    if (size == 0 || begin < free_from) continue;
    line.replace(static_cast<std::size_t>(begin), tick.label.size(), tick.label);
    free_from = begin + size + 1;
  }
  return line.erase(line.find_last_not_of(' ') + 1);
}

}  // namespace

std::string PrintChart(const Chart& chart, const Terminal& terminal, idx_t plot_rows) {
  const PreparedChart prepared = Prepare(chart);
  const Painter painter(prepared, terminal);

  std::vector<std::string> labels(static_cast<std::size_t>(plot_rows));
  idx_t label_width = 1;
  for (const Tick& tick : Ticks(prepared.y, static_cast<int>(std::max<idx_t>(2, plot_rows / 3)))) {
    const double from_top = 1 - prepared.y.Fraction(tick.value);
    const idx_t row = std::lround(from_top * static_cast<double>(plot_rows - 1));
    if (row < 0 || row >= plot_rows || tick.label.empty()) continue;
    labels[static_cast<std::size_t>(row)] = tick.label;
    label_width = std::max(label_width, static_cast<idx_t>(tick.label.size()));
  }
  const idx_t left = label_width + 2;
  const idx_t columns = std::max<idx_t>(8, terminal.width - left);
  DotField field(columns, plot_rows, terminal.utf8);
  painter.Draw(field);

  std::string out;
  if (!chart.title.empty()) out += ClipColumns(Printable(chart.title), terminal.width) + "\n";
  if (!chart.note.empty()) out += ClipColumns(Printable(chart.note), terminal.width) + "\n";
  out += painter.Legend();
  out += ClipColumns(Printable(chart.y.label), terminal.width) + "\n";
  for (idx_t row = 0; row < plot_rows; ++row) {
    const std::string& label = labels[static_cast<std::size_t>(row)];
    const std::string_view line =
        label.empty() ? (terminal.utf8 ? "│" : "|") : (terminal.utf8 ? "┤" : "+");
    std::string text = fmt::format("{:>{}} {}", label, label_width, line);
    std::string cells;
    for (idx_t column = 0; column < columns; ++column) cells += painter.Cell(field.at(column, row));
    text += cells.erase(cells.find_last_not_of(' ') + 1);
    out += text + "\n";
  }
  std::string axis(static_cast<std::size_t>(label_width + 1), ' ');
  axis += terminal.utf8 ? "└" : "+";
  for (idx_t column = 0; column < columns; ++column) axis += terminal.utf8 ? "─" : "-";
  out += axis + "\n" + XLabels(prepared.x, left, columns) + "\n";
  const idx_t label_at = left + std::max<idx_t>(0, (columns - Columns(chart.x.label)) / 2);
  out += std::string(static_cast<std::size_t>(label_at), ' ') +
         ClipColumns(Printable(chart.x.label), columns) + "\n";
  return out;
}

}  // namespace longspan::cli
