#include "cli/visual/chart.h"

#include <algorithm>
#include <cmath>

#include "cli/check.h"

namespace longspan::cli {
namespace {

constexpr double kWidth = 880, kHeight = 500;
constexpr double kRight = 28, kBottom = 62, kEdge = 18;
constexpr double kTickSize = 12, kLabelSize = 13, kTitleSize = 17;

struct Layout {
  Box plot;
  Scale x, y;
  Point At(double vx, double vy) const {
    return {plot.x + x.Fraction(vx) * plot.width, plot.y + (1 - y.Fraction(vy)) * plot.height};
  }
};

bool Shown(const Scale& scale, double value) {
  return std::abs(scale.Fraction(value)) <= 2;  // not for NaN, infinite, and not positive on log
}

// Pieces of a line between the values that cannot be shown.
std::vector<std::vector<Point>> Pieces(const Series& series, const Layout& layout) {
  std::vector<std::vector<Point>> pieces(1);
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    if (Shown(layout.x, series.x[i]) && Shown(layout.y, series.y[i])) {
      pieces.back().push_back(layout.At(series.x[i], series.y[i]));
    } else if (!pieces.back().empty()) {
      pieces.emplace_back();
    }
  }
  return pieces;
}

// More points than pixels say nothing more: keeps first, lowest, highest and last of each pixel
// column, in order, so that spikes stay and files stay small.
std::vector<Point> Thin(const std::vector<Point>& points) {
  if (points.size() < 2000) return points;
  std::vector<Point> out;
  for (std::size_t begin = 0; begin < points.size();) {
    std::size_t end = begin, low = begin, high = begin;
    while (end < points.size() &&
           std::floor(points[end].x * 2) == std::floor(points[begin].x * 2)) {
      if (points[end].y < points[low].y) low = end;
      if (points[end].y > points[high].y) high = end;
      ++end;
    }
    std::size_t last = points.size();  // none yet
    for (const std::size_t i : {begin, std::min(low, high), std::max(low, high), end - 1}) {
      if (i != last) out.push_back(points[i]);
      last = i;
    }
    begin = end;
  }
  return out;
}

void DrawSeries(Canvas& canvas, const Series& series, const Layout& layout) {
  const Color color = SeriesColor(series.color);
  const Color pale = Mix(kWhite, color, 0.35);
  const bool dense = series.x.size() > 300;  // noise needs a finer pen
  const double width = series.faint ? 1.0 : dense && !series.marked ? 1.5 : 2.0;
  const LineStyle style{series.faint ? pale : color, width, series.dashed};
  for (const std::vector<Point>& piece : Pieces(series, layout)) {
    if (piece.size() == 1 && !series.marked) canvas.Disc(piece[0], 2, style.color, style.color);
    canvas.Polyline(Thin(piece), style);
    if (!series.marked || piece.size() > 60) continue;
    for (const Point& point : piece) canvas.Disc(point, 3.4, color, kWhite);
  }
}

// One entry: a piece of line and the name. Returns the width that it takes.
double LegendEntry(Canvas* canvas, Canvas& measure, const Series& series, Point at) {
  constexpr double kSample = 22, kGap = 7, kSpace = 22;
  const TextStyle style{kLabelSize, kInk};
  if (canvas != nullptr) {
    const Color color = SeriesColor(series.color);
    const double y = at.y - 4.5;
    const Color line = series.faint ? Mix(kWhite, color, 0.35) : color;
    canvas->Line({at.x, y}, {at.x + kSample, y}, {line, series.faint ? 1.5 : 2.5, series.dashed});
    if (series.marked) canvas->Disc({at.x + kSample / 2, y}, 3.4, color, kWhite);
    canvas->Text({at.x + kSample + kGap, at.y}, series.name, style);
  }
  return kSample + kGap + measure.TextWidth(series.name, style) + kSpace;
}

// Rows of entries below the title, from the top `y` on; returns where they end. With `draw` false
// only measures.
double Legend(Canvas& canvas, const std::vector<Series>& series, double y, bool draw) {
  constexpr double kRow = 20;
  double x = kEdge;
  bool any = false;
  for (const Series& entry : series) {
    if (entry.name.empty() || !entry.listed) continue;
    const double width = LegendEntry(nullptr, canvas, entry, {});
    if (x > kEdge && x + width > kWidth - kEdge) {
      x = kEdge;
      y += kRow;
    }
    if (draw) LegendEntry(&canvas, canvas, entry, {x, y + 14});
    x += width;
    any = true;
  }
  return any ? y + kRow : y;
}

void DrawAxes(Canvas& canvas, const Layout& layout, const Chart& chart) {
  const Box& plot = layout.plot;
  const double bottom = plot.y + plot.height;
  for (const Tick& tick : Ticks(layout.y, 6)) {
    const double y = layout.At(layout.x.low, tick.value).y;
    const bool minor = tick.label.empty();
    canvas.Line({plot.x, y}, {plot.x + plot.width, y},
                {minor ? Mix(kWhite, kGridLine, 0.55) : kGridLine, 1, false});
    canvas.Text({plot.x - 9, y + 4.3}, tick.label, {kTickSize, kSoftInk, Anchor::kEnd});
  }
  canvas.Line({plot.x, bottom}, {plot.x + plot.width, bottom}, {kAxisLine, 1.2, false});
  double free_from = 0;  // labels must not touch
  for (const Tick& tick : Ticks(layout.x, 8)) {
    const double x = layout.At(tick.value, layout.y.low).x;
    const TextStyle style{kTickSize, kSoftInk, Anchor::kMiddle};
    const double half = canvas.TextWidth(tick.label, style) / 2;
    const bool minor = tick.label.empty();
    canvas.Line({x, bottom}, {x, bottom + (minor ? 3.0 : 5.0)}, {kAxisLine, 1, false});
    if (minor || x - half < free_from) continue;
    canvas.Text({x, bottom + 19}, tick.label, style);
    free_from = x + half + 6;
  }
  canvas.Text({plot.x + plot.width / 2, bottom + 44}, chart.x.label,
              {kLabelSize, kInk, Anchor::kMiddle});
  canvas.Text({kEdge + 10, plot.y + plot.height / 2}, chart.y.label,
              {kLabelSize, kInk, Anchor::kMiddle, false, true});
}

// Where the records of a series stand on the axis, in mean distances between two of them.
std::vector<double> Places(const std::vector<double>& x, bool log) {
  const auto place = [&](double value) {
    return log ? std::log(std::max(value, 1e-300)) : value;  // what is not positive is not drawn
  };
  const auto first = std::find_if(x.begin(), x.end(), [&](double v) { return !log || v > 0; });
  std::vector<double> places(x.size(), 0);
  if (first == x.end()) return places;
  const double origin = place(*first), length = place(x.back()) - origin;
  for (std::size_t i = 0; i < x.size() && length > 0; ++i) {
    const double along = std::max(0.0, place(x[i]) - origin) / length;
    places[i] = along * static_cast<double>(x.size() - 1);
  }
  return places;
}

// All of them are counts, such as steps and rounds.
bool AreWhole(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double v) { return v == std::round(v); });
}

// A count that starts at 1 is shown from 0, and an end just short of a round number at it.
void RoundOut(Scale& scale) {
  if (scale.low > 0 && scale.low < 0.05 * scale.high) scale.low = 0;
  const double length = scale.high - scale.low;
  for (const Tick& tick : Ticks({scale.low, scale.high + 0.03 * length, false, scale.whole}, 8)) {
    if (tick.value > scale.high) scale.high = tick.value;
  }
}

// Values that lie close together far from 0 would be one flat line on an axis from 0.
void BeginAtZero(const std::vector<double>& values, Scale& scale) {
  if (values.empty()) return;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  if (*low >= 0 && *high - *low > 0.1 * *high) scale.low = 0;
}

std::string Describe(const Chart& chart) {
  std::string text = fmt::format("Line chart of {} against {}.", chart.y.label, chart.x.label);
  for (const Series& series : chart.series) {
    if (series.name.empty() || series.y.empty()) continue;
    text += fmt::format(" {}: {} points, last {} at {}.", series.name, series.y.size(),
                        ShortNumber(series.y.back()), ShortNumber(series.x.back()));
  }
  return text;
}

}  // namespace

std::vector<double> Smooth(const std::vector<double>& values, const std::vector<double>& places,
                           double weight) {
  std::vector<double> out = values;
  double sum = 0, weights = 0;  // over the values so far, the newest with weight 1
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double decay = i == 0 ? 0 : std::pow(weight, places[i] - places[i - 1]);
    sum *= decay;
    weights *= decay;
    if (!std::isfinite(values[i])) continue;
    sum += values[i];
    weights += 1;
    out[i] = sum / weights;
  }
  return out;
}

void CheckChart(const Chart& chart) {
  Check(chart.smoothing >= 0 && chart.smoothing < 1, ErrorCode::kUsage,
        "chart: smoothing {} is not in [0, 1)", chart.smoothing);
  bool positive_x = false, positive_y = false;
  for (const Series& series : chart.series) {
    Check(series.x.size() == series.y.size(), ErrorCode::kUsage,
          "chart: series '{}' has {} x and {} y values", series.name, series.x.size(),
          series.y.size());
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      positive_x |= std::isfinite(series.x[i]) && series.x[i] > 0;
      positive_y |= std::isfinite(series.y[i]) && series.y[i] > 0;
    }
  }
  Check(!chart.x.log || positive_x, ErrorCode::kUsage,
        "chart: no value of '{}' is positive, a logarithmic axis has no place for them",
        chart.x.label);
  Check(!chart.y.log || positive_y, ErrorCode::kUsage,
        "chart: no value of '{}' is positive, a logarithmic axis has no place for them",
        chart.y.label);
}

PreparedChart Prepare(const Chart& chart) {
  CheckChart(chart);
  PreparedChart prepared;
  std::vector<Series> fronts;
  for (const Series& series : chart.series) {
    const bool smooth = chart.smoothing > 0 && !series.marked;
    if (smooth) {
      prepared.series.push_back(series);
      prepared.series.back().name.clear();
      prepared.series.back().faint = true;
    }
    fronts.push_back(series);
    if (smooth) fronts.back().y = Smooth(series.y, Places(series.x, chart.x.log), chart.smoothing);
  }
  // Marked series stand in front of the others.
  std::stable_partition(fronts.begin(), fronts.end(), [](const Series& s) { return !s.marked; });
  // Between few points a line alone does not say where they are.
  constexpr std::size_t kFewPoints = 10;
  for (Series& series : fronts) series.marked |= series.x.size() < kFewPoints;
  prepared.series.insert(prepared.series.end(), fronts.begin(), fronts.end());
  std::vector<double> xs, ys;
  for (const Series& series : prepared.series) {
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      if (!std::isfinite(series.y[i]) || (chart.y.log && series.y[i] <= 0)) continue;
      xs.push_back(series.x[i]);
      if (!chart.x.log || series.x[i] > 0) ys.push_back(series.y[i]);
    }
  }
  prepared.x = FitScale(xs, chart.x.log, 0);
  prepared.x.whole = AreWhole(xs);
  if (!chart.x.log) RoundOut(prepared.x);
  prepared.y = FitScale(ys, chart.y.log, 0.05);
  if (chart.from_zero && !chart.y.log) BeginAtZero(ys, prepared.y);
  return prepared;
}

std::string DrawChart(const Chart& chart, PictureFormat format) {
  const PreparedChart prepared = Prepare(chart);
  Canvas canvas(format, kWidth, kHeight);
  double top = kEdge;
  if (!chart.title.empty()) {
    canvas.Text({kEdge, top + 15}, chart.title, {kTitleSize, kInk, Anchor::kStart, true});
    top += 28;
  }
  if (!chart.note.empty()) {
    canvas.Text({kEdge, top + 11}, chart.note, {kTickSize, kSoftInk});
    top += 22;
  }
  top = Legend(canvas, prepared.series, top, true) + 12;

  double widest = 0;  // of the y axis' labels
  for (const Tick& tick : Ticks(prepared.y, 6)) {
    widest = std::max(widest, canvas.TextWidth(tick.label, {kTickSize, kSoftInk}));
  }
  const double left = kEdge + 30 + widest;
  Layout layout{
      {left, top, kWidth - left - kRight, kHeight - top - kBottom}, prepared.x, prepared.y};
  DrawAxes(canvas, layout, chart);
  // Room for the strokes at the plot's edges.
  canvas.Clip(
      {layout.plot.x - 5, layout.plot.y - 5, layout.plot.width + 10, layout.plot.height + 10});
  for (const Series& series : prepared.series) DrawSeries(canvas, series, layout);
  canvas.Unclip();
  return canvas.Finish(chart.title, Describe(chart));
}

}  // namespace longspan::cli
