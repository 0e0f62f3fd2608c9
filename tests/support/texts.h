// Texts side by side in a row, for tests: arrays of single texts joined, and taken apart again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "longspan/types.h"

namespace longspan::test {

// Lengths -> where texts begin: 0, and where each ends.
inline std::vector<idx_t> StartsOf(const std::vector<idx_t>& lengths) {
  std::vector<idx_t> starts = {0};
  for (const idx_t length : lengths) starts.push_back(starts.back() + length);
  return starts;
}

// Arrays are (heads, entries, width): `entries` of a text are its tokens or its global tokens.
// Writes a text's entries into the row's, from entry `begin` on.
template <class T>
void PutText(const std::vector<T>& text, idx_t heads, idx_t entries, idx_t begin,
             idx_t entries_of_row, std::vector<T>* row) {
  if (entries == 0) return;
  const idx_t width = static_cast<idx_t>(text.size()) / (heads * entries);
  for (idx_t h = 0; h < heads; ++h) {
    std::copy_n(text.begin() + h * entries * width, entries * width,
                row->begin() + (h * entries_of_row + begin) * width);
  }
}

// The text's entries of the row's array.
template <class T>
std::vector<T> TakeText(const std::vector<T>& row, idx_t heads, idx_t entries, idx_t begin,
                        idx_t entries_of_row) {
  std::vector<T> text;
  if (row.empty() || entries == 0) return text;
  const idx_t width = static_cast<idx_t>(row.size()) / (heads * entries_of_row);
  for (idx_t h = 0; h < heads; ++h) {
    const auto from = row.begin() + (h * entries_of_row + begin) * width;
    text.insert(text.end(), from, from + entries * width);
  }
  return text;
}

}  // namespace longspan::test
