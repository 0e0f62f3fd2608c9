// Attention on one's own tensors: chunked local attention over memory of the caller.
// Two heads look at 12 tokens in chunks of 4; each query sees its own chunk and the one before.
#include <cmath>
#include <cstdio>
#include <vector>

#include "longspan/attention.h"
#include "longspan/error.h"
#include "longspan/version.h"

using longspan::idx_t;

int main() {
  constexpr idx_t B = 1, H = 2, T = 12, D = 8;  // batch, heads, tokens, head size
  try {
    longspan::Context context;
    std::printf("longspan %s, %s\n", LONGSPAN_VERSION, context.Describe().c_str());

    // The values lie in memory of one's own, row by row: (B, H, T, D). A tensor adopts it without a
    // copy; views are how operations see tensors.
    std::vector<float> memory;
    for (idx_t h = 0; h < H; ++h) {
      for (idx_t t = 0; t < T; ++t) memory.insert(memory.end(), D, static_cast<float>(t + h));
    }
    longspan::Tensor v =
        longspan::Tensor::Adopt(memory.data(), {B, H, T, D}, longspan::DType::kF32, {});
    const auto values = v.view<4>();

    // Other tensors own memory that starts as zero. With queries and keys zero every visible key
    // weighs the same, so the output is the mean of the visible values.
    longspan::Tensor q({B, H, T, D}), k({B, H, T, D});
    longspan::Tensor out({B, H, T, D}), lse({B, H, T});

    longspan::ChunkedSpec spec;
    spec.chunk = 4;
    spec.before = 1;
    spec.causal = true;
    const longspan::Qkv qkv{q.view<4>(), k.view<4>(), values};
    const longspan::AttentionSaved saved{out.view<4>(), lse.view<3>()};
    longspan::ChunkedForward(context, spec, qkv, longspan::KeyMask(), saved);

    bool right = true;
    for (idx_t t = 0; t < T; ++t) {
      // Causal and one chunk of look-back: tokens from the start of the previous chunk up to t.
      const idx_t first = t < spec.chunk ? 0 : (t / spec.chunk - 1) * spec.chunk;
      const float mean = 0.5f * static_cast<float>(first + t);
      const float got = saved.out(0, 0, t, 0);
      std::printf("token %2d: %.3f, expected %.3f\n", static_cast<int>(t), got, mean);
      right = right && std::abs(got - mean) < 1e-5f;
      right = right && std::abs(saved.out(0, 1, t, D - 1) - (mean + 1.0f)) < 1e-5f;
    }
    std::printf("%s\n", right ? "attention is right" : "attention is WRONG");
    return right ? 0 : 1;
  } catch (const longspan::Error& error) {
    std::fprintf(stderr, "hello_attention: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
