#include "cli/visual/canvas.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numbers>
#include <set>

#include "cli/check.h"
#include "cli/visual/cairo_library.h"
#include "cli/visual/text.h"

namespace longspan::cli {
namespace {

constexpr double kLargestSide = 16000;  // cairo's limit is 32767 device pixels

// One rule for each colour that the drawing has, as cairo writes it in styles or attributes.
std::string DarkRules(const std::string& svg) {
  std::set<std::string> colors;
  for (std::size_t at = svg.find("rgb("); at != std::string::npos; at = svg.find("rgb(", at + 4)) {
    colors.insert(svg.substr(at, svg.find(')', at) + 1 - at));
  }
  std::string rules;
  for (const std::string& name : colors) {
    double red = 0, green = 0, blue = 0;
    if (std::sscanf(name.c_str(), "rgb(%lf%%,%lf%%,%lf%%)", &red, &green, &blue) != 3) continue;
    const Color dark = DarkForm({red / 100, green / 100, blue / 100, 1});
    for (const char* const property : {"fill", "stroke"}) {
      rules += fmt::format(
          "[style*=\"{0}:{1}\"],[{0}=\"{1}\"]{{{0}:rgb({2:.1f}%,{3:.1f}%,{4:.1f}%)!important}}\n",
          property, name, 100 * dark.red, 100 * dark.green, 100 * dark.blue);
    }
  }
  return "<style>@media (prefers-color-scheme: dark) {\n" + rules + "}</style>";
}

cairo_status_t Append(void* bytes, const unsigned char* data, unsigned int length) {
  static_cast<std::string*>(bytes)->append(reinterpret_cast<const char*>(data), length);
  return CAIRO_STATUS_SUCCESS;
}

}  // namespace

PictureFormat FormatOf(const std::filesystem::path& file) {
  const std::string extension = LowerAscii(file.extension().string());
  if (extension == ".svg") return PictureFormat::kSvg;
  Check(extension == ".png", ErrorCode::kUsage,
        "{}: pictures are written as .svg or .png, not as '{}'", Printable(file.string()),
        Printable(file.extension().string()));
  return PictureFormat::kPng;
}

Color Mix(const Color& from, const Color& to, double t) {
  const auto mix = [t](double a, double b) { return a + (b - a) * t; };
  return {mix(from.red, to.red), mix(from.green, to.green), mix(from.blue, to.blue),
          mix(from.alpha, to.alpha)};
}

Color DarkForm(const Color& color) {
  constexpr double kPaper = 0.085, kBrightest = 0.93;  // lightness
  constexpr double kMuted = 0.7;                       // full saturation glares on dark paper
  const double high = std::max({color.red, color.green, color.blue});
  const double low = std::min({color.red, color.green, color.blue});
  const double light = (high + low) / 2;
  const double wanted = kBrightest - light * (kBrightest - kPaper);
  // In HSL the distance from grey is a share of what the lightness allows.
  const double room = 1 - std::abs(2 * light - 1);
  const double saturation = room > 1e-9 ? (high - low) / room : 0;
  const double stretch =
      high - low > 1e-9 ? kMuted * saturation * (1 - std::abs(2 * wanted - 1)) / (high - low) : 0;
  const auto turned = [&](double part) { return wanted + (part - light) * stretch; };
  return {turned(color.red), turned(color.green), turned(color.blue), color.alpha};
}

Color SeriesColor(idx_t index) {
  constexpr std::array<std::uint32_t, kSeriesColors> kColors = {
      0x0072b2, 0xd55e00, 0x009e73, 0xcc79a7, 0xe69f00, 0x56b4e9, 0x5b6270};
  return Rgb(kColors[static_cast<std::size_t>(index) % kColors.size()]);
}

struct Canvas::Handles {
  PictureFormat format;
  double width, height;
  std::string bytes;  // what an SVG surface writes into: lives longer than the surface
  cairo_surface_t* surface = nullptr;
  cairo_t* cairo = nullptr;

  void SetColor(const Color& color) {
    CAIRO(set_source_rgba)(cairo, color.red, color.green, color.blue, color.alpha);
  }
  void SetFont(const TextStyle& style) {
    CAIRO(select_font_face)
    (cairo, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
     style.bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    CAIRO(set_font_size)(cairo, style.size);
  }
  void Stroke(const LineStyle& style) {
    constexpr double kDash[] = {6, 4};
    SetColor(style.color);
    CAIRO(set_line_width)(cairo, style.width);
    CAIRO(set_dash)(cairo, kDash, style.dashed ? 2 : 0, 0);
    CAIRO(stroke)(cairo);
  }
  ~Handles() {
    if (cairo != nullptr) CAIRO(destroy)(cairo);
    if (surface != nullptr) CAIRO(surface_destroy)(surface);
  }
};

Canvas::Canvas(PictureFormat format, double width, double height)
    : handles_(std::make_unique<Handles>()) {
  Check(width <= kLargestSide && height <= kLargestSide, ErrorCode::kLimit,
        "picture: {:.0f} x {:.0f} pixels are more than {:.0f} a side", width, height, kLargestSide);
  Handles& h = *handles_;
  h.format = format;
  h.width = std::ceil(width);
  h.height = std::ceil(height);
  if (format == PictureFormat::kSvg) {
    h.surface = CAIRO(svg_surface_create_for_stream)(Append, &h.bytes, h.width, h.height);
    CAIRO(svg_surface_set_document_unit)(h.surface, CAIRO_SVG_UNIT_PX);
  } else {
    h.surface =
        CAIRO(image_surface_create)(CAIRO_FORMAT_RGB24, static_cast<int>(h.width * kPngScale),
                                    static_cast<int>(h.height * kPngScale));
  }
  h.cairo = CAIRO(create)(h.surface);
  if (format == PictureFormat::kPng) CAIRO(scale)(h.cairo, kPngScale, kPngScale);
  CAIRO(set_line_join)(h.cairo, CAIRO_LINE_JOIN_ROUND);
  CAIRO(set_line_cap)(h.cairo, CAIRO_LINE_CAP_BUTT);
  cairo_font_options_t* options = CAIRO(font_options_create)();
  CAIRO(font_options_set_hint_metrics)(options, CAIRO_HINT_METRICS_OFF);
  CAIRO(font_options_set_hint_style)(options, CAIRO_HINT_STYLE_NONE);
  CAIRO(font_options_set_antialias)(options, CAIRO_ANTIALIAS_GRAY);
  CAIRO(set_font_options)(h.cairo, options);
  CAIRO(font_options_destroy)(options);
  FillBox({0, 0, h.width, h.height}, kWhite);
}

Canvas::~Canvas() = default;

double Canvas::width() const { return handles_->width; }
double Canvas::height() const { return handles_->height; }

void Canvas::Boxes(std::span<const Box> boxes, const Color& color) {
  for (const Box& box : boxes) {
    CAIRO(rectangle)(handles_->cairo, box.x, box.y, box.width, box.height);
  }
  handles_->SetColor(color);
  CAIRO(fill)(handles_->cairo);
}

void Canvas::Frame(const Box& box, const LineStyle& style) {
  CAIRO(rectangle)(handles_->cairo, box.x, box.y, box.width, box.height);
  handles_->Stroke(style);
}

void Canvas::Line(Point from, Point to, const LineStyle& style) {
  const Point points[] = {from, to};
  Polyline(points, style);
}

void Canvas::Polyline(std::span<const Point> points, const LineStyle& style) {
  if (points.empty()) return;
  CAIRO(move_to)(handles_->cairo, points[0].x, points[0].y);
  for (const Point& point : points.subspan(1)) CAIRO(line_to)(handles_->cairo, point.x, point.y);
  handles_->Stroke(style);
}

void Canvas::Disc(Point center, double radius, const Color& color, const Color& rim) {
  CAIRO(new_sub_path)(handles_->cairo);
  CAIRO(arc)(handles_->cairo, center.x, center.y, radius, 0, 2 * std::numbers::pi);
  handles_->SetColor(color);
  CAIRO(fill_preserve)(handles_->cairo);
  handles_->Stroke({rim, 1.2, false});
}

void Canvas::Text(Point at, std::string_view text, const TextStyle& style) {
  const std::string printable = Printable(text);
  const double width = style.anchor == Anchor::kStart ? 0 : TextWidth(printable, style);
  const double shift = style.anchor == Anchor::kMiddle ? width / 2 : width;
  cairo_t* cairo = handles_->cairo;
  CAIRO(save)(cairo);
  handles_->SetFont(style);
  handles_->SetColor(style.color);
  CAIRO(translate)(cairo, at.x, at.y);
  if (style.upwards) CAIRO(rotate)(cairo, -std::numbers::pi / 2);
  CAIRO(move_to)(cairo, -shift, 0);
  CAIRO(show_text)(cairo, printable.c_str());
  CAIRO(restore)(cairo);
}

double Canvas::TextWidth(std::string_view text, const TextStyle& style) {
  handles_->SetFont(style);
  cairo_text_extents_t extents;
  CAIRO(text_extents)(handles_->cairo, Printable(text).c_str(), &extents);
  return extents.x_advance;
}

void Canvas::Clip(const Box& box) {
  CAIRO(save)(handles_->cairo);
  CAIRO(rectangle)(handles_->cairo, box.x, box.y, box.width, box.height);
  CAIRO(clip)(handles_->cairo);
}

void Canvas::Unclip() { CAIRO(restore)(handles_->cairo); }

std::string Canvas::Finish(std::string_view title, std::string_view description) {
  Handles& h = *handles_;
  cairo_status_t status = CAIRO(status)(h.cairo);
  if (status == CAIRO_STATUS_SUCCESS && h.format == PictureFormat::kPng) {
    status = CAIRO(surface_write_to_png_stream)(h.surface, Append, &h.bytes);
  }
  CAIRO(surface_finish)(h.surface);
  if (status == CAIRO_STATUS_SUCCESS) status = CAIRO(surface_status)(h.surface);
  Check(status == CAIRO_STATUS_SUCCESS, ErrorCode::kLimit, "picture of {:.0f} x {:.0f} pixels: {}",
        h.width, h.height, CAIRO(status_to_string)(status));
  if (h.format == PictureFormat::kSvg) {
    const std::size_t root = h.bytes.find("<svg");
    const std::size_t end = h.bytes.find('>', root);
    if (root != std::string::npos && end != std::string::npos) {
      h.bytes.insert(end + 1,
                     fmt::format("\n<title>{}</title>\n<desc>{}</desc>\n{}", EscapeXml(title),
                                 EscapeXml(description), DarkRules(h.bytes)));
      h.bytes.insert(end, " role=\"img\"");
    }
  }
  return std::move(h.bytes);
}

}  // namespace longspan::cli
