// Full attention on bf16 inputs, on every path that bf16 products can take.
#include <gtest/gtest.h>

#include <vector>

#include "longspan/attention.h"
#include "tests/support/bf16_attention.h"

namespace longspan::test {
namespace {

// hidden(t): the key mask, which leaves each query something.
void CheckFull(idx_t T, idx_t D, bool causal, idx_t hidden_from, idx_t B = 1, idx_t H = 1) {
  FullSpec spec;
  spec.causal = causal;
  std::vector<std::uint8_t> mask;
  const auto shown = [&](idx_t t) { return t < hidden_from || t % 5 == 0; };
  for (idx_t t = 0; t < B * T; ++t) mask.push_back(shown(t % T) ? 1 : 0);
  const Bf16Problem p{B, H, T, D,
                      [&](idx_t, idx_t i, idx_t j) { return shown(j) && (!causal || j <= i); }};
  CheckBf16(p, [&](Context& context, Bf16Tensors& x) {
    const KeyMask keys = hidden_from >= T ? KeyMask() : KeyMask(mask.data(), {B, T});
    FullForward(context, spec, x.Qkv(), keys, x.Saved());
    FullBackward(context, spec, x.Qkv(), keys, x.Saved(), x.Dout(), x.Gradients());
  });
}

TEST(FullBf16, LengthsAndHeadSizes) {
  for (const bool causal : {false, true}) {
    for (const idx_t T : {1, 2, 13, 47, 193, 210}) {
      for (const idx_t D : {1, 7, 64}) CheckFull(T, D, causal, T);
    }
    CheckFull(100, 128, causal, 100);
  }
}

TEST(FullBf16, MasksAndHeads) {
  for (const bool causal : {false, true}) {
    CheckFull(70, 12, causal, 40, 2, 2);
    CheckFull(211, 20, causal, 1);
  }
}

}  // namespace
}  // namespace longspan::test
