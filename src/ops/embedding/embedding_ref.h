// Table look-up in plain loops, on any scalar.
#pragma once

#include <cstdint>
#include <vector>

#include "longspan/types.h"

namespace longspan::ref {

// out (T, C) = table (V, C)[ids].
template <class T>
std::vector<T> EmbeddingForward(const std::vector<std::int32_t>& ids, const std::vector<T>& table,
                                idx_t width) {
  std::vector<T> out;
  for (const std::int32_t id : ids) {
    for (idx_t c = 0; c < width; ++c) {
      out.push_back(table[static_cast<std::size_t>(id * width + c)]);
    }
  }
  return out;
}

// dtable += dout, row by row.
template <class T>
void EmbeddingBackward(const std::vector<std::int32_t>& ids, const std::vector<T>& dout,
                       idx_t width, std::vector<T>& dtable) {
  for (std::size_t t = 0; t < ids.size(); ++t) {
    for (idx_t c = 0; c < width; ++c) {
      dtable[static_cast<std::size_t>(ids[t] * width + c)] +=
          dout[t * static_cast<std::size_t>(width) + static_cast<std::size_t>(c)];
    }
  }
}

}  // namespace longspan::ref
