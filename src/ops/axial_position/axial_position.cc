#include "ops/axial_position/axial_position.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/axial_position/axial_position.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include "ops/axial_position/axial_position-inl.h"

#if HWY_ONCE
#include <algorithm>

#include "base/errors.h"
#include "base/math.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

HWY_EXPORT(AxialAddRun);
HWY_EXPORT(AxialRowGradient);
HWY_EXPORT(AxialColumnGradient);

// Tokens of one forward task: a row of 256 floats each makes 64 KiB.
constexpr idx_t kTaskTokens = 64;

// Grid columns of one backward task: their rows of dT1 stay in the second cache while all rows of
// the grid pass by, and each pass reads a long piece of the gradient.
constexpr idx_t kTaskColumns = 64;

// The part of the grid that B rows of T tokens from `start` on cover.
struct Span {
  idx_t batch, start, tokens, s0, s1, d0, d1;
  idx_t row = 0;  // of the batch, the first

  // Dropout's element of column c of row b.
  idx_t Element(idx_t b, idx_t c) const { return (row + b) * s1 + c; }

  idx_t end() const { return start + tokens; }
  idx_t first_row() const { return start / s1; }
  idx_t rows() const { return (end() - 1) / s1 - first_row() + 1; }
};

Span CheckArguments(const View<const float, 2>& t0, const View<const float, 2>& t1,
                    const Dropout& columns, idx_t batch, idx_t start, const View<const float, 2>& x,
                    idx_t first_row) {
  Check(batch >= 1 && x.extent[0] % batch == 0, ErrorCode::kUsage,
        "axial position: {} rows are not a multiple of the batch {}", x.extent[0], batch);
  const Span span{batch,        start,        x.extent[0] / batch, t0.extent[0],
                  t1.extent[0], t0.extent[1], t1.extent[1],        first_row};
  Check(span.d0 + span.d1 == x.extent[1], ErrorCode::kUsage,
        "axial position: tables of width {} and {} do not make vectors of width {}", span.d0,
        span.d1, x.extent[1]);
  Check(start >= 0 && span.end() <= span.s0 * span.s1, ErrorCode::kUsage,
        "axial position: positions {} to {} exceed the grid of {} x {} = {}", start, span.end() - 1,
        span.s0, span.s1, span.s0 * span.s1);
  Check(columns.p >= 0.0f && columns.p < 1.0f, ErrorCode::kUsage,
        "axial position: dropout {} is not from 0 to below 1", columns.p);
  return span;
}

void CheckGradient(const char* name, const View<const float, 2>& table,
                   const View<float, 2>& gradient) {
  Check(table.extent == gradient.extent, ErrorCode::kUsage,
        "axial position: {} has shape {}, its gradient {}", name, ShapeText(table),
        ShapeText(gradient));
}

// dT0[row] += what all batch rows send to row `row` of the grid.
void RowTask(const Span& span, const Dropout& columns, const View<const float, 2>& dx, idx_t row,
             const View<float, 2>& dt0) {
  const idx_t begin = std::max(span.start, row * span.s1);
  const idx_t end = std::min(span.end(), (row + 1) * span.s1);
  for (idx_t b = 0; b < span.batch; ++b) {
    const idx_t token = b * span.tokens + begin - span.start;
    HWY_DYNAMIC_DISPATCH(AxialRowGradient)
    (columns, span.Element(b, begin % span.s1), end - begin, dx.data + token * dx.stride[0],
     dx.stride[0], dt0.data + row * dt0.stride[0], span.d0);
  }
}

// dT1[column ... last) += what all batch rows and grid rows send there.
void ColumnTask(const Span& span, const Dropout& columns, const View<const float, 2>& dx,
                idx_t column, idx_t last, const View<float, 2>& dt1) {
  for (idx_t b = 0; b < span.batch; ++b) {
    for (idx_t row = span.first_row(); row < span.first_row() + span.rows(); ++row) {
      const idx_t begin = std::max(span.start, row * span.s1 + column);
      const idx_t end = std::min(span.end(), row * span.s1 + last);
      if (begin >= end) continue;
      const idx_t token = b * span.tokens + begin - span.start;
      const idx_t c = begin - row * span.s1;
      HWY_DYNAMIC_DISPATCH(AxialColumnGradient)
      (columns, span.Element(b, c), end - begin, dx.data + token * dx.stride[0] + span.d0,
       dx.stride[0], dt1.data + c * dt1.stride[0], dt1.stride[0], span.d1);
    }
  }
}

}  // namespace

void AxialForward(Context& context, const AxialTables& tables, const Dropout& columns, idx_t batch,
                  idx_t start, const View<float, 2>& x, idx_t first_row) {
  const Span span = CheckArguments(tables.t0, tables.t1, columns, batch, start, x, first_row);
  if (x.size() == 0) return;
  const idx_t blocks = CeilDiv(span.tokens, kTaskTokens);
  ParallelFor(context, batch * blocks, [&](idx_t task, int) {
    const idx_t b = task / blocks;
    const idx_t first = start + task % blocks * kTaskTokens;
    const idx_t last = std::min(first + kTaskTokens, span.end());
    for (idx_t p = first; p < last;) {
      const idx_t row = p / span.s1, c = p % span.s1;
      const idx_t count = std::min(span.s1 - c, last - p);  // up to the end of the grid's row
      const idx_t token = b * span.tokens + p - start;
      HWY_DYNAMIC_DISPATCH(AxialAddRun)
      (columns, span.Element(b, c), count, tables.t0.data + row * tables.t0.stride[0], span.d0,
       tables.t1.data + c * tables.t1.stride[0], tables.t1.stride[0], span.d1,
       x.data + token * x.stride[0], x.stride[0]);
      p += count;
    }
  });
}

void AxialBackward(Context& context, const AxialTables& tables, const Dropout& columns, idx_t batch,
                   idx_t start, const View<const float, 2>& dx, const AxialGradients& gradients,
                   idx_t first_row) {
  const Span span = CheckArguments(tables.t0, tables.t1, columns, batch, start, dx, first_row);
  CheckGradient("T0", tables.t0, gradients.dt0);
  CheckGradient("T1", tables.t1, gradients.dt1);
  if (dx.size() == 0) return;
  const idx_t rows = span.rows();
  const idx_t blocks = CeilDiv(span.s1, kTaskColumns);
  ParallelFor(context, blocks + rows, [&](idx_t task, int) {
    if (task < blocks) {  // the long tasks first
      const idx_t column = task * kTaskColumns;
      ColumnTask(span, columns, dx, column, std::min(column + kTaskColumns, span.s1),
                 gradients.dt1);
    } else {
      RowTask(span, columns, dx, span.first_row() + task - blocks, gradients.dt0);
    }
  });
}

void AxialForward(Context& context, const AxialTables& tables, idx_t batch, idx_t start,
                  const View<float, 2>& x) {
  AxialForward(context, tables, Dropout{}, batch, start, x);
}

void AxialBackward(Context& context, const AxialTables& tables, idx_t batch, idx_t start,
                   const View<const float, 2>& dx, const AxialGradients& gradients) {
  AxialBackward(context, tables, Dropout{}, batch, start, dx, gradients);
}

}  // namespace longspan
#endif  // HWY_ONCE
