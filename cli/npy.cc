#include "cli/npy.h"

#include <fmt/format.h>

namespace longspan::cli {

std::string NpyBytes(const float* values, idx_t rows, idx_t cols) {
  constexpr std::size_t kAlignment = 64, kBeforeHeader = 10;
  std::string header =
      fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
  const std::size_t used = (kBeforeHeader + header.size() + 1) % kAlignment;
  header.append(used == 0 ? 0 : kAlignment - used, ' ');
  header += '\n';
  std::string bytes = "\x93NUMPY";
  bytes += '\x01';
  bytes += '\x00';
  bytes += static_cast<char>(header.size() & 0xff);
  bytes += static_cast<char>(header.size() >> 8);
  bytes += header;
  bytes.append(reinterpret_cast<const char*>(values),
               static_cast<std::size_t>(rows * cols) * sizeof(float));
  return bytes;
}

}  // namespace longspan::cli
