// Chunked attention on bf16 inputs, on every path that bf16 products can take.
#include <gtest/gtest.h>

#include <vector>

#include "longspan/attention.h"
#include "tests/support/bf16_attention.h"

namespace longspan::test {
namespace {

void CheckChunked(idx_t T, idx_t D, const ChunkedSpec& spec, bool masked, idx_t B = 1,
                  idx_t H = 1) {
  const idx_t chunks = (T + spec.chunk - 1) / spec.chunk;
  const auto shown = [&](idx_t t) { return !masked || t % 3 != 1; };
  std::vector<std::uint8_t> mask;
  for (idx_t t = 0; t < B * T; ++t) mask.push_back(shown(t % T) ? 1 : 0);
  // Chunks lie in a circle; a key that a window meets twice counts twice, so windows stay smaller.
  const Bf16Problem p{B, H, T, D, [&](idx_t, idx_t i, idx_t j) {
                        if (!shown(j) || (spec.causal && j > i)) return false;
                        if (T <= spec.chunk) return true;
                        const idx_t from = (i / spec.chunk - j / spec.chunk + chunks) % chunks;
                        return from <= spec.before || chunks - from <= spec.after;
                      }};
  ASSERT_TRUE(T <= spec.chunk || 1 + spec.before + spec.after <= chunks);
  CheckBf16(p, [&](Context& context, Bf16Tensors& x) {
    const KeyMask keys = masked ? KeyMask(mask.data(), {B, T}) : KeyMask();
    ChunkedForward(context, spec, x.Qkv(), keys, x.Saved());
    ChunkedBackward(context, spec, x.Qkv(), keys, x.Saved(), x.Dout(), x.Gradients());
  });
}

ChunkedSpec Spec(idx_t chunk, idx_t before, idx_t after, bool causal) {
  ChunkedSpec spec;
  spec.chunk = chunk;
  spec.before = before;
  spec.after = after;
  spec.causal = causal;
  return spec;
}

TEST(ChunkedBf16, LengthsAndHeadSizes) {
  for (const bool causal : {false, true}) {
    for (const idx_t T : {1, 5, 31, 64, 130, 257}) {
      for (const idx_t D : {1, 6, 64})
        CheckChunked(T, D, Spec(64, T > 64 ? 1 : 0, 0, causal), false);
    }
    CheckChunked(95, 20, Spec(13, 2, 1, causal), false);
    CheckChunked(200, 128, Spec(40, 1, 0, causal), false);
  }
}

TEST(ChunkedBf16, MasksAndHeads) {
  for (const bool causal : {false, true}) {
    CheckChunked(130, 12, Spec(32, 1, 0, causal), true, 2, 2);
    CheckChunked(75, 7, Spec(9, 1, 1, causal), true);
  }
}

TEST(ChunkedBf16, RowsThatSeeNothingWeighTheWholeWindow) {
  // Every key of the first two chunks is hidden: causal rows there weigh all keys of their window.
  const idx_t T = 48;
  const Bf16Problem p{1, 1, T, 8, [](idx_t, idx_t, idx_t) { return true; }};
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(T), 0);
  std::fill(mask.begin() + 32, mask.end(), std::uint8_t{1});
  ForEachBf16Path([&] {
    Bf16Tensors x(p);
    Context context(1);
    const ChunkedSpec spec = Spec(16, 1, 0, true);
    ChunkedForward(context, spec, x.Qkv(), KeyMask(mask.data(), {1, T}), x.Saved());
    for (idx_t d = 0; d < p.D; ++d) {
      double mean = 0.0;  // of the second chunk's window: chunks 0 and 1
      for (idx_t t = 0; t < 32; ++t) {
        mean += static_cast<double>(ToFloat(x.v[static_cast<std::size_t>(t * p.D + d)])) / 32.0;
      }
      const float out = ToFloat(x.out[static_cast<std::size_t>(20 * p.D + d)]);
      EXPECT_NEAR(static_cast<double>(out), mean, 0x1p-8 * std::abs(mean) + 1e-6);
    }
  });
}

}  // namespace
}  // namespace longspan::test
