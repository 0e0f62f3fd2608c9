#include "gemm/tile_product.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/arena.h"
#include "base/math.h"
#include "gemm/grid.h"
#include "gemm/passes.h"
#include "gemm/tile_block.h"
#include "parallel/parallel_for.h"

// The portable form and AVX2 run the twin, AVX-512 with VBMI (every CPU with a tile unit has it)
// also the hardware. The other targets would only be compiled for nothing.
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3)
#define HWY_WANT_AVX3_DL  // AVX-512 with VBMI
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gemm/tile_product.cc"
#include <hwy/foreach_target.h>
// Must come after foreach_target.h.
#include "gemm/tile_product-inl.h"

#if HWY_ONCE
namespace longspan::gemm {

HWY_EXPORT(FitParts);
HWY_EXPORT(PackParts);
HWY_EXPORT(PackTiles);
HWY_EXPORT(RunTiles);

namespace {

// Steps of one pass: its part of a panel of b takes 32 of the first cache's 48 KiB.
constexpr idx_t kPassSteps = 16;
// Steps of a slab, if the sum may wait in c. a's rows of a task stay in the second cache of 2 MiB,
// beside panels of b and sums.
constexpr idx_t kSlabSteps = 128;
constexpr idx_t kLeftBytes = idx_t{1} << 20;
constexpr idx_t kMostRows = 512;
// So many tasks leave no thread without one for long. 30 MFLOP are ten microseconds of a core.
constexpr idx_t kFewestTileTasks = 24;
constexpr double kSmallestTileTask = 3e7;
// Columns of a task that ordering rows of a pays for. Rows that are read as they lie need fewer.
constexpr idx_t kColsForPacking = 512, kColsForRows = 64;
constexpr idx_t kLine = 64;

idx_t PanelsOf(idx_t extent) { return CeilDiv(extent, kTileSide); }
idx_t Panels(idx_t extent) { return PanelsOf(extent) * kTileSide; }

const void* At(const PackedOperand& operand, idx_t line, idx_t term) {
  const idx_t element =
      operand.k_contiguous ? line * operand.stride + term : term * operand.stride + line;
  return static_cast<const char*>(operand.data) + element * (operand.dtype == DType::kF32 ? 4 : 2);
}

// A line of a tile is a line of the cache. The stride of a single row may say nothing.
bool ReadAsTheyLie(const PackedProduct& p) {
  return p.a.dtype == DType::kBF16 && p.a.k_contiguous && p.rows >= kTileSide &&
         p.terms % kTileSide == 0 && p.a.stride * 2 % kLine == 0 &&
         reinterpret_cast<std::uintptr_t>(p.a.data) % kLine == 0;
}

// Few rows: their transpose, so that the many lines of b are not ordered but read.
bool Flips(const PackedProduct& p) {
  return p.a.dtype == DType::kBF16 && p.a.k_contiguous && p.b.k_contiguous &&
         p.rows < kPackingPays && p.rows < p.cols;
}

class TileRunner {
 public:
  TileRunner(Context& context, const PackedProduct& product, bool twin)
      : context_(context),
        p_(product),
        twin_(twin),
        parts_(product.a.dtype == DType::kF32 ? kTileParts : 1),
        flipped_(Flips(product)) {
    if (flipped_) {
      std::swap(p_.rows, p_.cols);
      std::swap(p_.a, p_.b);
    }
    reads_rows_ = ReadAsTheyLie(p_);
    // bf16 results leave complete.
    const idx_t slabs =
        p_.c.dtype == DType::kBF16 ? 1 : CeilDiv(PanelsOf(p_.terms), kSlabSteps / parts_);
    slab_ = std::min(p_.terms, Panels(CeilDiv(p_.terms, slabs)));
    most_steps_ = CeilDiv(PanelsOf(slab_), CeilDiv(PanelsOf(slab_), kPassSteps / parts_));
    const idx_t panel_bytes = PanelBytes(slab_);
    const idx_t most_rows = std::clamp(kLeftBytes / panel_bytes * kTileSide, kTileSide, kMostRows);
    const idx_t most_panels =
        std::max(p_.most_packed * idx_t{sizeof(float)} / panel_bytes, idx_t{1});
    const idx_t panels = PanelsOf(p_.cols);
    chunk_cols_ = std::min(p_.cols, CeilDiv(panels, CeilDiv(panels, most_panels)) * kTileSide);
    const double flop = 2.0 * static_cast<double>(p_.rows) * static_cast<double>(chunk_cols_) *
                        static_cast<double>(slab_);
    grid_ = SplitGrid(p_.rows, chunk_cols_, most_rows, chunk_cols_, 2 * kTileSide,
                      reads_rows_ ? kColsForRows : kColsForPacking, flop, kFewestTileTasks,
                      kSmallestTileTask);
    grid_.rows = std::min(p_.rows, Panels(grid_.rows));
    grid_.cols = std::min(chunk_cols_, Panels(grid_.cols));
  }

  void Run() {
    const auto threads = static_cast<std::size_t>(context_.threads());
    Arena::Frame frame(context_.arena(), BBytes() + threads * ThreadBytes());
    b_ = static_cast<char*>(frame.TakeBytes(BBytes()));
    scratch_ = static_cast<std::byte*>(frame.TakeBytes(threads * ThreadBytes()));
    ForEachPass(
        context_, grid_, p_.cols, chunk_cols_, p_.terms, slab_,
        [&](idx_t col, idx_t cols, idx_t term, idx_t terms) { PackB(col, cols, term, terms); },
        [&](const Grid& grid, idx_t task, idx_t col, idx_t term, idx_t terms, int thread) {
          RunTask(grid, task, col, term, terms, thread);
        });
  }

 private:
  idx_t PanelBytes(idx_t terms) const { return PanelsOf(terms) * parts_ * kTileStepBytes; }
  std::size_t BBytes() const {
    return Arena::Bytes<std::byte>(PanelsOf(chunk_cols_) * PanelBytes(slab_));
  }
  std::size_t ABytes() const {
    return Arena::Bytes<std::byte>((reads_rows_ ? 1 : PanelsOf(grid_.rows)) * PanelBytes(slab_));
  }
  std::size_t SumBytes() const {
    const bool passes = PanelsOf(slab_) > most_steps_;
    return Arena::Bytes<float>(passes ? PanelsOf(grid_.rows) * kTileSums : 0);
  }
  std::size_t ThreadBytes() const {
    return ABytes() + SumBytes() + Arena::Bytes<float>(2 * kTileSums);
  }

  void Pack(const PackedOperand& from, bool left, idx_t line, idx_t lines, idx_t term, idx_t terms,
            char* to) const {
    TilePacking packing;
    packing.from = At(from, line, term);
    packing.stride = from.stride;
    packing.k_contiguous = from.k_contiguous;
    packing.left = left;
    packing.lines = lines;
    packing.k = terms;
    packing.to = to;
    if (parts_ == 1) {
      HWY_DYNAMIC_DISPATCH(PackTiles)(packing);
    } else {
      HWY_DYNAMIC_DISPATCH(PackParts)(packing);
    }
  }

  void PackB(idx_t col, idx_t cols, idx_t term, idx_t terms) {
    const idx_t panel_bytes = PanelBytes(terms);
    ParallelFor(context_, PanelsOf(cols), [&](idx_t panel, int) {
      const idx_t begin = panel * kTileSide, count = std::min(kTileSide, cols - begin);
      Pack(p_.b, false, col + begin, count, term, terms, b_ + panel * panel_bytes);
    });
  }

  // One block of c, over `terms` terms from `term` on.
  void RunTask(const Grid& grid, idx_t task, idx_t col, idx_t term, idx_t terms, int thread) const {
    std::byte* scratch = scratch_ + static_cast<std::size_t>(thread) * ThreadBytes();
    auto* a = reinterpret_cast<char*>(scratch);
    const idx_t row = task / grid.col_blocks() * grid.rows;
    const idx_t begin = task % grid.col_blocks() * grid.cols;
    TileTask t;
    t.parts = parts_;
    t.rows = std::min(grid.rows, grid.all_rows - row);
    t.cols = std::min(grid.cols, grid.all_cols - begin);
    const idx_t packed = reads_rows_ ? t.rows % kTileSide : t.rows;
    Pack(p_.a, true, row + t.rows - packed, packed, term, terms, a);
    t.a = reads_rows_ ? reinterpret_cast<const char*>(At(p_.a, row, term)) : a;
    t.last = a;
    t.a_row = reads_rows_ ? p_.a.stride * 2 : 0;
    t.steps = PanelsOf(terms);
    t.most_steps = most_steps_;
    t.b = b_ + begin / kTileSide * PanelBytes(terms);
    t.sums = reinterpret_cast<float*>(scratch + ABytes());
    t.room = reinterpret_cast<float*>(scratch + ABytes() + SumBytes());
    t.flipped = flipped_;
    const idx_t c_row = flipped_ ? col + begin : row, c_col = flipped_ ? row : col + begin;
    t.bias = p_.bias == nullptr || term > 0 ? nullptr : p_.bias + c_col;
    t.accumulate = p_.accumulate || term > 0;
    t.c_dtype = p_.c.dtype;
    t.c_stride = p_.c.stride;
    const idx_t element = c_row * p_.c.stride + c_col;
    t.c = static_cast<std::byte*>(p_.c.data) + element * (t.c_dtype == DType::kBF16 ? 2 : 4);
    HWY_DYNAMIC_DISPATCH(RunTiles)(t, twin_);
  }

  Context& context_;
  PackedProduct p_;
  const bool twin_;
  const idx_t parts_;        // of each number
  const bool flipped_;       // p_ is the transpose of what was asked for; c is as it was
  bool reads_rows_ = false;  // a is packed at its end only
  idx_t slab_ = 0, most_steps_ = 0, chunk_cols_ = 0;
  Grid grid_;
  char* b_ = nullptr;
  std::byte* scratch_ = nullptr;
};

// Whether all numbers of an operand fit three parts.
bool Fits(Context& context, const PackedOperand& operand, idx_t lines, idx_t terms) {
  constexpr idx_t kElements = 1 << 16;  // of a task
  const idx_t rows = operand.k_contiguous ? lines : terms;
  const idx_t count = operand.k_contiguous ? terms : lines;
  const idx_t step = CeilDiv(kElements, count);
  std::atomic<bool> fits{true};
  ParallelFor(context, CeilDiv(rows, step), [&](idx_t task, int) {
    const auto* from = static_cast<const float*>(operand.data) + task * step * operand.stride;
    if (!HWY_DYNAMIC_DISPATCH(FitParts)(from, std::min(step, rows - task * step), count,
                                        operand.stride)) {
      fits.store(false, std::memory_order_relaxed);
    }
  });
  return fits.load(std::memory_order_relaxed);
}

}  // namespace

void RunTileProduct(Context& context, const PackedProduct& product, bool twin) {
  TileRunner(context, product, twin).Run();
}

bool RunSplitProduct(Context& context, const PackedProduct& product, bool twin) {
  if (!Fits(context, product.a, product.rows, product.terms) ||
      !Fits(context, product.b, product.cols, product.terms)) {
    return false;
  }
  TileRunner(context, product, twin).Run();
  return true;
}

}  // namespace longspan::gemm
#endif  // HWY_ONCE
