#include "gemm/gemm.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <string_view>
#include <vector>

#include "base/arena.h"
#include "base/bfloat16.h"
#include "base/dense_path.h"
#include "base/errors.h"
#include "base/isa.h"
#include "base/math.h"
#include "gemm/few_rows.h"
#include "gemm/grid.h"
#include "gemm/packed_product.h"
#include "gemm/primitive.h"
#include "gemm/rows.h"
#include "gemm/tile_product.h"
#include "parallel/parallel_for.h"

namespace longspan::gemm {
namespace {

std::atomic<const char*> last_implementation{"none"};

std::size_t BytesOf(DType dtype) { return dtype == DType::kBF16 ? 2 : 4; }

const void* At(const void* data, DType dtype, idx_t element) {
  return static_cast<const std::byte*>(data) + static_cast<std::size_t>(element) * BytesOf(dtype);
}

void* At(void* data, DType dtype, idx_t element) {
  return static_cast<std::byte*>(data) + static_cast<std::size_t>(element) * BytesOf(dtype);
}

template <class M>
void CheckMatrix(std::string_view where, std::string_view name, const M& matrix) {
  Check(matrix.rows >= 0 && matrix.cols >= 1, ErrorCode::kUsage,
        "{}: {} is {} x {}; it needs at least one column", where, name, matrix.rows, matrix.cols);
  Check(matrix.dtype == DType::kF32 || matrix.dtype == DType::kBF16, ErrorCode::kUsage,
        "{}: {} has element type {}; it must be F32 or BF16", where, name, DTypeName(matrix.dtype));
  Check(matrix.stride >= matrix.cols || matrix.rows <= 1, ErrorCode::kUsage,
        "{}: {} has rows of {} elements that lie {} apart", where, name, matrix.cols,
        matrix.stride);
  Check(matrix.data != nullptr || matrix.rows == 0, ErrorCode::kUsage, "{}: {} has no data", where,
        name);
}

void CheckSame(std::string_view where, std::string_view what, std::string_view name_a, idx_t a,
               std::string_view name_b, idx_t b) {
  Check(a == b, ErrorCode::kUsage, "{}: {} has {} {}, {} has {}", where, name_a, a, what, name_b,
        b);
}

void CheckTypes(std::string_view where, std::string_view name_a, DType a, std::string_view name_b,
                DType b) {
  Check(a == b, ErrorCode::kUsage, "{}: {} is {}, {} is {}; both must have one element type", where,
        name_a, DTypeName(a), name_b, DTypeName(b));
}

bool Widens(DType dtype) { return dtype == DType::kBF16 && ActiveDensePath() == DensePath::kWiden; }

// A matrix whose stride means nothing gets one that oneDNN accepts.
idx_t RowStride(idx_t rows, idx_t cols, idx_t stride) {
  return rows <= 1 ? std::max(cols, stride) : stride;
}

// c (T, n) = a (T, k) b (k, n): forward and the gradient of the input differ in how b lies in the
// weights only. Plan, book scratch, prepare b once, run the grid.
class RowProduct {
 public:
  // b (k, n) lies in w: as its transpose, w (n, k), or as it is, w (k, n).
  RowProduct(Context& context, const ConstMatrix& a, const ConstMatrix& w, bool transposed,
             const float* bias, const Matrix& c, Store store)
      : context_(context),
        a_(a),
        w_(w),
        c_(c),
        transposed_(transposed),
        bias_(bias),
        accumulate_(store == Store::kAccumulate),
        grid_(RowGrid(a.rows, c.cols, a.cols)),
        w_stride_(RowStride(w.rows, w.cols, w.stride)) {
    const bool widen = Widens(a.dtype);
    compute_ = widen ? DType::kF32 : a.dtype;
    packed_ = WideVectors() && a.rows >= kPackingPays;
    copy_w_ = copy_a_ = widen;
    tile_c_ = c.dtype == DType::kBF16;
    if (copy_w_) b_stride_ = GoodStride(w.cols);
  }

  void Run() {
    MakeProducts();
    const auto threads = static_cast<std::size_t>(context_.threads());
    Arena::Frame frame(context_.arena(), SharedBytes() + threads * ThreadBytes());
    if (copy_w_) CopyWeights(frame);
    if (packed_) PackWeights(frame);
    std::byte* scratch = static_cast<std::byte*>(frame.TakeBytes(threads * ThreadBytes()));
    ParallelFor(context_, grid_.tasks(), [&](idx_t task, int thread) {
      RunTask(task, scratch + static_cast<std::size_t>(thread) * ThreadBytes());
    });
    last_implementation.store(products_[0][0]->implementation(), std::memory_order_relaxed);
  }

 private:
  idx_t a_stride() const {
    return copy_a_ ? GoodStride(a_.cols) : RowStride(a_.rows, a_.cols, a_.stride);
  }
  idx_t c_stride() const {
    return tile_c_ ? GoodStride(grid_.cols) : RowStride(c_.rows, c_.cols, c_.stride);
  }

  // One product for every size of block that the grid has: inner or last, by rows and by columns.
  void FindProducts() {
    for (std::size_t r = 0; r < 2; ++r) {
      for (std::size_t c = 0; c < 2; ++c) {
        ProductShape shape;
        shape.m = r == 0 ? grid_.rows : grid_.last_rows();
        shape.n = c == 0 ? grid_.cols : grid_.last_cols();
        shape.k = a_.cols;
        shape.a_row = a_stride();
        const idx_t stride = copy_w_ ? b_stride_ : w_stride_;
        shape.b_row = transposed_ ? 1 : stride;
        shape.b_col = transposed_ ? stride : 1;
        shape.c_row = c_stride();
        shape.dtype = compute_;
        shape.accumulate = accumulate_ && !tile_c_;
        shape.packed = packed_;
        products_[r][c] = FindProduct(shape);
      }
    }
  }

  void MakeProducts() {
    FindProducts();
    // Should the last rows' product order its weights in another way, all read them as they are.
    if (packed_ && !(products_[0][0]->SameOrder(*products_[1][0]) &&
                     products_[0][1]->SameOrder(*products_[1][1]))) {
      packed_ = false;
      FindProducts();
    }
    for (const auto& row : products_) {
      for (const auto& product : row) {
        product_scratch_ = std::max(product_scratch_, product->scratch_bytes());
        packed_bytes_ = std::max(packed_bytes_, product->packed_bytes());
      }
    }
    packed_bytes_ = Arena::Bytes<std::byte>(static_cast<idx_t>(packed_bytes_));
    product_scratch_ = Arena::Bytes<std::byte>(static_cast<idx_t>(product_scratch_) + 1);
  }

  std::size_t SharedBytes() const {
    std::size_t bytes = 0;
    if (copy_w_) bytes += Arena::Bytes<float>(w_.rows * b_stride_);
    if (packed_) bytes += packed_bytes_ * static_cast<std::size_t>(grid_.col_blocks());
    return bytes;
  }

  std::size_t SlabBytes() const {
    return copy_a_ ? Arena::Bytes<float>(grid_.rows * a_stride()) : 0;
  }
  std::size_t TileBytes() const {
    return tile_c_ ? Arena::Bytes<float>(grid_.rows * c_stride()) : 0;
  }
  std::size_t ThreadBytes() const { return SlabBytes() + TileBytes() + product_scratch_; }

  void CopyWeights(Arena::Frame& frame) {
    auto* copy = frame.Take<float>(w_.rows * b_stride_);
    constexpr idx_t kRows = 64;
    ParallelFor(context_, CeilDiv(w_.rows, kRows), [&](idx_t task, int) {
      const idx_t begin = task * kRows, rows = std::min(kRows, w_.rows - begin);
      CopyRows(At(w_.data, w_.dtype, begin * w_stride_), w_.dtype, rows, w_.cols, w_stride_,
               copy + begin * b_stride_, b_stride_);
    });
    b_ = copy;
  }

  void PackWeights(Arena::Frame& frame) {
    const idx_t blocks = grid_.col_blocks();
    auto* packed =
        static_cast<std::byte*>(frame.TakeBytes(packed_bytes_ * static_cast<std::size_t>(blocks)));
    ParallelFor(context_, blocks, [&](idx_t block, int) {
      products_[0][block + 1 == blocks]->Pack(
          PlainBlockOfB(block), packed + static_cast<std::size_t>(block) * packed_bytes_);
    });
    b_ = packed;
  }

  // Block `col` of b in the weights, or in their fp32 copy.
  const void* PlainBlockOfB(idx_t col) const {
    const idx_t stride = copy_w_ ? b_stride_ : w_stride_;
    return At(copy_w_ ? b_ : w_.data, compute_, col * grid_.cols * (transposed_ ? stride : 1));
  }

  // Block `col` of b, as its product wants it.
  const void* BlockOfB(idx_t col) const {
    if (!packed_) return PlainBlockOfB(col);
    return static_cast<const std::byte*>(b_) + static_cast<std::size_t>(col) * packed_bytes_;
  }

  void RunTask(idx_t task, std::byte* scratch) const {
    const idx_t row = task / grid_.col_blocks(), col = task % grid_.col_blocks();
    const bool last_row = row + 1 == grid_.row_blocks(), last_col = col + 1 == grid_.col_blocks();
    const idx_t rows = last_row ? grid_.last_rows() : grid_.rows;
    const idx_t cols = last_col ? grid_.last_cols() : grid_.cols;
    const idx_t first_row = row * grid_.rows, first_col = col * grid_.cols;

    const void* a = At(a_.data, a_.dtype, first_row * RowStride(a_.rows, a_.cols, a_.stride));
    if (copy_a_) {
      auto* slab = reinterpret_cast<float*>(scratch);
      CopyRows(a, a_.dtype, rows, a_.cols, a_.stride, slab, a_stride());
      a = slab;
    }
    scratch += SlabBytes();
    void* c = At(c_.data, c_.dtype, first_row * c_.stride + first_col);
    auto* tile = static_cast<float*>(tile_c_ ? static_cast<void*>(scratch) : c);
    scratch += TileBytes();
    products_[last_row][last_col]->Run(a, BlockOfB(col), tile, scratch);
    const float* bias = bias_ == nullptr ? nullptr : bias_ + first_col;
    if (tile_c_) {
      NarrowRows(tile, c_stride(), bias, accumulate_, rows, cols, static_cast<bfloat16*>(c),
                 c_.stride);
    } else if (bias != nullptr) {
      AddBias(bias, rows, cols, tile, c_stride());
    }
  }

  Context& context_;
  const ConstMatrix& a_;
  const ConstMatrix& w_;
  const Matrix& c_;
  const bool transposed_;
  const float* const bias_;
  const bool accumulate_;
  const Grid grid_;
  const idx_t w_stride_;
  DType compute_ = DType::kF32;
  bool packed_ = false, copy_w_ = false, copy_a_ = false, tile_c_ = false;
  idx_t b_stride_ = 0;
  const void* b_ = nullptr;
  std::array<std::array<std::shared_ptr<const Product>, 2>, 2> products_;
  std::size_t product_scratch_ = 0, packed_bytes_ = 0;
};

// dw (N, K) += dy (T, N)^T x (T, K), slab of tokens after slab of tokens: the order of the sum is
// fixed. Tiles of dw run side by side.
class WeightProduct {
 public:
  WeightProduct(Context& context, const ConstMatrix& dy, const ConstMatrix& x,
                const View<float, 2>& dw)
      : context_(context),
        dy_(dy),
        x_(x),
        dw_(dw),
        grid_(TileGrid(dw.extent[0], dw.extent[1], dy.rows)),
        slab_(std::min(dy.rows, kTokenSlab)) {
    const bool widen = Widens(dy.dtype);
    compute_ = widen ? DType::kF32 : dy.dtype;
    // dy is read down its columns: rows a multiple of 1 KiB apart share a few sets of the cache.
    const bool bad_stride = WideVectors() && dy.dtype == DType::kF32 && dy.stride % 256 == 0;
    copy_dy_ = widen || bad_stride;
    copy_x_ = widen;
  }

  void Run() {
    const idx_t slabs = CeilDiv(dy_.rows, slab_);
    const idx_t last = dy_.rows - (slabs - 1) * slab_;
    MakeProducts(0, slab_);
    MakeProducts(1, last);
    const auto threads = static_cast<std::size_t>(context_.threads());
    const std::size_t dy_bytes = copy_dy_ ? Arena::Bytes<float>(slab_ * dy_stride()) : 0;
    const std::size_t x_bytes = copy_x_ ? Arena::Bytes<float>(slab_ * x_stride()) : 0;
    Arena::Frame frame(context_.arena(), dy_bytes + x_bytes + threads * product_scratch_);
    auto* dy_copy = static_cast<float*>(frame.TakeBytes(dy_bytes));
    auto* x_copy = static_cast<float*>(frame.TakeBytes(x_bytes));
    auto* scratch = static_cast<std::byte*>(frame.TakeBytes(threads * product_scratch_));
    for (idx_t slab = 0; slab < slabs; ++slab) {
      const idx_t begin = slab * slab_, tokens = slab + 1 == slabs ? last : slab_;
      const void* dy = At(dy_.data, dy_.dtype, begin * dy_.stride);
      const void* x = At(x_.data, x_.dtype, begin * x_.stride);
      if (copy_dy_ || copy_x_) {
        constexpr idx_t kRows = 32;
        ParallelFor(context_, CeilDiv(tokens, kRows), [&](idx_t task, int) {
          const idx_t first = task * kRows, rows = std::min(kRows, tokens - first);
          if (copy_dy_) {
            CopyRows(At(dy, dy_.dtype, first * dy_.stride), dy_.dtype, rows, dy_.cols, dy_.stride,
                     dy_copy + first * dy_stride(), dy_stride());
          }
          if (copy_x_) {
            CopyRows(At(x, x_.dtype, first * x_.stride), x_.dtype, rows, x_.cols, x_.stride,
                     x_copy + first * x_stride(), x_stride());
          }
        });
      }
      const void* dy_used = copy_dy_ ? dy_copy : dy;
      const void* x_used = copy_x_ ? x_copy : x;
      const std::size_t which = slab + 1 == slabs ? 1 : 0;
      ParallelFor(context_, grid_.tasks(), [&](idx_t task, int thread) {
        const idx_t row = task / grid_.col_blocks(), col = task % grid_.col_blocks();
        const auto& product =
            products_[which][row + 1 == grid_.row_blocks()][col + 1 == grid_.col_blocks()];
        const idx_t n = row * grid_.rows, k = col * grid_.cols;
        product->Run(At(dy_used, compute_, n), At(x_used, compute_, k), &dw_(n, k),
                     scratch + static_cast<std::size_t>(thread) * product_scratch_);
      });
    }
  }

 private:
  idx_t dy_stride() const {
    return copy_dy_ ? GoodStride(dy_.cols) : RowStride(dy_.rows, dy_.cols, dy_.stride);
  }
  idx_t x_stride() const {
    return copy_x_ ? GoodStride(x_.cols) : RowStride(x_.rows, x_.cols, x_.stride);
  }

  void MakeProducts(std::size_t which, idx_t tokens) {
    for (std::size_t r = 0; r < 2; ++r) {
      for (std::size_t c = 0; c < 2; ++c) {
        ProductShape shape;
        shape.m = r == 0 ? grid_.rows : grid_.last_rows();
        shape.n = c == 0 ? grid_.cols : grid_.last_cols();
        shape.k = tokens;
        shape.a_row = 1;
        shape.a_col = dy_stride();
        shape.b_row = x_stride();
        shape.c_row = RowStride(dw_.extent[0], dw_.extent[1], dw_.stride[0]);
        shape.dtype = compute_;
        shape.accumulate = true;
        products_[which][r][c] = FindProduct(shape);
        product_scratch_ = std::max(
            product_scratch_, Arena::Bytes<std::byte>(
                                  static_cast<idx_t>(products_[which][r][c]->scratch_bytes()) + 1));
      }
    }
  }

  Context& context_;
  const ConstMatrix& dy_;
  const ConstMatrix& x_;
  const View<float, 2>& dw_;
  const Grid grid_;
  const idx_t slab_;
  DType compute_ = DType::kF32;
  bool copy_dy_ = false, copy_x_ = false;
  std::array<std::array<std::array<std::shared_ptr<const Product>, 2>, 2>, 2> products_;
  std::size_t product_scratch_ = 0;
};

// Whether a product over or of that many tokens is our own; packing takes a pass over the weights
// that few tokens do not pay back. Below AVX-512 oneDNN 2.6.3 multiplies operands as they lie and
// reaches 0.74 to 0.82 of the peak. Without any vectors oneDNN, whose lowest is SSE4, is faster.
bool PacksItself(idx_t tokens) {
  return ActiveIsa() >= Isa::kSse4 && !WideVectors() && tokens >= kPackingPays;
}

// The same of a product whose rows are tokens. With AVX-512 our own is 1 to 5 % faster on AMD, and
// has not been timed on others; bf16 that the hardware multiplies is left to oneDNN.
bool PacksRows(idx_t tokens, DType dtype) {
  const bool wide = WideVectors() && IsAmd() && (dtype == DType::kF32 || Widens(dtype));
  return PacksItself(tokens) || (wide && tokens >= kPackingPays);
}

std::atomic<bool> splits_fp32{false};

// On the tile unit: true, and `product` is done, where DensePath (of bf16) or SplitFp32 says so.
bool RanOnTiles(Context& context, const PackedProduct& product) {
  const DensePath path = ActiveDensePath();
  const bool twin = path == DensePath::kTwin;
  if (path < DensePath::kTiles) return false;
  const char* name = twin ? kTwinName : kTilesName;
  if (product.a.dtype == DType::kBF16) {
    RunTileProduct(context, product, twin);
  } else {
    if (!splits_fp32.load(std::memory_order_relaxed)) return false;
    if (!RunSplitProduct(context, product, twin)) return false;
    name = kSplitName;
  }
  last_implementation.store(name, std::memory_order_relaxed);
  return true;
}

// c (T, n) = a (T, k) b (k, n); b lies in w as w (n, k), transposed, or as it is, w (k, n).
void MultiplyRows(Context& context, const ConstMatrix& a, const ConstMatrix& w, bool transposed,
                  const float* bias, const Matrix& c, Store store) {
  PackedProduct product;
  product.rows = a.rows;
  product.cols = c.cols;
  product.terms = a.cols;
  product.a = {a.data, a.dtype, a.stride, true};
  product.b = {w.data, w.dtype, w.stride, transposed};
  product.bias = bias;
  product.c = c;
  product.accumulate = store == Store::kAccumulate;
  if (RanOnTiles(context, product)) return;
  if (!PacksRows(a.rows, a.dtype)) {
    RowProduct(context, a, w, transposed, bias, c, store).Run();
    return;
  }
  RunPackedProduct(context, product);
  last_implementation.store(kPackedName, std::memory_order_relaxed);
}

}  // namespace

ConstMatrix::ConstMatrix(const View<const float, 2>& view)
    : data(view.data), rows(view.extent[0]), cols(view.extent[1]), stride(view.stride[0]) {}
ConstMatrix::ConstMatrix(const View<float, 2>& view)
    : ConstMatrix(static_cast<View<const float, 2>>(view)) {}
ConstMatrix::ConstMatrix(const View<const bfloat16, 2>& view)
    : data(view.data),
      dtype(DType::kBF16),
      rows(view.extent[0]),
      cols(view.extent[1]),
      stride(view.stride[0]) {}
ConstMatrix::ConstMatrix(const View<bfloat16, 2>& view)
    : ConstMatrix(static_cast<View<const bfloat16, 2>>(view)) {}

Matrix::Matrix(const View<float, 2>& view)
    : data(view.data), rows(view.extent[0]), cols(view.extent[1]), stride(view.stride[0]) {}
Matrix::Matrix(const View<bfloat16, 2>& view)
    : data(view.data),
      dtype(DType::kBF16),
      rows(view.extent[0]),
      cols(view.extent[1]),
      stride(view.stride[0]) {}

void Forward(Context& context, const ConstMatrix& x, const ConstMatrix& w, const float* bias,
             const Matrix& y, Store store) {
  constexpr std::string_view kWhere = "dense forward";
  CheckMatrix(kWhere, "x", x);
  CheckMatrix(kWhere, "w", w);
  CheckMatrix(kWhere, "y", y);
  CheckSame(kWhere, "columns", "x", x.cols, "w", w.cols);
  CheckSame(kWhere, "rows", "x", x.rows, "y", y.rows);
  Check(w.rows == y.cols, ErrorCode::kUsage, "{}: w has {} rows, y has {} columns", kWhere, w.rows,
        y.cols);
  CheckTypes(kWhere, "x", x.dtype, "w", w.dtype);
  Check(y.dtype == DType::kF32 || y.dtype == x.dtype, ErrorCode::kUsage,
        "{}: y is {}, x is {}; y must be F32 or what x is", kWhere, DTypeName(y.dtype),
        DTypeName(x.dtype));
  if (x.rows == 0) return;
  if (x.rows <= kFewRows && x.dtype == DType::kF32) {
    FewRowsForward(context, x, w, bias, y, store);
    last_implementation.store(kFewRowsName, std::memory_order_relaxed);
    return;
  }
  MultiplyRows(context, x, w, true, bias, y, store);
}

void BackwardData(Context& context, const ConstMatrix& dy, const ConstMatrix& w, const Matrix& dx,
                  Store store) {
  constexpr std::string_view kWhere = "dense gradient of the input";
  CheckMatrix(kWhere, "dy", dy);
  CheckMatrix(kWhere, "w", w);
  CheckMatrix(kWhere, "dx", dx);
  Check(dy.cols == w.rows, ErrorCode::kUsage, "{}: dy has {} columns, w has {} rows", kWhere,
        dy.cols, w.rows);
  CheckSame(kWhere, "rows", "dy", dy.rows, "dx", dx.rows);
  CheckSame(kWhere, "columns", "w", w.cols, "dx", dx.cols);
  CheckTypes(kWhere, "dy", dy.dtype, "w", w.dtype);
  Check(dx.dtype == DType::kF32 || dx.dtype == dy.dtype, ErrorCode::kUsage,
        "{}: dx is {}, dy is {}; dx must be F32 or what dy is", kWhere, DTypeName(dx.dtype),
        DTypeName(dy.dtype));
  if (dy.rows == 0) return;
  MultiplyRows(context, dy, w, false, nullptr, dx, store);
}

void BackwardWeights(Context& context, const ConstMatrix& dy, const ConstMatrix& x,
                     const View<float, 2>& dw) {
  constexpr std::string_view kWhere = "dense gradient of the weights";
  CheckMatrix(kWhere, "dy", dy);
  CheckMatrix(kWhere, "x", x);
  if (dw.data == nullptr) return;
  CheckMatrix(kWhere, "dw", Matrix(dw));
  CheckSame(kWhere, "rows", "dy", dy.rows, "x", x.rows);
  Check(dw.extent[0] == dy.cols, ErrorCode::kUsage, "{}: dy has {} columns, dw has {} rows", kWhere,
        dy.cols, dw.extent[0]);
  CheckSame(kWhere, "columns", "x", x.cols, "dw", dw.extent[1]);
  CheckTypes(kWhere, "dy", dy.dtype, "x", x.dtype);
  if (dy.rows == 0) return;
  PackedProduct product;
  product.rows = dy.cols;
  product.cols = x.cols;
  product.terms = dy.rows;
  product.a = {dy.data, dy.dtype, dy.stride, false};
  product.b = {x.data, x.dtype, x.stride, false};
  product.c = dw;
  product.accumulate = true;
  if (RanOnTiles(context, product)) return;
  if (!PacksItself(dy.rows)) {
    WeightProduct(context, dy, x, dw).Run();
    return;
  }
  RunPackedProduct(context, product);
}

void BackwardBias(Context& context, const ConstMatrix& dy, float* dbias) {
  constexpr std::string_view kWhere = "dense gradient of the bias";
  CheckMatrix(kWhere, "dy", dy);
  Check(dbias != nullptr, ErrorCode::kUsage, "{}: dbias has no data", kWhere);
  if (dy.rows == 0) return;
  // Partial sums of fixed blocks of rows, added in order.
  constexpr idx_t kFewestRows = 256, kMostBlocks = 128;
  const idx_t block_rows = std::max(kFewestRows, CeilDiv(dy.rows, kMostBlocks));
  const idx_t blocks = CeilDiv(dy.rows, block_rows), stride = RoundUp(dy.cols, 16);
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(blocks * stride));
  auto* partial = frame.Take<float>(blocks * stride);
  ParallelFor(context, blocks, [&](idx_t block, int) {
    const idx_t begin = block * block_rows, rows = std::min(block_rows, dy.rows - begin);
    SumColumns(At(dy.data, dy.dtype, begin * dy.stride), dy.dtype, rows, dy.cols, dy.stride,
               partial + block * stride);
  });
  for (idx_t block = 0; block < blocks; ++block) AddTo(partial + block * stride, dy.cols, dbias);
}

namespace {

// Calls rows(first, count) over pieces of two matrices of one shape.
template <class X, class Y, class Rows>
void ForPieces(Context& context, std::string_view where, const View<X, 2>& x, const View<Y, 2>& y,
               const Rows& rows) {
  Check(x.extent == y.extent, ErrorCode::kUsage, "{}: x is {}, y is {}", where, ShapeText(x),
        ShapeText(y));
  constexpr idx_t kElements = 1 << 14;  // of a task
  if (x.size() == 0) return;
  const idx_t step = CeilDiv(kElements, x.extent[1]);
  ParallelFor(context, CeilDiv(x.extent[0], step), [&](idx_t task, int) {
    rows(task * step, std::min(step, x.extent[0] - task * step));
  });
}

}  // namespace

void Round(Context& context, const View<const float, 2>& x, const View<bfloat16, 2>& y) {
  ForPieces(context, "round to bf16", x, y, [&](idx_t first, idx_t count) {
    NarrowRows(x.data + first * x.stride[0], x.stride[0], nullptr, false, count, x.extent[1],
               y.data + first * y.stride[0], y.stride[0]);
  });
}

void Widen(Context& context, const View<const bfloat16, 2>& x, const View<float, 2>& y) {
  ForPieces(context, "widen bf16", x, y, [&](idx_t first, idx_t count) {
    CopyRows(x.data + first * x.stride[0], DType::kBF16, count, x.extent[1], x.stride[0],
             y.data + first * y.stride[0], y.stride[0]);
  });
}

void SplitFp32(bool on) { splits_fp32.store(on, std::memory_order_relaxed); }

const char* LastImplementation() { return last_implementation.load(std::memory_order_relaxed); }

}  // namespace longspan::gemm
