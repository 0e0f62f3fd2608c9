// Line charts of several series: as SVG or PNG, and as text for a terminal.
#pragma once

#include <string>
#include <vector>

#include "cli/visual/canvas.h"
#include "cli/visual/terminal.h"
#include "cli/visual/ticks.h"

namespace longspan::cli {

struct Series {
  std::string name;
  std::vector<double> x, y;  // same length, x rising; a y that is not finite breaks the line
  idx_t color = 0;           // index into SeriesColor
  bool marked = false;       // few points that count each, such as evaluations: with discs
  bool faint = false;        // thin and pale: stands behind the others
  bool dashed = false;       // a line of reference: what measurements are held against
  bool listed = true;        // stands in the legend, where it has a name
};

struct Axis {
  std::string label;  // quantity and unit: "loss (nats per byte)"
  bool log = false;
};

struct Chart {
  std::string title;
  std::string note;  // a small line below the title
  Axis x, y;
  std::vector<Series> series;
  // The y axis begins at 0 unless all values are so close to each other that they would lie in a
  // tenth of its height or less. Linear axes with positive values alone.
  bool from_zero = false;
  // Smooths the series that are not marked, with the raw line pale behind: an exponential moving
  // average, in which a record d places before weighs smoothing^d; a place is the mean distance of
  // two records on the axis as drawn. It is corrected for its beginning: the weights sum to 1
  // everywhere. 0 shows the values as they are.
  double smoothing = 0;
};

// The smoothing described above, of values at rising `places`. Values that are not finite stay as
// they are and weigh nothing. Each average lies between the smallest and the largest value before
// it.
std::vector<double> Smooth(const std::vector<double>& values, const std::vector<double>& places,
                           double weight);

// Throws kUsage when a logarithmic axis has no positive value, when x and y differ in length, and
// when the smoothing is not in [0, 1).
void CheckChart(const Chart& chart);

// An SVG or PNG file of 880 x 500 CSS pixels.
std::string DrawChart(const Chart& chart, PictureFormat format);

// Lines of text as wide as the terminal: braille dots, or letters where the locale is not UTF-8.
// Without colours, letters on the lines tell several series apart.
std::string PrintChart(const Chart& chart, const Terminal& terminal, idx_t plot_rows = 18);

// What Draw and Print show: the series with smoothing applied, raw ones faint and nameless before
// their averages, and the scales of both axes.
struct PreparedChart {
  std::vector<Series> series;
  Scale x, y;
};
PreparedChart Prepare(const Chart& chart);

}  // namespace longspan::cli
