// The bf16 dot-product instructions, which Highway does not offer: AVX512_BF16 and AMX. Their twin
// without such hardware is the fp32 loop (peaks.cc).
#include "probe/loops.h"
#include "simd/tile_config.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <utility>
#endif

namespace longspan::probe {

#if defined(__x86_64__)
namespace {

constexpr std::size_t kChains = 24;  // of 32 registers; latency 6, two pipes

#define LONGSPAN_AVX512_BF16 __attribute__((target("avx512f,avx512bf16")))
#define LONGSPAN_AMX __attribute__((target("amx-tile,amx-bf16")))

template <std::size_t... I>
LONGSPAN_AVX512_BF16 float DotLoop(idx_t steps, std::index_sequence<I...>) {
  const auto ones = (__m512bh)_mm512_set1_epi32(0);
  __m512 sum[sizeof...(I)];
  ((sum[I] = _mm512_set1_ps(static_cast<float>(I))), ...);
  for (idx_t step = 0; step < steps; ++step) {
    ((sum[I] = _mm512_dpbf16_ps(sum[I], ones, ones)), ...);
    // Products of zeros leave the sums alone; without this the compiler could see that.
    (([&](__m512& s) LONGSPAN_AVX512_BF16 { __asm__ volatile("" : "+v"(s)); }(sum[I])), ...);
  }
  __m512 total = _mm512_setzero_ps();
  ((total = _mm512_add_ps(total, sum[I])), ...);
  return _mm512_cvtss_f32(total);
}

// 2 x 2 blocks of 16 x 16 sums from two tiles of each operand: all eight tiles.
LONGSPAN_AMX float TileLoop(idx_t steps) {
  const TileConfig config;
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (idx_t step = 0; step < steps; ++step) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  alignas(64) float result[16 * 16];
  _tile_stored(0, result, 64);
  _tile_release();
  return result[0];
}

}  // namespace

double Bf16FlopPerStep(Isa isa) {
  if (isa == Isa::kAmx) return 4.0 * 16 * 16 * 32 * 2;
  if (isa == Isa::kAvx512Bf16) return 2.0 * 2 * 16 * kChains;
  return 0.0;
}

float Bf16Loop(Isa isa, idx_t steps) {
  if (isa == Isa::kAmx) return TileLoop(steps);
  return DotLoop(steps, std::make_index_sequence<kChains>());
}

bool AllowBf16(Isa isa) { return isa != Isa::kAmx || PermitTiles(); }

#else

double Bf16FlopPerStep(Isa) { return 0.0; }
float Bf16Loop(Isa, idx_t) { return 0.0f; }
bool AllowBf16(Isa) { return false; }

#endif

}  // namespace longspan::probe
