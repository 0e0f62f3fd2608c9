// Axes: from values to places, and the round numbers to write beside them.
#pragma once

#include <string>
#include <vector>

#include "longspan/types.h"

namespace longspan::cli {

// One axis: [low, high] onto [0, 1], linear or logarithmic (then low > 0). `whole`: its values are
// counts, so that ticks stand at whole numbers alone.
struct Scale {
  double low = 0, high = 1;
  bool log = false, whole = false;

  double Fraction(double value) const;  // may lie outside [0, 1]
};

struct Tick {
  double value = 0;
  std::string label;  // empty: a minor tick of a logarithmic axis
};

// Multiples of 1, 2, 2.5 or 5 times a power of ten inside the scale, about `count` of them. A
// logarithmic scale has its powers of ten (and 2 and 5 times these when there are few).
std::vector<Tick> Ticks(const Scale& scale, int count);

// The scale that shows every given value that it can: finite (below 1e290), positive when `log`. A
// linear one gets `margin` of its length free at either end. Without any value: [0, 1], logarithmic
// [1, 10].
Scale FitScale(const std::vector<double>& values, bool log, double margin);

// Short, for people: 1234, 12.3k, 4.5M, 0.25, 2.7e-4. Three significant digits.
std::string ShortNumber(double value);

}  // namespace longspan::cli
