#include "cli/visual/ticks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace longspan::cli {
namespace {

constexpr double kTiny = 1e-9;  // of a step: forgives rounding at the ends of a scale

constexpr double kLargest = 1e290;  // differences and margins of larger values overflow

std::string TrimZeros(std::string number) {
  if (number.find('.') == std::string::npos) return number;
  number.erase(number.find_last_not_of('0') + 1);
  if (number.back() == '.') number.pop_back();
  return number;
}

// `value` without the digits that `step` says are noise.
std::string Label(double value, double step, double largest) {
  struct Unit {
    double size;
    std::string_view suffix;
  };
  constexpr std::array<Unit, 4> kUnits = {{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}};
  if (value == 0) return "0";
  if (largest < 2e-3) {  // all with the exponent of the largest: 0.5e-4, 1e-4, 1.5e-4
    const int exponent = static_cast<int>(std::floor(std::log10(largest) + kTiny));
    const double unit = std::pow(10.0, exponent);
    const int digits = std::max(0, static_cast<int>(std::ceil(-std::log10(step / unit) - kTiny)));
    return fmt::format("{}e{}", TrimZeros(fmt::format("{:.{}f}", value / unit, digits + 1)),
                       exponent);
  }
  for (const Unit& unit : kUnits) {
    if (largest < 10 * unit.size) continue;
    const int digits =
        std::max(0, static_cast<int>(std::ceil(-std::log10(step / unit.size) - kTiny)));
    return TrimZeros(fmt::format("{:.{}f}", value / unit.size, digits + 1)) +
           std::string(unit.suffix);
  }
  const double round = step / std::pow(10.0, std::floor(std::log10(step) + kTiny));
  const bool quarter = std::abs(round - 2.5) < 1e-6;  // 0.25 needs one digit more than 0.2
  const int digits =
      std::max(0, static_cast<int>(-std::floor(std::log10(step) + kTiny)) + (quarter ? 1 : 0));
  return fmt::format("{:.{}f}", value, digits);
}

double NiceStep(double length, int count, bool whole) {
  const double raw = length / std::max(1, count);
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  if (whole && raw <= 1) return 1;
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (whole && power < 10 && factor == 2.5) continue;
    if (raw <= factor * power * (1 + kTiny)) return factor * power;
  }
  return 10 * power;
}

std::vector<Tick> LinearTicks(double low, double high, int count, bool whole) {
  const double step = NiceStep(high - low, count, whole);
  const double largest = std::max(std::abs(low), std::abs(high));
  std::vector<Tick> ticks;
  const double first = std::ceil(low / step - kTiny), last = std::floor(high / step + kTiny);
  const int steps = static_cast<int>(std::clamp(last - first, -1.0, 1000.0));
  for (int i = 0; i <= steps; ++i) {
    const double value = (first + i) * step;
    ticks.push_back({value, Label(value, step, largest)});
  }
  return ticks;
}

std::vector<Tick> LogTicks(double low, double high, int count, bool whole) {
  const double decades = std::log10(high) - std::log10(low);  // a quotient could overflow
  const int first = static_cast<int>(std::floor(std::log10(low) + kTiny));
  const int last = static_cast<int>(std::ceil(std::log10(high) - kTiny));
  const int every = std::max(1, static_cast<int>(std::ceil(decades / std::max(1, count))));
  std::vector<Tick> ticks;
  if (decades < 0.3) return LinearTicks(low, high, count, whole);
  if (decades < 1) {
    for (int exponent = first; exponent <= last; ++exponent) {
      for (const double digit : {1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0}) {
        const double value = digit * std::pow(10.0, exponent);
        if (whole && value != std::round(value)) continue;
        if (value >= low && value <= high) ticks.push_back({value, ShortNumber(value)});
      }
    }
    return ticks;
  }
  for (int exponent = first; exponent <= last; ++exponent) {
    for (int digit = 1; digit <= 9; ++digit) {
      const double value = digit * std::pow(10.0, exponent);
      if (value < low * (1 - kTiny) || value > high * (1 + kTiny)) continue;
      const bool power = digit == 1 && exponent % every == 0;
      const bool between = decades < 2.2 && (digit == 2 || digit == 5);
      if (every > 1 && !power) continue;
      ticks.push_back({value, power || between ? ShortNumber(value) : ""});
    }
  }
  return ticks;
}

}  // namespace

double Scale::Fraction(double value) const {
  if (log) return (std::log(value) - std::log(low)) / (std::log(high) - std::log(low));
  return (value - low) / (high - low);
}

std::vector<Tick> Ticks(const Scale& scale, int count) {
  return scale.log ? LogTicks(scale.low, scale.high, count, scale.whole)
                   : LinearTicks(scale.low, scale.high, count, scale.whole);
}

Scale FitScale(const std::vector<double>& values, bool log, double margin) {
  double low = HUGE_VAL, high = -HUGE_VAL;
  for (const double value : values) {
    if (!(std::abs(value) <= kLargest) || (log && !(value >= 1 / kLargest))) continue;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  if (low > high) return log ? Scale{1, 10, true} : Scale{0, 1, false};
  if (log) {
    if (high < low * (1 + 1e-6)) return {low / 2, high * 2, true};
    const double room = std::exp((std::log(high) - std::log(low)) * margin);
    return {low / room, high * room, true};
  }
  // Equal values, or equal up to rounding: room on either side, or no tick would be readable.
  const double flat = 1e-6 * std::max(std::abs(low), std::abs(high));
  if (high - low <= flat) {
    const double room = low == 0 ? 1 : std::abs(low) / 2;
    return {low - room, high + room, false};
  }
  const double room = (high - low) * margin;
  // Quantities that are never negative keep an axis that is not either.
  return {low >= 0 ? std::max(0.0, low - room) : low - room, high + room, false};
}

std::string ShortNumber(double value) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  const double size = std::abs(value);
  if (size == 0) return "0";
  if (size < 9.995e-4) {
    const int exponent = static_cast<int>(std::floor(std::log10(size) + kTiny));
    return fmt::format("{}e{}", TrimZeros(fmt::format("{:.2g}", value / std::pow(10.0, exponent))),
                       exponent);
  }
  if (size < 9999.5) {
    const int digits = size < 9.995 ? 2 : size < 99.95 ? 1 : 0;
    return TrimZeros(fmt::format("{:.{}f}", value, size < 0.0995 ? 4 : digits));
  }
  constexpr std::array<std::string_view, 4> kSuffixes = {"k", "M", "G", "T"};
  double scaled = value / 1e3;
  std::size_t suffix = 0;
  while (std::abs(scaled) >= 999.5 && suffix + 1 < kSuffixes.size()) {
    scaled /= 1e3;
    ++suffix;
  }
  const int digits = std::abs(scaled) < 99.95 ? 1 : 0;
  return TrimZeros(fmt::format("{:.{}f}", scaled, digits)) + std::string(kSuffixes[suffix]);
}

}  // namespace longspan::cli
