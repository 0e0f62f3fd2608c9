// Rows of memory that will be gathered or written soon, asked for a few per register tile: a core
// has few misses in flight, and asked for all at once they would stall it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "longspan/types.h"

namespace longspan {

class RowPrefetcher {
 public:
  void Clear() { begin_ = end_ = 0; }

  // Rows base + i * stride of `size` floats, i < count.
  void Add(const float* base, idx_t stride, idx_t count, idx_t size) {
    Append({nullptr, nullptr, 0, count, base, stride, size});
  }
  // Rows base + tokens[i] * stride.
  void Add(const std::int32_t* tokens, const float* base, idx_t stride, idx_t count, idx_t size) {
    Append({tokens, nullptr, 0, count, base, stride, size});
  }
  void Add(const idx_t* tokens, const float* base, idx_t stride, idx_t count, idx_t size) {
    Append({nullptr, tokens, 0, count, base, stride, size});
  }

  void Next(int rows) {
    for (; rows > 0 && begin_ < end_; --rows) {
      Rows& r = lists_[begin_];
      const float* row = r.base + Token(r) * r.stride;
      for (idx_t i = 0; i < r.size; i += kLineFloats) __builtin_prefetch(row + i);
      if (++r.next == r.count) ++begin_;
    }
  }

 private:
  static constexpr idx_t kLineFloats = 16;
  struct Rows {
    const std::int32_t* narrow;
    const idx_t* wide;
    idx_t next, count;
    const float* base;
    idx_t stride, size;
  };
  static idx_t Token(const Rows& r) {
    if (r.narrow != nullptr) return r.narrow[r.next];
    return r.wide != nullptr ? r.wide[r.next] : r.next;
  }
  void Append(const Rows& rows) {
    if (rows.count > 0 && end_ < lists_.size()) lists_[end_++] = rows;
  }
  std::array<Rows, 8> lists_;
  std::size_t begin_ = 0, end_ = 0;
};

}  // namespace longspan
