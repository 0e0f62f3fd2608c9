// How a product is cut into tasks: a function of its shape alone, never of the threads.
// docs/record/performance.md, "Dense layers", has the measurements behind the numbers.
#pragma once

#include <algorithm>

#include "base/isa.h"
#include "base/math.h"
#include "longspan/types.h"

namespace longspan::gemm {

// Blocks of `rows` x `cols` that cover (all_rows, all_cols); the last ones may be smaller.
struct Grid {
  idx_t all_rows = 0, all_cols = 0;
  idx_t rows = 0, cols = 0;

  idx_t row_blocks() const { return CeilDiv(all_rows, rows); }
  idx_t col_blocks() const { return CeilDiv(all_cols, cols); }
  idx_t tasks() const { return row_blocks() * col_blocks(); }
  idx_t last_rows() const { return all_rows - (row_blocks() - 1) * rows; }
  idx_t last_cols() const { return all_cols - (col_blocks() - 1) * cols; }
};

// A few threads want a few tasks each; below 4 MFLOP (40 us of one core) a task is not worth one.
inline constexpr idx_t kFewestTasks = 4;
inline constexpr double kSmallestTask = 4e6;

// `parts` even parts of `extent`, in multiples of 16 so that whole vectors meet.
constexpr idx_t EvenPart(idx_t extent, idx_t parts) {
  return std::min(extent, RoundUp(CeilDiv(extent, parts), 16));
}

// Cuts rows first, then columns, until there are enough tasks.
inline Grid SplitGrid(idx_t rows, idx_t cols, idx_t most_rows, idx_t most_cols, idx_t least_rows,
                      idx_t least_cols, double flop, idx_t fewest_tasks = kFewestTasks,
                      double smallest_task = kSmallestTask) {
  idx_t row_parts = CeilDiv(rows, most_rows), col_parts = CeilDiv(cols, most_cols);
  while (row_parts * col_parts < fewest_tasks &&
         flop / static_cast<double>(row_parts * col_parts) > smallest_task) {
    const idx_t part_rows = CeilDiv(rows, row_parts), part_cols = CeilDiv(cols, col_parts);
    const bool rows_fit = part_rows >= 2 * least_rows, cols_fit = part_cols >= 2 * least_cols;
    if (!rows_fit && !cols_fit) break;
    const bool rows_first = part_rows * least_cols >= part_cols * least_rows;
    if (rows_fit && (rows_first || !cols_fit)) {
      row_parts *= 2;
    } else {
      col_parts *= 2;
    }
  }
  return {rows, cols, EvenPart(rows, row_parts), EvenPart(cols, col_parts)};
}

// y (T, n) over k: slabs of 512 rows, of 1024 when there are many; columns up to 1536.
inline Grid RowGrid(idx_t T, idx_t n, idx_t k) {
  const double flop =
      2.0 * static_cast<double>(T) * static_cast<double>(n) * static_cast<double>(k);
  return SplitGrid(T, n, T >= 4096 ? 1024 : 512, 1536, 128, 128, flop);
}

// dw (N, K) over T tokens: tiles up to 384 x 768. Twice as tall: 0.81 to 0.83 instead of 0.82 to
// 0.85 of the peak at 768 to 3072, and further apart from run to run.
inline Grid TileGrid(idx_t N, idx_t K, idx_t T) {
  const double flop =
      2.0 * static_cast<double>(T) * static_cast<double>(N) * static_cast<double>(K);
  return SplitGrid(N, K, 384, 768, 64, 64, flop);
}

// Tokens of one step of the weights' gradient: its operands stay in the last cache.
inline constexpr idx_t kTokenSlab = 1024;

// Rows from which one pass over the weights costs little against the product.
inline constexpr idx_t kPackingPays = 128;

// oneDNN's products for AVX-512 want their weights in an order of their own.
inline bool WideVectors() { return ActiveIsa() >= Isa::kAvx512; }

// Rows of a copy do not lie a multiple of 1 KiB apart, in the same cache sets.
constexpr idx_t GoodStride(idx_t cols) {
  const idx_t stride = RoundUp(cols, 16);
  return stride % 256 == 0 ? stride + 16 : stride;
}

}  // namespace longspan::gemm
