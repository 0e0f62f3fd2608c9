#include "tests/support/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace longspan::test {
namespace {

constexpr double kUnitRoundoff = 0x1p-24;  // of fp32

// A tolerance that an all-zero output (relative error 1) comes near is no tolerance.
constexpr double kLoosestRelative = 0.5;

template <class A, class E>
bool Overlap(std::span<const A> a, std::span<const E> e) {
  const auto a_begin = reinterpret_cast<std::uintptr_t>(a.data());
  const auto e_begin = reinterpret_cast<std::uintptr_t>(e.data());
  return a_begin < e_begin + e.size_bytes() && e_begin < a_begin + a.size_bytes();
}

Difference Rejected(std::string reason, idx_t worst = -1) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  return {kNan, kNan, worst, false, std::move(reason)};
}

// What makes two buffers incomparable before any value is looked at; "" when nothing does.
template <class A, class E>
std::string WhyIncomparable(std::span<const A> actual, std::span<const E> expected) {
  if (actual.size() != expected.size()) {
    return fmt::format("{} elements, {} expected", actual.size(), expected.size());
  }
  if (actual.empty()) return "nothing to compare: both sides are empty";
  if (Overlap(actual, expected)) return "both sides share memory";
  return {};
}

template <class A, class E>
Difference CompareValues(std::span<const A> actual, std::span<const E> expected,
                         const Tolerance& tolerance) {
  if (std::string why = WhyIncomparable(actual, expected); !why.empty()) return Rejected(why);
  if (!(tolerance.max_abs >= 0.0) || !std::isfinite(tolerance.max_abs) ||
      !(tolerance.rel_l2 >= 0.0) || !(tolerance.rel_l2 < kLoosestRelative)) {
    return Rejected(fmt::format("a tolerance of max_abs {:g}, rel_l2 {:g} proves nothing",
                                tolerance.max_abs, tolerance.rel_l2));
  }
  Difference difference;
  double error_squares = 0.0, expected_squares = 0.0, actual_squares = 0.0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const auto a = static_cast<double>(actual[i]), e = static_cast<double>(expected[i]);
    if (!std::isfinite(a) || !std::isfinite(e)) {
      return Rejected(fmt::format("element {} is {}, {} expected", i, a, e), static_cast<idx_t>(i));
    }
    const double error = std::abs(a - e);
    if (error > difference.max_abs || difference.worst < 0) {
      difference.max_abs = error;
      difference.worst = static_cast<idx_t>(i);
    }
    error_squares += error * error;
    expected_squares += e * e;
    actual_squares += a * a;
  }
  if (expected_squares == 0.0) {
    return Rejected("every expected value is zero; use EXPECT_EXACTLY_ZERO");
  }
  difference.rel_l2 = std::sqrt(error_squares / expected_squares);
  const auto worst = static_cast<std::size_t>(difference.worst);
  if (actual_squares == 0.0) {
    difference.reason = "every element is zero";
  } else if (difference.max_abs > tolerance.max_abs || difference.rel_l2 > tolerance.rel_l2) {
    difference.reason = fmt::format(
        "element {} of {} is {:.9g}, {:.9g} expected; max_abs {:.3g} (allowed {:.3g}), "
        "rel_l2 {:.3g} (allowed {:.3g})",
        worst, actual.size(), actual[worst], expected[worst], difference.max_abs, tolerance.max_abs,
        difference.rel_l2, tolerance.rel_l2);
  }
  difference.ok = difference.reason.empty();
  return difference;
}

}  // namespace

Difference Compare(std::span<const float> actual, std::span<const double> expected,
                   const Tolerance& tolerance) {
  return CompareValues(actual, expected, tolerance);
}
Difference Compare(std::span<const float> actual, std::span<const float> expected,
                   const Tolerance& tolerance) {
  return CompareValues(actual, expected, tolerance);
}
Difference Compare(std::span<const double> actual, std::span<const double> expected,
                   const Tolerance& tolerance) {
  return CompareValues(actual, expected, tolerance);
}

Tolerance DerivedTolerance(std::span<const float> naive, std::span<const double> oracle,
                           double factor) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  // Measured by the comparer itself: what it refuses gives a tolerance that nothing meets.
  const Difference error = CompareValues(naive, oracle, {1e300, 0.499});
  if (!error.ok) return {kInfinity, kInfinity};
  double largest = 0.0;
  for (const double value : oracle) largest = std::max(largest, std::abs(value));
  // Four roundings of the largest value: a naive loop over few terms can be exact by luck.
  constexpr double kFloor = 4.0 * kUnitRoundoff;
  return {factor * error.max_abs + kFloor * largest, factor * error.rel_l2 + kFloor};
}

void RaiseTolerance(std::span<const float> naive, std::span<const double> oracle, double factor,
                    Tolerance* most) {
  constexpr double kZero = 1e-10;
  if (std::all_of(oracle.begin(), oracle.end(),
                  [](double value) { return std::abs(value) < kZero; })) {
    return;
  }
  const Tolerance derived = DerivedTolerance(naive, oracle, factor);
  *most = {std::max(most->max_abs, derived.max_abs), std::max(most->rel_l2, derived.rel_l2)};
}

Difference CompareBits(std::span<const float> actual, std::span<const float> expected) {
  if (std::string why = WhyIncomparable(actual, expected); !why.empty()) return Rejected(why);
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const auto a = std::bit_cast<std::uint32_t>(actual[i]);
    const auto e = std::bit_cast<std::uint32_t>(expected[i]);
    if (a != e) {
      return Rejected(fmt::format("element {} of {} is {:.9g} ({:08x}), {:.9g} ({:08x}) expected",
                                  i, actual.size(), actual[i], a, expected[i], e),
                      static_cast<idx_t>(i));
    }
  }
  Difference same;
  same.ok = true;
  return same;
}

Difference CompareToZero(std::span<const float> actual) {
  if (actual.empty()) return Rejected("nothing to compare: no elements");
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (!(actual[i] == 0.0f)) {  // NaN is no zero either
      return Rejected(
          fmt::format("element {} of {} is {:.9g}, zero expected", i, actual.size(), actual[i]),
          static_cast<idx_t>(i));
    }
  }
  Difference same;
  same.ok = true;
  return same;
}

}  // namespace longspan::test
