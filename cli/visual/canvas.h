// A sheet to draw on, in CSS pixels from the top left corner, that becomes an SVG or a PNG file.
// The one place that knows the cairo library.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "longspan/types.h"

namespace longspan::cli {

enum class PictureFormat { kSvg, kPng };

// By the extension, .svg or .png in any case; throws kUsage on any other.
PictureFormat FormatOf(const std::filesystem::path& file);

struct Color {
  double red = 0, green = 0, blue = 0, alpha = 1;
};

constexpr Color Rgb(std::uint32_t hex, double alpha = 1) {
  return {((hex >> 16) & 255) / 255.0, ((hex >> 8) & 255) / 255.0, (hex & 255) / 255.0, alpha};
}

// From `from` (t = 0) to `to` (t = 1).
Color Mix(const Color& from, const Color& to, double t);

inline constexpr Color kWhite = Rgb(0xffffff), kInk = Rgb(0x1f2430), kSoftInk = Rgb(0x5b6270),
                       kGridLine = Rgb(0xe4e7ec), kAxisLine = Rgb(0x9aa1ad);

// The same colour on dark paper: its lightness is turned round, its hue stays.
Color DarkForm(const Color& color);

// Okabe and Ito's colours, told apart by colour-blind readers too; the index wraps around.
inline constexpr idx_t kSeriesColors = 7;
Color SeriesColor(idx_t index);

struct Point {
  double x = 0, y = 0;
};
struct Box {
  double x = 0, y = 0, width = 0, height = 0;
};

enum class Anchor { kStart, kMiddle, kEnd };
struct TextStyle {
  double size = 13;
  Color color = kInk;
  Anchor anchor = Anchor::kStart;
  bool bold = false;
  bool upwards = false;  // reads from bottom to top
};
struct LineStyle {
  Color color = kInk;
  double width = 1;
  bool dashed = false;
};

class Canvas {
 public:
  // Device pixels of a PNG per CSS pixel: sharp on dense screens and in print.
  static constexpr double kPngScale = 2;

  // Throws kLimit when a side is beyond what a picture may have (16,000 CSS pixels).
  Canvas(PictureFormat format, double width, double height);
  ~Canvas();
  Canvas(const Canvas&) = delete;
  Canvas& operator=(const Canvas&) = delete;

  double width() const;
  double height() const;

  // Filled, as one path: cheap for many boxes of one colour.
  void Boxes(std::span<const Box> boxes, const Color& color);
  void FillBox(const Box& box, const Color& color) { Boxes({&box, 1}, color); }
  void Frame(const Box& box, const LineStyle& style);
  void Line(Point from, Point to, const LineStyle& style);
  void Polyline(std::span<const Point> points, const LineStyle& style);
  void Disc(Point center, double radius, const Color& color, const Color& rim);
  // `text` is made Printable first. `at` is on the baseline.
  void Text(Point at, std::string_view text, const TextStyle& style);
  double TextWidth(std::string_view text, const TextStyle& style);

  // Nothing is drawn outside `box` until Unclip.
  void Clip(const Box& box);
  void Unclip();

  // Ends the drawing and gives the file's bytes. An SVG carries `title` and `description` for
  // screen readers, search and hovering, and is dark where the reader's system is
  // (prefers-color-scheme): each colour is as far from the paper as before.
  std::string Finish(std::string_view title, std::string_view description);

 private:
  struct Handles;
  std::unique_ptr<Handles> handles_;
};

}  // namespace longspan::cli
