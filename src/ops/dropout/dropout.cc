#include "ops/dropout/dropout.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/dropout/dropout.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "ops/dropout/dropout-inl.h"

#if HWY_ONCE
#include <algorithm>

#include "base/errors.h"
#include "base/math.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

HWY_EXPORT(DropoutRun);
HWY_EXPORT(AddDropoutRun);

constexpr idx_t kRun = 1 << 14;  // elements a task: some ten microseconds
constexpr idx_t kGroup = 64;     // elements that share Philox counters

void CheckSite(const Dropout& dropout, idx_t first) {
  Check(dropout.p >= 0.0f && dropout.p < 1.0f, ErrorCode::kUsage,
        "dropout: probability {} is not at least 0 and below 1", dropout.p);
  Check(first >= 0, ErrorCode::kUsage, "dropout: first element {} is negative", first);
}

// Calls run(begin of the run in x, begin in y, first element, count) over all elements of (T, C)
// matrices whose rows lie x_stride and y_stride apart. Rows without gaps are one long run, cut
// where the groups of the site end.
template <class Run>
void ForRuns(Context& context, const std::array<idx_t, 2>& extent, idx_t x_stride, idx_t y_stride,
             idx_t first, const Run& run) {
  const idx_t T = extent[0], C = extent[1];
  if (T == 0 || C == 0) return;
  if (T == 1 || (x_stride == C && y_stride == C)) {
    const idx_t skip = first % kGroup, total = T * C;
    ParallelFor(context, CeilDiv(total + skip, kRun), [&](idx_t task, int) {
      const idx_t begin = std::max<idx_t>(0, task * kRun - skip);
      const idx_t end = std::min(total, (task + 1) * kRun - skip);
      run(begin, begin, first + begin, end - begin);
    });
    return;
  }
  const idx_t rows = CeilDiv(kRun, C);
  ParallelFor(context, CeilDiv(T, rows), [&](idx_t task, int) {
    for (idx_t t = task * rows; t < std::min(T, (task + 1) * rows); ++t) {
      run(t * x_stride, t * y_stride, first + t * C, C);
    }
  });
}

void CheckSame(const View<const float, 2>& x, const View<float, 2>& y) {
  Check(x.extent == y.extent, ErrorCode::kUsage, "dropout: x is {}, y is {}", ShapeText(x),
        ShapeText(y));
}

// Calls row(t, number of its first element) for the T rows of a (T, C) matrix.
template <class Row>
void ForListedRows(Context& context, const std::array<idx_t, 2>& extent, const RowNumbers& numbers,
                   const Row& row) {
  const idx_t T = extent[0], C = extent[1];
  Check(std::ssize(numbers.listed) == T, ErrorCode::kUsage, "dropout: {} numbers for {} rows",
        numbers.listed.size(), T);
  if (T == 0 || C == 0) return;
  const idx_t rows = CeilDiv(kRun, C);
  ParallelFor(context, CeilDiv(T, rows), [&](idx_t task, int) {
    for (idx_t t = task * rows; t < std::min(T, (task + 1) * rows); ++t) row(t, numbers(t) * C);
  });
}

void Add(Context& context, const Dropout& dropout, const View<const float, 2>& x,
         const View<float, 2>& y, idx_t first, float sign) {
  CheckSite(dropout, first);
  CheckSame(x, y);
  ForRuns(context, x.extent, x.stride[0], y.stride[0], first,
          [&](idx_t from, idx_t to, idx_t element, idx_t count) {
            HWY_DYNAMIC_DISPATCH(AddDropoutRun)
            (dropout, element, count, sign, x.data + from, y.data + to);
          });
}

}  // namespace

void ApplyDropout(Context& context, const Dropout& dropout, const View<float, 2>& x, idx_t first) {
  CheckSite(dropout, first);
  if (!dropout.active()) return;
  ForRuns(context, x.extent, x.stride[0], x.stride[0], first,
          [&](idx_t at, idx_t, idx_t element, idx_t count) {
            HWY_DYNAMIC_DISPATCH(DropoutRun)(dropout, element, count, x.data + at);
          });
}

void AddDropout(Context& context, const Dropout& dropout, const View<const float, 2>& x,
                const View<float, 2>& y, idx_t first) {
  Add(context, dropout, x, y, first, 1.0f);
}

void ApplyDropout(Context& context, const Dropout& dropout, const View<float, 2>& x,
                  const RowNumbers& numbers) {
  const idx_t width = x.extent[1];
  if (numbers.listed.empty()) return ApplyDropout(context, dropout, x, numbers.first * width);
  CheckSite(dropout, 0);
  if (!dropout.active()) return;
  ForListedRows(context, x.extent, numbers, [&](idx_t t, idx_t element) {
    HWY_DYNAMIC_DISPATCH(DropoutRun)(dropout, element, width, x.data + t * x.stride[0]);
  });
}

void AddDropout(Context& context, const Dropout& dropout, const View<const float, 2>& x,
                const View<float, 2>& y, const RowNumbers& numbers) {
  const idx_t width = x.extent[1];
  // Without a mask it does not matter which elements they are.
  if (numbers.listed.empty() || !dropout.active()) {
    return AddDropout(context, dropout, x, y, numbers.first * width);
  }
  CheckSite(dropout, 0);
  CheckSame(x, y);
  ForListedRows(context, x.extent, numbers, [&](idx_t t, idx_t element) {
    HWY_DYNAMIC_DISPATCH(AddDropoutRun)
    (dropout, element, width, 1.0f, x.data + t * x.stride[0], y.data + t * y.stride[0]);
  });
}

void SubtractDropout(Context& context, const Dropout& dropout, const View<const float, 2>& x,
                     const View<float, 2>& y, idx_t first) {
  Add(context, dropout, x, y, first, -1.0f);
}

}  // namespace longspan
#endif  // HWY_ONCE
