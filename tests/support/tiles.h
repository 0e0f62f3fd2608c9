// For tests of attention on the tile unit: its paths alone, and what the path that widens to fp32
// gives for the same call.
#pragma once

#include <optional>

#include "base/isa.h"
#include "tests/support/bf16_attention.h"

namespace longspan::test {

// The paths that are kernels on tiles, one after another: the twin, and the unit where there is
// one.
template <class Body>
void OnTiles(const Body& body) {
  ForEachBf16Path([&] {
    if (MultipliesTiles(true)) body();
  });
}

// What run(x) makes of a copy of `given` with products in fp32.
template <class Tensors, class Run>
Tensors Widened(const Tensors& given, const Run& run) {
  Tensors x = given;
  const std::optional<Bf16Path> before = ForcedBf16Path();
  ForceBf16Path(Bf16Path::kWiden);
  run(x);
  ForceBf16Path(before);
  return x;
}

// Both, compared: a key too many or too few, or a weight dropped by one path alone, is an error of
// 1e-1 in some row. `gradients`: false where those of scores are rounding alone.
template <class Run>
void ExpectTilesMatchWidened(const Bf16Tensors& given, const Run& run, bool gradients = true) {
  const Bf16Tensors expected = Widened(given, run);
  OnTiles([&] {
    Bf16Tensors x = given;
    run(x);
    const Tolerance tolerance{0.2, 1e-2};
    EXPECT_MATCHES(x.Result().out, expected.Result().out, tolerance);
    EXPECT_MATCHES(x.lse, expected.lse, (Tolerance{1e-2, 1e-2}));
    EXPECT_MATCHES(x.dv, expected.dv, tolerance);
    if (!gradients) return;
    EXPECT_MATCHES(x.dq, expected.dq, tolerance);
    EXPECT_MATCHES(x.dk, expected.dk, tolerance);
  });
}

}  // namespace longspan::test
