// The residual streams and their gradients: (N, C), to which branch after branch is added.
//
//   fp32   y + f is rounded, so y + f - f is y only up to rounding.
//   grid   int32 multiples of a step, which is a power of two. f is rounded to the grid, and
//          sums are exact: y + f - f is y, bit for bit, however often.
//          Elements are as large as those of fp32.
//   bf16   for gradients, in half the memory. A sum is rounded up or down at random (stochastic
//          rounding), so the mean error is zero.
//          Small terms are not lost.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "longspan/context.h"
#include "longspan/tensor.h"
#include "tensor/mixed_view.h"

namespace longspan {

enum class StreamCells { kF32, kGrid, kBF16 };

struct ResidualStream {
  void* data = nullptr;
  std::array<idx_t, 2> extent{};  // (N, C)
  idx_t stride = 0;               // cells from row to row
  StreamCells cells = StreamCells::kF32;
  // Grid only: a power of two, and what is set when a sum leaves the range of [-2^31, 2^31) steps
  // or is no number. From then on the stream is worth nothing.
  float step = 0.0f;
  std::atomic<bool>* out_of_range = nullptr;

  ResidualStream() = default;
  ResidualStream(const View<float, 2>& view)  // NOLINT: a view of fp32 is a stream
      : data(view.data), extent(view.extent), stride(view.stride[0]) {}
  // Constructed like a View.
  template <class... Strides>
  ResidualStream(float* base, const std::array<idx_t, 2>& shape, const Strides&... steps)
      : ResidualStream(View<float, 2>(base, shape, steps...)) {}

  static std::size_t CellBytes(StreamCells cells) { return cells == StreamCells::kBF16 ? 2 : 4; }
  ResidualStream Rows(idx_t begin, idx_t count) const;
  // The fp32 cells themselves; kUsage for others.
  View<float, 2> Floats() const;
  bool empty() const { return data == nullptr; }
};

// From where chance comes for bf16 sums: element (t, c) of the call's rows is element first + t C +
// c of the site `key`.
struct RoundingSite {
  std::uint64_t key = 0;
  idx_t first = 0;
};

// y += f, f (N, C). With a grid f counts as the nearest multiple of the step (ties to even). Cost:
// one read of f, one read and write of y; bf16: 2 cycles an element for the random bits.
void AddRows(Context& context, const View<const float, 2>& f, const ResidualStream& y,
             const RoundingSite& site = {});

// y -= f: on a grid exactly what AddRows added. kUsage for bf16, where nothing can be taken back.
void SubtractRows(Context& context, const View<const float, 2>& f, const ResidualStream& y);

// y = f, rounded as a sum is.
void WriteRows(Context& context, const View<const float, 2>& f, const ResidualStream& y,
               const RoundingSite& site = {});

// y = 0.
void ClearRows(Context& context, const ResidualStream& y);

// y = x, both of one kind and, on grids, of one step.
void CopyStream(Context& context, const ResidualStream& x, const ResidualStream& y);

// f (N, C) = x as fp32: exact for bf16, rounded for grids.
void ReadRows(Context& context, const ResidualStream& x, const View<float, 2>& f);

// x as fp32: where it lies if it is fp32, else read into `room` (N C floats).
View<const float, 2> FloatRows(Context& context, const ResidualStream& x, float* room);

}  // namespace longspan
