// Rows of memory that will be gathered or written soon, handed out line by line: a core has few
// misses in flight, and asked for all at once they would stall it. Register tiles ask for a line
// between their terms.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "base/math.h"
#include "longspan/types.h"
#include "tensor/mixed_view.h"

namespace longspan {

class RowPrefetcher {
 public:
  static constexpr idx_t kMostLines = 64;  // of one Take
  using Lines = std::array<const float*, kMostLines + 3>;

  void Clear() { begin_ = end_ = 0; }
  bool empty() const { return begin_ == end_; }

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

  // Rows of `count` tokens of one head of a (B, H, T, D) array, fp32 or bf16: those from t on, or
  // tokens[0 .. count).
  template <class Row>
  void Add(const MixedView<Row>& array, idx_t b, idx_t h, idx_t t, idx_t count) {
    const idx_t width = array.bf16 ? 2 : 1;  // elements in a float's place
    if (count <= 0 || array.stride[2] % width != 0) return;
    Add(static_cast<const float*>(array(b, h, t).data), array.stride[2] / width, count,
        CeilDiv(array.extent[3], width));
  }
  template <class Row>
  void Add(const std::int32_t* tokens, const MixedView<Row>& array, idx_t b, idx_t h, idx_t count) {
    const idx_t width = array.bf16 ? 2 : 1;
    if (array.stride[2] % width != 0) return;
    Add(tokens, static_cast<const float*>(array(b, h, 0).data), array.stride[2] / width, count,
        CeilDiv(array.extent[3], width));
  }

  // An address in each of the next lines, at most `most`; returns how many.
  idx_t Take(idx_t most, Lines& lines) {
    most = std::min(most, kMostLines);
    idx_t taken = 0;
    while (taken < most && !empty()) {
      Rows& r = lists_[begin_];
      const float* line = r.base + Token(r) * r.stride + at_;
      const idx_t left = CeilDiv(r.size - at_, kLineFloats), count = std::min(left, most - taken);
      // Rows have 4 lines or so: four stores cost less than a loop of their number.
      for (idx_t i = 0; i < count; i += 4, line += 4 * kLineFloats) {
        const float** to = &lines[static_cast<std::size_t>(taken + i)];
        to[0] = line;
        to[1] = line + kLineFloats;
        to[2] = line + 2 * kLineFloats;
        to[3] = line + 3 * kLineFloats;
      }
      taken += count;
      at_ += count * kLineFloats;
      if (count < left) break;
      at_ = 0;
      if (++r.next == r.count) ++begin_;
    }
    return taken;
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
    if (empty()) at_ = 0;
    if (rows.count > 0 && end_ < lists_.size()) lists_[end_++] = rows;
  }
  std::array<Rows, 8> lists_;
  std::size_t begin_ = 0, end_ = 0;
  idx_t at_ = 0;  // of the current row
};

}  // namespace longspan
