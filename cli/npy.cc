#include "cli/npy.h"

#include <fmt/format.h>

namespace longspan::cli {

std::string NpyHeader(idx_t rows, idx_t cols, DType type) {
  constexpr std::size_t kBeforeText = 10;
  constexpr std::size_t kTextBytes = kNpyHeaderBytes - kBeforeText;  // two numbers of 19 digits fit
  std::string header = "\x93NUMPY";
  header += '\x01';
  header += '\x00';
  header += static_cast<char>(kTextBytes & 0xff);
  header += static_cast<char>(kTextBytes >> 8);
  const char* name = type == DType::kI8 ? "|i1" : type == DType::kU8 ? "|u1" : "<f4";
  header += fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}, {}), }}", name,
                        rows, cols);
  header.resize(kNpyHeaderBytes - 1, ' ');
  header += '\n';
  return header;
}

}  // namespace longspan::cli
