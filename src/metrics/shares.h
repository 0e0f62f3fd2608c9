// Shares of counts.
#pragma once

#include "longspan/metrics.h"

namespace longspan::metrics {

// part / whole; 0 if there is no whole.
inline double ShareOf(idx_t part, idx_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

// Precision, recall and F1 of the counts of a class.
inline void FillShares(ClassScore& s) {
  s.precision = ShareOf(s.hits, s.predicted);
  s.recall = ShareOf(s.hits, s.support);
  s.f1 = ShareOf(2 * s.hits, s.predicted + s.support);
}

}  // namespace longspan::metrics
