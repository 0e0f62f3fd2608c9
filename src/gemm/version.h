// Which oneDNN the program runs with.
#pragma once

#include <string>

namespace longspan::gemm {

// "2.7.3": of the shared library that was loaded.
std::string OneDnnVersion();

}  // namespace longspan::gemm
