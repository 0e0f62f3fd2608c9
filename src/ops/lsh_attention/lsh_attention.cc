#include "ops/lsh_attention/lsh_attention.h"

#include <array>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "base/arena.h"
#include "base/errors.h"
#include "base/isa.h"
#include "ops/lsh_attention/lsh_checks.h"
#include "parallel/parallel_for.h"
#include "simd/tile_extents.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/lsh_attention/lsh_attention.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/lsh_attention/lsh_attention-inl.h"

#if HWY_ONCE
namespace longspan {

HWY_EXPORT(LshForwardTask);
HWY_EXPORT(LshDeltaTask);
HWY_EXPORT(LshBackwardTask);
HWY_EXPORT(LshSideTask);
HWY_EXPORT(LshOtherRoundsTask);

namespace {

// Tokens of a task: gathering its halo twice costs a sixteenth at chunk 64 with one chunk of
// look-back; one head of 16K tokens feeds 16 cores in each round.
constexpr idx_t kRunTokens = 1024;
// Query rows at a time: 64 rows of D = 64 are half of a 32 KB L1 cache.
constexpr idx_t kMostBlockRows = 64;
constexpr idx_t kFewestBlockRows = 12;
// Scores of a block: two such buffers and the packed window share a 512 KB L2 cache.
constexpr idx_t kBlockScores = 24 * 1024;
constexpr idx_t kDeltaTokens = 1024;
constexpr idx_t kTermBytes = 32;  // at least sizeof(TileTerm)

void CheckArguments(const LshSpec& spec, const SharedQkv& qkv, const KeyMask& mask,
                    const View<const std::uint16_t, 4>& buckets, const SharedSaved& saved) {
  const auto& shape = qkv.qk.extent;
  CheckLshInput(spec, qkv.qk, mask, spec.Hashes(shape[2]));
  CheckLshView(qkv.v, "v", shape);
  CheckLshView(saved.out, "out", shape);
  CheckLshView(saved.max, "max", {shape[0], shape[1], shape[2]});
  CheckLshView(saved.sum, "sum", {shape[0], shape[1], shape[2]});
  Check(spec.dropout.p >= 0.0f && spec.dropout.p < 1.0f, ErrorCode::kUsage,
        "LSH attention: dropout {} is not in [0, 1)", spec.dropout.p);
  if (!spec.Hashes(shape[2])) return;
  CheckLshView(buckets, "buckets", {shape[0], shape[1], spec.rounds, shape[2]});
}

// Hands `take(pointer, count)` every array of a thread's scratch.
template <class Take>
void EachArray(const LshPlan& plan, bool backward, LshScratch& s, const Take& take) {
  const idx_t keys = RoundUp(plan.chunk, LshPlan::kPanelUnit) * plan.D;
  const idx_t wide = RoundUp(plan.D, LshPlan::kPanelUnit);
  const idx_t rows = plan.chunk * wide;
  take(s.tag, plan.ring);
  take(s.part_slot, plan.parts);
  take(s.part_keys, plan.parts);
  take(s.terms, plan.parts * kTermBytes);
  take(s.token, plan.ring * plan.columns);
  take(s.bound, plan.ring * plan.columns);
  take(s.rows, plan.ring * plan.chunk * plan.row);
  take(s.gathered, plan.chunk * plan.row);
  take(s.key_panels, plan.ring * keys);
  take(s.value_panels, plan.ring * (backward ? keys : rows));
  take(s.scores, plan.block * plan.score_stride);
  take(s.output, plan.block * plan.row);
  if (!backward) return;
  take(s.key_rows, plan.ring * rows);
  take(s.dk, plan.ring * plan.columns * plan.row);
  take(s.dv, plan.ring * plan.columns * plan.row);
  take(s.dscores, plan.block * plan.score_stride);
  take(s.dout_rows, plan.block * plan.row);
  take(s.query_panels, plan.block * wide);
  take(s.dout_panels, plan.block * wide);
}

template <class T>
using ScratchElement = std::conditional_t<std::is_void_v<T>, std::byte, T>;

std::size_t ScratchBytes(const LshPlan& plan, bool backward) {
  LshScratch s;
  std::size_t bytes = 0;
  EachArray(plan, backward, s,
            [&]<class T>(T*&, idx_t count) { bytes += Arena::Bytes<ScratchElement<T>>(count); });
  return bytes;
}

LshScratch TakeScratch(Arena::Frame& frame, const LshPlan& plan, bool backward) {
  LshScratch s;
  EachArray(plan, backward, s, [&]<class T>(T*& pointer, idx_t count) {
    pointer = frame.Take<ScratchElement<T>>(count);
  });
  return s;
}

// Bytes of everything that one call books.
std::size_t CallBytes(const Context& context, const LshPlan& plan, bool backward) {
  const auto threads = static_cast<std::size_t>(context.threads());
  const idx_t heads = plan.B * plan.H;
  std::size_t bytes = ScratchBytes(plan, backward) * threads;
  bytes += Arena::Bytes<std::int32_t>(heads * plan.rounds * plan.T);
  bytes += Arena::Bytes<std::int32_t>(plan.bucket_limit + 1) * threads;
  if (!backward) return bytes;
  bytes += Arena::Bytes<float>(heads * plan.T);
  bytes += Arena::Bytes<float>(plan.tasks() * plan.halo * 2 * plan.chunk * plan.row);
  bytes += Arena::Bytes<std::uint8_t>(plan.tasks() * plan.halo);
  return bytes;
}

// The booked memory of one call: what tasks share, and each thread's own.
class Call {
 public:
  Call(Context& context, const LshArguments& args, bool backward)
      : args_(args), frame_(context.arena(), CallBytes(context, args.plan, backward)) {
    const LshPlan& plan = args.plan;
    args_.order = {frame_.Take<std::int32_t>(plan.B * plan.H * plan.rounds * plan.T),
                   {plan.B, plan.H, plan.rounds, plan.T}};
    for (int i = 0; i < context.threads(); ++i) {
      scratch_.push_back(TakeScratch(frame_, plan, backward));
      counts_.push_back(frame_.Take<std::int32_t>(plan.bucket_limit + 1));
    }
    if (!backward) return;
    args_.delta = frame_.Take<float>(plan.B * plan.H * plan.T);
    args_.side = frame_.Take<float>(plan.tasks() * plan.halo * 2 * args_.SideFloats());
    args_.side_used = frame_.Take<std::uint8_t>(plan.tasks() * plan.halo);
  }

  // Fills args.order; without buckets all tokens stay in their order.
  void Sort(const Context& context, const View<const std::uint16_t, 4>& buckets, bool hashed) {
    const LshPlan& plan = args_.plan;
    ParallelFor(context, plan.B * plan.H * plan.rounds, [&](idx_t task, int thread) {
      const idx_t r = task % plan.rounds, h = task / plan.rounds % plan.H;
      const idx_t b = task / plan.rounds / plan.H;
      std::int32_t* order = &args_.order(b, h, r, 0);
      if (!hashed) {
        for (idx_t t = 0; t < plan.T; ++t) order[t] = static_cast<std::int32_t>(t);
        return;
      }
      Check(SortRound(&buckets(b, h, r, 0), plan.T, plan.bucket_limit,
                      counts_[static_cast<std::size_t>(thread)], order),
            ErrorCode::kUsage, "LSH attention: a bucket of head {}, round {} is not below {}", h, r,
            plan.bucket_limit);
    });
  }

  const LshArguments& args() const { return args_; }
  const LshScratch& scratch(int thread) const { return scratch_[static_cast<std::size_t>(thread)]; }

 private:
  LshArguments args_;
  Arena::Frame frame_;
  std::vector<LshScratch> scratch_;
  std::vector<std::int32_t*> counts_;
};

}  // namespace

LshPlan MakeLshPlan(const LshSpec& spec, const View<const float, 4>& qk) {
  LshPlan plan;
  plan.B = qk.extent[0];
  plan.H = qk.extent[1];
  plan.T = qk.extent[2];
  plan.D = qk.extent[3];
  const bool hashes = spec.Hashes(plan.T);
  plan.chunk = hashes ? spec.chunk : plan.T;
  plan.rounds = hashes ? spec.rounds : 1;
  plan.round_chunks = CeilDiv(plan.T, plan.chunk);
  plan.chunks = plan.rounds * plan.round_chunks;
  plan.before = hashes ? spec.before : 0;
  plan.after = hashes ? spec.after : 0;
  plan.parts = 1 + plan.before + plan.after;
  plan.window_slots = spec.WindowSlots();
  plan.bucket_limit = hashes ? spec.BucketCount() + 1 : 1;  // hidden tokens have one of their own
  plan.causal = spec.causal;
  plan.dropout = {spec.dropout.p, spec.dropout.key};

  // A window that holds every chunk leaves nothing to cut: one task takes the whole head.
  plan.ring = std::min(plan.parts, plan.chunks);
  const idx_t reach = plan.before + plan.after;
  if (plan.ring == plan.chunks) {
    plan.phases = 1;
    plan.phase_chunks = plan.run = plan.chunks;
  } else {
    plan.phases = plan.rounds;
    plan.phase_chunks = plan.round_chunks;
    plan.run = std::min(plan.phase_chunks, std::max(CeilDiv(kRunTokens, plan.chunk), 2 * reach));
    plan.halo = reach;
  }
  plan.runs = CeilDiv(plan.phase_chunks, plan.run);
  if (plan.runs * plan.phases == 1) plan.halo = 0;

  plan.columns = RoundUp(plan.chunk, LshPlan::kRowUnit);
  plan.row = RoundUp(plan.D, LshPlan::kRowUnit);
  // An odd number of cache lines a row: columns of scores spread over all sets of the cache.
  const idx_t lines = plan.parts * plan.columns / LshPlan::kRowUnit;
  plan.score_stride = (lines | 1) * LshPlan::kRowUnit;
  const idx_t fit =
      kBlockScores / plan.score_stride / kMostTileRows * kMostTileRows;  // whole tiles
  plan.block = std::min(plan.chunk, std::clamp(fit, kFewestBlockRows, kMostBlockRows));
  return plan;
}

void LshForward(Context& context, const LshSpec& spec, const SharedQkv& qkv, const KeyMask& mask,
                const View<const std::uint16_t, 4>& buckets, const SharedSaved& saved) {
  CheckArguments(spec, qkv, mask, buckets, saved);
  LshArguments args;
  args.plan = MakeLshPlan(spec, qkv.qk);
  args.qkv = qkv;
  args.mask = mask;
  args.saved = saved;
  Call call(context, args, false);
  call.Sort(context, buckets, spec.Hashes(args.plan.T));
  for (idx_t phase = 0; phase < args.plan.phases; ++phase) {
    ParallelFor(context, args.plan.tasks(), [&](idx_t task, int thread) {
      HWY_DYNAMIC_DISPATCH(LshForwardTask)(call.args(), call.scratch(thread), phase, task);
    });
  }
}

void LshBackward(Context& context, const LshSpec& spec, const SharedQkv& qkv, const KeyMask& mask,
                 const View<const std::uint16_t, 4>& buckets, const SharedSaved& saved,
                 const View<const float, 4>& dout, const DSharedQkv& gradients) {
  CheckArguments(spec, qkv, mask, buckets, saved);
  CheckLshView(dout, "dout", qkv.qk.extent);
  CheckLshView(gradients.dqk, "dqk", qkv.qk.extent);
  CheckLshView(gradients.dv, "dv", qkv.qk.extent);
  LshArguments args;
  args.plan = MakeLshPlan(spec, qkv.qk);
  args.qkv = qkv;
  args.mask = mask;
  args.saved = saved;
  args.dout = dout;
  args.gradients = gradients;
  const LshPlan& plan = args.plan;
  Call call(context, args, true);
  call.Sort(context, buckets, spec.Hashes(plan.T));
  const idx_t blocks = CeilDiv(plan.T, kDeltaTokens);
  ParallelFor(context, plan.B * plan.H * blocks, [&](idx_t task, int) {
    const idx_t head = task / blocks, begin = task % blocks * kDeltaTokens;
    HWY_DYNAMIC_DISPATCH(LshDeltaTask)
    (call.args(), head / plan.H, head % plan.H, begin, std::min(plan.T, begin + kDeltaTokens));
  });
  for (idx_t phase = 0; phase < plan.phases; ++phase) {
    ParallelFor(context, plan.tasks(), [&](idx_t task, int thread) {
      HWY_DYNAMIC_DISPATCH(LshBackwardTask)(call.args(), call.scratch(thread), phase, task);
    });
    if (plan.halo == 0) continue;
    ParallelFor(context, plan.tasks(), [&](idx_t task, int) {
      HWY_DYNAMIC_DISPATCH(LshSideTask)(call.args(), phase, task);
    });
    if (plan.phases == 1) continue;
    ParallelFor(context, plan.B * plan.H, [&](idx_t head, int) {
      HWY_DYNAMIC_DISPATCH(LshOtherRoundsTask)(call.args(), phase, head);
    });
  }
}

}  // namespace longspan
#endif  // HWY_ONCE
