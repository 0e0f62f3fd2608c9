#include "ops/amx_attention/amx_attention.h"

#include <algorithm>
#include <cstddef>

#include "base/isa.h"

// The portable form and AVX2 run the twin, AVX-512 with VBMI (every CPU with a tile unit has it)
// also the hardware. The other targets would only be compiled for nothing.
#undef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3)
#define HWY_WANT_AVX3_DL  // AVX-512 with VBMI
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/amx_attention/amx_attention.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/amx_attention/amx_backward_run-inl.h"
#include "ops/amx_attention/amx_forward_run-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

template <class T>
void ForwardOn(const AmxPlan& plan, const AmxLists& lists, void* scratch, AmxRange queries) {
  Carver carver(scratch);
  const ForwardRunScratch s = CarveForward(plan, &carver);
  const TileSession<T> session;
  const idx_t begin = queries.begin / kAmxBlock, end = CeilDiv(queries.end, kAmxBlock);
  constexpr idx_t kHeldTerms = 64;
  if (plan.Terms() == kHeldTerms) {
    AmxForwardRun<T, true>(plan, lists, s).Run(begin, end);
  } else {
    AmxForwardRun<T, false>(plan, lists, s).Run(begin, end);
  }
}

template <class T>
void BackwardOn(const AmxPlan& plan, const AmxLists& lists, void* scratch, AmxRange keys,
                AmxRange queries) {
  Carver carver(scratch);
  const BackwardRunScratch s = CarveBackward(plan, false, &carver);
  const TileSession<T> session;
  if (plan.shared) return AmxBackwardRun<T, true>(plan, lists, s).Run(keys, queries);
  AmxBackwardRun<T, false>(plan, lists, s).Run(keys, queries);
}

inline void AmxForwardTask(const AmxPlan& plan, const AmxLists& lists, void* scratch,
                           AmxRange queries) {
#if HWY_TARGET == HWY_AVX3_DL
  if (!plan.twin) return ForwardOn<AmxTiles>(plan, lists, scratch, queries);
#endif
  ForwardOn<TwinTiles>(plan, lists, scratch, queries);
}

inline void AmxBackwardTask(const AmxPlan& plan, const AmxLists& lists, void* scratch,
                            AmxRange keys, AmxRange queries) {
#if HWY_TARGET == HWY_AVX3_DL
  if (!plan.twin) return BackwardOn<AmxTiles>(plan, lists, scratch, keys, queries);
#endif
  BackwardOn<TwinTiles>(plan, lists, scratch, keys, queries);
}

// All targets lay scratch out in the same way.
inline idx_t AmxForwardScratch(const AmxPlan& plan) {
  Carver carver(nullptr);
  CarveForward(plan, &carver);
  return carver.bytes();
}
inline idx_t AmxBackwardScratch(const AmxPlan& plan) {
  Carver carver(nullptr);
  CarveBackward(plan, true, &carver);
  return carver.bytes();
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longspan {

HWY_EXPORT(AmxForwardTask);
HWY_EXPORT(AmxBackwardTask);
HWY_EXPORT(AmxForwardScratch);
HWY_EXPORT(AmxBackwardScratch);

namespace {

// Packed keys and values of a window, and of keys that pass by, with room for what else a core's
// 2 MB L2 cache has to hold.
constexpr idx_t kWindowBytes = 768 << 10, kPassingBytes = 512 << 10;
// What a run of queries remembers while keys pass by.
constexpr idx_t kStateBytes = 512 << 10;
constexpr idx_t kLeastRun = 8;
// Tasks for each thread, so that none waits long at the end.
constexpr idx_t kTasksOfThread = 4;
// Global keys beside a window, in blocks.
constexpr idx_t kMostBeside = 8;
// 256 keys and as many queries meet at once (128: 8 % slower, 64: 20 %), 128 of large heads.
constexpr idx_t kSide = 8, kSideOfLargeHeads = 4, kLargeHeadTerms = 128;

// Blocks of queries of a task, `most` of which the memory allows.
idx_t RunOf(idx_t blocks, idx_t heads, int threads, idx_t most) {
  const idx_t wanted = CeilDiv(blocks * heads, kTasksOfThread * threads);
  return std::clamp(wanted, std::min(kLeastRun, most), std::min(kAmxMostRun, most));
}

}  // namespace

AmxPlan::AmxPlan(idx_t head_size, float score_scale, const Dropout& site, idx_t row_slots)
    : twin(ActiveBf16Path() == Bf16Path::kTwin),
      D(head_size),
      scale(score_scale),
      dropout(site),
      slots(row_slots) {}

void PlanAmxForward(idx_t keys, idx_t left, idx_t right, idx_t globals, idx_t heads, int threads,
                    AmxPlan* plan) {
  const idx_t blocks = CeilDiv(keys, kAmxBlock), pair_bytes = 2 * plan->BlockBytes();
  const idx_t window = kWindowBytes / pair_bytes, passing = kPassingBytes / pair_bytes;
  // What a block of queries sees lies in so many blocks.
  const idx_t span = std::min(blocks, CeilDiv(left, kAmxBlock) + CeilDiv(right, kAmxBlock) + 1);
  const idx_t beside = CeilDiv(globals, kAmxBlock);
  plan->whole = beside <= kMostBeside && (blocks <= window || 4 * span <= 3 * window);
  if (plan->whole) {
    plan->run = RunOf(blocks, heads, threads, blocks <= window ? kAmxMostRun : window - span + 1);
    plan->held = std::min(blocks, plan->run + span - 1);
    plan->beside = beside;
    plan->most_blocks = span + beside;
    return;
  }
  plan->beside = 0;
  plan->held = plan->most_blocks = std::min(std::max(blocks, beside), passing);
  const idx_t state = kAmxBlock * (plan->Terms() + 18) * idx_t{sizeof(float)};
  plan->run = RunOf(blocks, heads, threads, kStateBytes / state);
}

void PlanAmxBackward(idx_t queries, idx_t left, idx_t right, AmxPlan* plan) {
  plan->side = plan->Terms() > kLargeHeadTerms ? kSideOfLargeHeads : kSide;
  const idx_t all = CeilDiv(queries, kAmxBlock);
  const idx_t reach = CeilDiv(left, kAmxBlock) + CeilDiv(right, kAmxBlock) + 2 * plan->side;
  plan->ring = RoundUp(std::min(all, reach), plan->side) + plan->side;
}

std::size_t AmxForwardBytes(const AmxPlan& plan) {
  return static_cast<std::size_t>(HWY_DYNAMIC_DISPATCH(AmxForwardScratch)(plan));
}
std::size_t AmxBackwardBytes(const AmxPlan& plan) {
  return static_cast<std::size_t>(HWY_DYNAMIC_DISPATCH(AmxBackwardScratch)(plan));
}

void AmxForward(const AmxPlan& plan, const AmxLists& lists, void* scratch, AmxRange queries) {
  HWY_DYNAMIC_DISPATCH(AmxForwardTask)(plan, lists, scratch, queries);
}

void AmxBackward(const AmxPlan& plan, const AmxLists& lists, void* scratch, AmxRange keys,
                 AmxRange queries) {
  HWY_DYNAMIC_DISPATCH(AmxBackwardTask)(plan, lists, scratch, keys, queries);
}

}  // namespace longspan
#endif  // HWY_ONCE
