// Loops over the rows and vectors of a tile are written out, so that its sums stay in registers.
#pragma once

#if defined(__clang__)
#define LONGSPAN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LONGSPAN_UNROLL _Pragma("GCC unroll 16")
#endif
