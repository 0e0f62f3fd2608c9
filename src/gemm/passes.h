// How a product is walked in passes, each of some columns over some terms of the sums.
#pragma once

#include <algorithm>

#include "gemm/grid.h"
#include "longspan/types.h"
#include "parallel/parallel_for.h"

namespace longspan::gemm {

// For each chunk of columns [col, col + chunk_cols) and each slab of terms [term, term + slab):
// pack(col, columns, term, terms) orders what the tasks share, and then
// run(grid, task, col, term, terms, thread) runs for all tasks of the chunk's grid. `grid` is that
// of a whole chunk.
template <class Pack, class Run>
void ForEachPass(const Context& context, const Grid& grid, idx_t cols, idx_t chunk_cols,
                 idx_t terms, idx_t slab, const Pack& pack, const Run& run) {
  for (idx_t col = 0; col < cols; col += chunk_cols) {
    Grid chunk = grid;
    chunk.all_cols = std::min(chunk_cols, cols - col);
    chunk.cols = std::min(chunk.cols, chunk.all_cols);
    for (idx_t term = 0; term < terms; term += slab) {
      const idx_t some = std::min(slab, terms - term);
      pack(col, chunk.all_cols, term, some);
      ParallelFor(context, chunk.tasks(),
                  [&](idx_t task, int thread) { run(chunk, task, col, term, some, thread); });
    }
  }
}

}  // namespace longspan::gemm
