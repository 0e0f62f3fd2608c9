// Axial positional encodings in plain loops, on any scalar.
#pragma once

#include <vector>

#include "base/rng.h"
#include "longspan/types.h"

namespace longspan::ref {

struct AxialShape {
  idx_t s0, s1, d0, d1;
};

// Vector of position p: T0[p div S1] ++ T1[p mod S1].
template <class T>
std::vector<T> AxialVector(const AxialShape& shape, const std::vector<T>& t0,
                           const std::vector<T>& t1, idx_t p) {
  std::vector<T> e;
  for (idx_t i = 0; i < shape.d0; ++i) {
    e.push_back(t0[static_cast<std::size_t>(p / shape.s1 * shape.d0 + i)]);
  }
  for (idx_t i = 0; i < shape.d1; ++i) {
    e.push_back(t1[static_cast<std::size_t>(p % shape.s1 * shape.d1 + i)]);
  }
  return e;
}

// x (B*T, D0 + D1) += factor(b, p mod S1) * vector(start + t).
template <class T>
void AxialForward(const AxialShape& shape, const std::vector<T>& t0, const std::vector<T>& t1,
                  const Dropout& columns, idx_t batch, idx_t start, std::vector<T>& x) {
  const idx_t width = shape.d0 + shape.d1;
  const idx_t tokens = static_cast<idx_t>(x.size()) / width / batch;
  for (idx_t b = 0; b < batch; ++b) {
    for (idx_t t = 0; t < tokens; ++t) {
      const idx_t p = start + t;
      const float factor = columns.active() ? columns.Factor(b * shape.s1 + p % shape.s1) : 1.0f;
      const std::vector<T> e = AxialVector(shape, t0, t1, p);
      for (idx_t i = 0; i < width; ++i) {
        x[static_cast<std::size_t>((b * tokens + t) * width + i)] +=
            static_cast<T>(factor) * e[static_cast<std::size_t>(i)];
      }
    }
  }
}

// dt0, dt1 += what dx (B*T, D0 + D1) sends to each of their rows.
template <class T>
void AxialBackward(const AxialShape& shape, const Dropout& columns, idx_t batch, idx_t start,
                   const std::vector<T>& dx, std::vector<T>& dt0, std::vector<T>& dt1) {
  const idx_t width = shape.d0 + shape.d1;
  const idx_t tokens = static_cast<idx_t>(dx.size()) / width / batch;
  for (idx_t b = 0; b < batch; ++b) {
    for (idx_t t = 0; t < tokens; ++t) {
      const idx_t p = start + t;
      const float factor = columns.active() ? columns.Factor(b * shape.s1 + p % shape.s1) : 1.0f;
      for (idx_t i = 0; i < width; ++i) {
        const T g =
            static_cast<T>(factor) * dx[static_cast<std::size_t>((b * tokens + t) * width + i)];
        if (i < shape.d0) {
          dt0[static_cast<std::size_t>(p / shape.s1 * shape.d0 + i)] += g;
        } else {
          dt1[static_cast<std::size_t>(p % shape.s1 * shape.d1 + i - shape.d0)] += g;
        }
      }
    }
  }
}

}  // namespace longspan::ref
