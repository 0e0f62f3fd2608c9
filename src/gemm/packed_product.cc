#include "gemm/packed_product.h"

#include <algorithm>
#include <cstddef>

#include "base/arena.h"
#include "base/bfloat16.h"
#include "base/math.h"
#include "gemm/grid.h"
#include "gemm/packed_block.h"
#include "gemm/passes.h"
#include "gemm/rows.h"
#include "parallel/parallel_for.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gemm/packed_product.cc"
#include <hwy/foreach_target.h>
// Must come after foreach_target.h.
#include "gemm/packed_product-inl.h"

#if HWY_ONCE
namespace longspan::gemm {

HWY_EXPORT(ShapeOfBlocks);
HWY_EXPORT(PackAF32);
HWY_EXPORT(PackABf16);
HWY_EXPORT(PackBF32);
HWY_EXPORT(PackBBf16);
HWY_EXPORT(MultiplyBlock);

namespace {

// Panels lie an odd number of cache lines apart, so that they do not meet in the same cache sets.
constexpr idx_t kPanelGap = 16;

const void* At(const PackedOperand& operand, idx_t line, idx_t term) {
  const idx_t element =
      operand.k_contiguous ? line * operand.stride + term : term * operand.stride + line;
  if (operand.dtype == DType::kF32) return static_cast<const float*>(operand.data) + element;
  return static_cast<const bfloat16*>(operand.data) + element;
}

class Runner {
 public:
  Runner(Context& context, const PackedProduct& product)
      : context_(context),
        p_(product),
        shape_(HWY_DYNAMIC_DISPATCH(ShapeOfBlocks)()),
        width_(shape_.panel_cols),
        reads_rows_(shape_.reads_rows && product.a.k_contiguous && product.a.dtype == DType::kF32),
        narrow_(product.c.dtype == DType::kBF16) {
    // Columns, and terms when the sum may wait in c, such that what is packed stays bounded.
    idx_t most_cols = std::max(p_.most_packed / p_.terms, width_);
    if (!narrow_) most_cols = std::max(most_cols, 64 * width_);
    const idx_t panels = CeilDiv(p_.cols, width_);
    const idx_t parts = CeilDiv(panels, std::max(most_cols / width_, idx_t{1}));
    chunk_cols_ = std::min(p_.cols, CeilDiv(panels, parts) * width_);
    slab_ = p_.terms;
    if (!narrow_ && chunk_cols_ * p_.terms > p_.most_packed) {
      slab_ =
          std::max(p_.most_packed / chunk_cols_ / shape_.most_terms, idx_t{1}) * shape_.most_terms;
    }
    slab_ = std::min(slab_, p_.terms);
    most_terms_ = CeilDiv(slab_, CeilDiv(slab_, shape_.most_terms));
    const double flop = 2.0 * static_cast<double>(p_.rows) * static_cast<double>(chunk_cols_) *
                        static_cast<double>(slab_);
    grid_ = SplitGrid(p_.rows, chunk_cols_, shape_.most_rows, chunk_cols_, 32, 192, flop);
    // Two dozen tasks leave no thread without one for long; half as many rows still pay for a
    // panel of b.
    const idx_t halves = CeilDiv(2 * p_.rows, shape_.most_rows);
    if (shape_.reads_rows && grid_.col_blocks() == 1) {
      grid_.rows = EvenPart(p_.rows, std::max(grid_.row_blocks(), std::min(idx_t{24}, halves)));
    }
    grid_.cols = std::min(chunk_cols_, RoundUp(grid_.cols, width_));
  }

  void Run() {
    const auto threads = static_cast<std::size_t>(context_.threads());
    Arena::Frame frame(context_.arena(), BBytes() + threads * (ABytes() + TileBytes()));
    b_ = frame.Take<float>(RoundUp(chunk_cols_, width_) * slab_);
    scratch_ = static_cast<std::byte*>(frame.TakeBytes(threads * (ABytes() + TileBytes())));
    ForEachPass(
        context_, grid_, p_.cols, chunk_cols_, p_.terms, slab_,
        [&](idx_t col, idx_t cols, idx_t term, idx_t terms) { PackB(col, cols, term, terms); },
        [&](const Grid& grid, idx_t task, idx_t col, idx_t term, idx_t terms, int thread) {
          RunTask(grid, task, col, term, terms, thread);
        });
  }

 private:
  idx_t APanel() const { return most_terms_ * shape_.panel_rows + kPanelGap; }
  idx_t TileStride() const { return RoundUp(grid_.cols, 16) + 16; }
  std::size_t BBytes() const { return Arena::Bytes<float>(RoundUp(chunk_cols_, width_) * slab_); }
  std::size_t ABytes() const {
    return Arena::Bytes<float>((reads_rows_ ? 1 : CeilDiv(grid_.rows, shape_.panel_rows)) *
                               APanel());
  }
  std::size_t TileBytes() const {
    return narrow_ ? Arena::Bytes<float>(grid_.rows * TileStride()) : 0;
  }

  // Terms [first, first + most_terms_) of all columns lie together, panel after panel.
  float* BlockOfB(idx_t cols, idx_t first) const { return b_ + first * RoundUp(cols, width_); }

  void PackB(idx_t col, idx_t cols, idx_t term, idx_t terms) {
    const idx_t kCols = 8 * width_, groups = CeilDiv(cols, kCols);
    ParallelFor(context_, CeilDiv(terms, most_terms_) * groups, [&](idx_t task, int) {
      const idx_t first = task / groups * most_terms_, begin = task % groups * kCols;
      Packing packing;
      packing.stride = p_.b.stride;
      packing.k_contiguous = p_.b.k_contiguous;
      packing.lines = std::min(kCols, cols - begin);
      packing.k = std::min(most_terms_, terms - first);
      packing.to = BlockOfB(cols, first) + begin * packing.k;
      packing.panel_stride = width_ * packing.k;
      const void* from = At(p_.b, col + begin, term + first);
      if (p_.b.dtype == DType::kF32) {
        HWY_DYNAMIC_DISPATCH(PackBF32)(static_cast<const float*>(from), packing);
      } else {
        HWY_DYNAMIC_DISPATCH(PackBBf16)(static_cast<const bfloat16*>(from), packing);
      }
    });
  }

  void PackA(idx_t row, idx_t rows, idx_t term, idx_t terms, float* to) const {
    Packing packing;
    packing.stride = p_.a.stride;
    packing.k_contiguous = p_.a.k_contiguous;
    packing.lines = rows;
    packing.k = terms;
    packing.to = to;
    packing.panel_stride = APanel();
    const void* from = At(p_.a, row, term);
    if (p_.a.dtype == DType::kF32) {
      HWY_DYNAMIC_DISPATCH(PackAF32)(static_cast<const float*>(from), packing);
    } else {
      HWY_DYNAMIC_DISPATCH(PackABf16)(static_cast<const bfloat16*>(from), packing);
    }
  }

  // One block of c, over `terms` terms from `term` on, block of terms after block of terms.
  void RunTask(const Grid& grid, idx_t task, idx_t col, idx_t term, idx_t terms, int thread) const {
    std::byte* scratch = scratch_ + static_cast<std::size_t>(thread) * (ABytes() + TileBytes());
    auto* a = reinterpret_cast<float*>(scratch);
    auto* tile = reinterpret_cast<float*>(scratch + ABytes());
    const idx_t row = task / grid.col_blocks() * grid.rows;
    const idx_t begin = task % grid.col_blocks() * grid.cols;
    const idx_t c_at = row * p_.c.stride + col + begin;
    Block block;
    block.a = block.last = a;
    block.a_panel = APanel();
    block.a_row = reads_rows_ ? p_.a.stride : 0;
    block.rows = std::min(grid.rows, grid.all_rows - row);
    block.cols = std::min(grid.cols, grid.all_cols - begin);
    block.c = narrow_ ? tile : static_cast<float*>(p_.c.data) + c_at;
    block.c_stride = narrow_ ? TileStride() : p_.c.stride;
    const float* bias = p_.bias == nullptr ? nullptr : p_.bias + col + begin;
    for (idx_t first = 0; first < terms; first += most_terms_) {
      block.k = std::min(most_terms_, terms - first);
      block.b = BlockOfB(grid.all_cols, first) + begin * block.k;
      block.b_panel = width_ * block.k;
      block.bias = term + first == 0 && !narrow_ ? bias : nullptr;
      block.accumulate = term + first > 0 || (p_.accumulate && !narrow_);
      const idx_t packed = reads_rows_ ? block.rows % shape_.panel_rows : block.rows;
      PackA(row + block.rows - packed, packed, term + first, block.k, a);
      if (reads_rows_) block.a = static_cast<const float*>(At(p_.a, row, term + first));
      HWY_DYNAMIC_DISPATCH(MultiplyBlock)(block);
    }
    if (narrow_) {
      NarrowRows(tile, block.c_stride, bias, p_.accumulate, block.rows, block.cols,
                 static_cast<bfloat16*>(p_.c.data) + c_at, p_.c.stride);
    }
  }

  Context& context_;
  const PackedProduct& p_;
  const BlockShape shape_;
  const idx_t width_;      // columns of a panel of b
  const bool reads_rows_;  // a is packed at its end only
  const bool narrow_;      // c is bf16: its sums are made in fp32 scratch
  idx_t chunk_cols_ = 0, slab_ = 0, most_terms_ = 0;
  Grid grid_;
  float* b_ = nullptr;
  std::byte* scratch_ = nullptr;
};

}  // namespace

void RunPackedProduct(Context& context, const PackedProduct& product) {
  Runner(context, product).Run();
}

}  // namespace longspan::gemm
#endif  // HWY_ONCE
