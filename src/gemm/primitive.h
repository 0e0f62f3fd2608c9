// One matrix product on the calling thread, through oneDNN. The only header that knows it is there
// does not show it: dnnl.hpp is included by primitive.cc alone.
#pragma once

#include <compare>
#include <cstddef>
#include <memory>
#include <string>

#include "base/isa.h"
#include "longspan/types.h"

namespace longspan::gemm {

// c (m, n) = a (m, k) b (k, n) [+ c]. Element (i, j) of a lies at i * a_row + j * a_col; one of the
// two strides is 1. c is fp32 with stride 1 inside a row.
struct ProductShape {
  idx_t m = 0, n = 0, k = 0;
  idx_t a_row = 0, a_col = 1;
  idx_t b_row = 0, b_col = 1;
  idx_t c_row = 0;
  DType dtype = DType::kF32;  // of a and b: kF32 or kBF16
  bool accumulate = false;
  bool packed = false;  // b in oneDNN's own order, from Pack()

  auto operator<=>(const ProductShape&) const = default;
};

// Thread-safe: several threads may Run one product at once, each with its own scratch.
class Product {
 public:
  virtual ~Product() = default;

  virtual std::size_t scratch_bytes() const = 0;
  virtual const char* implementation() const = 0;  // "gemm:jit", "brg:avx512_core"

  // Single-threaded. scratch: scratch_bytes(), 64-byte aligned.
  virtual void Run(const void* a, const void* b, float* c, void* scratch) const = 0;

  // For a packed product: the size of b in oneDNN's order, and the reordering into it. Two products
  // that differ in m alone can share a b when SameOrder says so.
  virtual std::size_t packed_bytes() const = 0;
  virtual void Pack(const void* b, void* packed) const = 0;
  virtual bool SameOrder(const Product& other) const = 0;
};

// Made at the first use of a shape, then found again: a training step creates nothing.
std::shared_ptr<const Product> FindProduct(const ProductShape& shape);

// Products made so far, and oneDNN's effective instruction set: for tests.
idx_t ProductsMade();
Isa LibraryIsa();

}  // namespace longspan::gemm
