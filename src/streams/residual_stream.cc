#include "streams/residual_stream.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "streams/residual_stream.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "streams/residual_stream-inl.h"

#if HWY_ONCE
#include <algorithm>
#include <cstring>

#include "base/errors.h"
#include "base/math.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

HWY_EXPORT(AddFloats);
HWY_EXPORT(AddToGrid);
HWY_EXPORT(SubtractFromGrid);
HWY_EXPORT(GridToFloats);
HWY_EXPORT(HalvesToFloats);
HWY_EXPORT(AddToHalves);

constexpr idx_t kRun = 1 << 14;  // elements a task: some microseconds

std::string Shape(const std::array<idx_t, 2>& extent) {
  return ShapeText(std::vector<idx_t>(extent.begin(), extent.end()));
}

void CheckSame(const std::array<idx_t, 2>& f, const ResidualStream& y) {
  Check(f == y.extent, ErrorCode::kUsage, "residual stream: {} values for a stream of {}", Shape(f),
        Shape(y.extent));
}

template <class Cell>
Cell* Row(const ResidualStream& x, idx_t t) {
  return static_cast<Cell*>(x.data) + t * x.stride;
}

// Calls row(t) for all rows, some a task.
template <class Each>
void ForRows(Context& context, const std::array<idx_t, 2>& extent, const Each& row) {
  if (extent[0] == 0 || extent[1] == 0) return;
  const idx_t rows = CeilDiv(kRun, extent[1]);
  ParallelFor(context, CeilDiv(extent[0], rows), [&](idx_t task, int) {
    for (idx_t t = task * rows; t < std::min(extent[0], (task + 1) * rows); ++t) row(t);
  });
}

void AddGrid(const float* f, const ResidualStream& y, idx_t t) {
  const bool right =
      HWY_DYNAMIC_DISPATCH(AddToGrid)(f, 1.0f / y.step, y.extent[1], Row<std::int32_t>(y, t));
  if (!right) y.out_of_range->store(true, std::memory_order_relaxed);
}

void RoundRow(const float* f, const RoundingSite& site, bool overwrite, const ResidualStream& y,
              idx_t t) {
  const idx_t C = y.extent[1];
  HWY_DYNAMIC_DISPATCH(AddToHalves)
  (f, {site.key, site.first + t * C}, overwrite, C, Row<std::uint16_t>(y, t));
}

}  // namespace

ResidualStream ResidualStream::Rows(idx_t begin, idx_t count) const {
  ResidualStream rows = *this;
  const auto skipped = static_cast<std::size_t>(begin * stride) * CellBytes(cells);
  rows.data = static_cast<std::byte*>(data) + skipped;
  rows.extent[0] = count;
  return rows;
}

View<float, 2> ResidualStream::Floats() const {
  Check(cells == StreamCells::kF32, ErrorCode::kUsage, "residual stream: its cells are not fp32");
  return {static_cast<float*>(data), extent, {stride, 1}};
}

void AddRows(Context& context, const View<const float, 2>& f, const ResidualStream& y,
             const RoundingSite& site) {
  CheckSame(f.extent, y);
  ForRows(context, y.extent, [&](idx_t t) {
    const float* from = f.data + t * f.stride[0];
    switch (y.cells) {
      case StreamCells::kF32:
        HWY_DYNAMIC_DISPATCH(AddFloats)(from, 1.0f, y.extent[1], Row<float>(y, t));
        break;
      case StreamCells::kGrid:
        AddGrid(from, y, t);
        break;
      case StreamCells::kBF16:
        RoundRow(from, site, false, y, t);
        break;
    }
  });
}

void SubtractRows(Context& context, const View<const float, 2>& f, const ResidualStream& y) {
  CheckSame(f.extent, y);
  Check(y.cells != StreamCells::kBF16, ErrorCode::kUsage,
        "residual stream: nothing can be taken back from sums of bf16");
  ForRows(context, y.extent, [&](idx_t t) {
    const float* from = f.data + t * f.stride[0];
    if (y.cells == StreamCells::kF32) {
      HWY_DYNAMIC_DISPATCH(AddFloats)(from, -1.0f, y.extent[1], Row<float>(y, t));
    } else {
      HWY_DYNAMIC_DISPATCH(SubtractFromGrid)
      (from, 1.0f / y.step, y.extent[1], Row<std::int32_t>(y, t));
    }
  });
}

void WriteRows(Context& context, const View<const float, 2>& f, const ResidualStream& y,
               const RoundingSite& site) {
  CheckSame(f.extent, y);
  const auto bytes = static_cast<std::size_t>(y.extent[1]) * ResidualStream::CellBytes(y.cells);
  ForRows(context, y.extent, [&](idx_t t) {
    const float* from = f.data + t * f.stride[0];
    switch (y.cells) {
      case StreamCells::kF32:
        std::memcpy(Row<float>(y, t), from, bytes);
        break;
      case StreamCells::kGrid:
        std::memset(Row<std::int32_t>(y, t), 0, bytes);
        AddGrid(from, y, t);
        break;
      case StreamCells::kBF16:
        RoundRow(from, site, true, y, t);
        break;
    }
  });
}

void ClearRows(Context& context, const ResidualStream& y) {
  const std::size_t cell = ResidualStream::CellBytes(y.cells);
  ForRows(context, y.extent, [&](idx_t t) {
    std::memset(static_cast<std::byte*>(y.data) + static_cast<std::size_t>(t * y.stride) * cell, 0,
                static_cast<std::size_t>(y.extent[1]) * cell);
  });
}

void CopyStream(Context& context, const ResidualStream& x, const ResidualStream& y) {
  CheckSame(x.extent, y);
  Check(x.cells == y.cells && x.step == y.step, ErrorCode::kUsage,
        "residual stream: a copy must have cells of the same kind");
  const std::size_t cell = ResidualStream::CellBytes(x.cells);
  ForRows(context, x.extent, [&](idx_t t) {
    const auto row = [&](const ResidualStream& s) {
      return static_cast<std::byte*>(s.data) + static_cast<std::size_t>(t * s.stride) * cell;
    };
    std::memcpy(row(y), row(x), static_cast<std::size_t>(x.extent[1]) * cell);
  });
}

void ReadRows(Context& context, const ResidualStream& x, const View<float, 2>& f) {
  CheckSame(f.extent, x);
  const idx_t C = x.extent[1];
  ForRows(context, x.extent, [&](idx_t t) {
    float* to = f.data + t * f.stride[0];
    switch (x.cells) {
      case StreamCells::kF32:
        std::memcpy(to, Row<float>(x, t), static_cast<std::size_t>(C) * sizeof(float));
        break;
      case StreamCells::kGrid:
        HWY_DYNAMIC_DISPATCH(GridToFloats)(Row<std::int32_t>(x, t), x.step, C, to);
        break;
      case StreamCells::kBF16:
        HWY_DYNAMIC_DISPATCH(HalvesToFloats)(Row<std::uint16_t>(x, t), C, to);
        break;
    }
  });
}

View<const float, 2> FloatRows(Context& context, const ResidualStream& x, float* room) {
  if (x.cells == StreamCells::kF32) return x.Floats();
  const View<float, 2> floats(room, x.extent);
  ReadRows(context, x, floats);
  return floats;
}

}  // namespace longspan
#endif  // HWY_ONCE
