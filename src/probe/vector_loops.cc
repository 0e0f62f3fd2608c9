// FMA chains and the memory triad for every instruction set.
#include <utility>

#include "probe/loops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "probe/vector_loops.cc"
#include <hwy/foreach_target.h>
// Must come after foreach_target.h.
#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace longspan::probe {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Accumulators that fit beside the two constants: 16 registers up to AVX2, 32 with AVX-512.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
constexpr std::size_t kFullChains = 24;
#else
constexpr std::size_t kFullChains = 12;
#endif
constexpr std::size_t kCheckChains = 8;
constexpr std::size_t kStarvedChains = 2;

// The indices are a template pack so that the array never lives in memory.
template <std::size_t... I>
HWY_INLINE float RunChains(idx_t steps, std::index_sequence<I...>) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  // Fixed point 1: neither overflow nor denormals, however long it runs.
  const V factor = hn::Set(d, 0.5f), addend = hn::Set(d, 0.5f);
  V sum[sizeof...(I)];
  ((sum[I] = hn::Set(d, 1.0f + 0.001f * static_cast<float>(I))), ...);
  for (idx_t step = 0; step < steps; ++step) {
    ((sum[I] = hn::MulAdd(sum[I], factor, addend)), ...);
  }
  V total = hn::Zero(d);
  ((total = hn::Add(total, sum[I])), ...);
  return hn::GetLane(hn::SumOfLanes(d, total));
}

float RunFma(Chains chains, idx_t steps) {
  switch (chains) {
    case Chains::kFull:
      return RunChains(steps, std::make_index_sequence<kFullChains>());
    case Chains::kCheck:
      return RunChains(steps, std::make_index_sequence<kCheckChains>());
    case Chains::kStarved:
      break;
  }
  return RunChains(steps, std::make_index_sequence<kStarvedChains>());
}

idx_t CountChains(Chains chains) {
  if (chains == Chains::kFull) return kFullChains;
  return chains == Chains::kCheck ? kCheckChains : kStarvedChains;
}

idx_t CountLanes() { return static_cast<idx_t>(hn::Lanes(hn::ScalableTag<float>())); }

void RunTriad(const float* HWY_RESTRICT b, const float* HWY_RESTRICT c, float* HWY_RESTRICT a,
              idx_t count) {
  const hn::ScalableTag<float> d;
  const auto factor = hn::Set(d, 3.0f);
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  for (idx_t i = 0; i < count; i += lanes) {
    hn::Stream(hn::MulAdd(factor, hn::Load(d, c + i), hn::Load(d, b + i)), d, a + i);
  }
  hwy::FlushStream();
}

}  // namespace HWY_NAMESPACE
}  // namespace longspan::probe
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longspan::probe {

HWY_EXPORT(RunFma);
HWY_EXPORT(CountChains);
HWY_EXPORT(CountLanes);
HWY_EXPORT(RunTriad);

float FmaLoop(Chains chains, idx_t steps) { return HWY_DYNAMIC_DISPATCH(RunFma)(chains, steps); }

idx_t ChainCount(Chains chains) { return HWY_DYNAMIC_DISPATCH(CountChains)(chains); }

idx_t FloatLanes() { return HWY_DYNAMIC_DISPATCH(CountLanes)(); }

void Triad(const float* b, const float* c, float* a, idx_t count) {
  HWY_DYNAMIC_DISPATCH(RunTriad)(b, c, a, count);
}

}  // namespace longspan::probe
#endif  // HWY_ONCE
