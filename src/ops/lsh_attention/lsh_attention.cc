#include "ops/lsh_attention/lsh_attention.h"

#include <array>
#include <cstddef>
#include <vector>

#include "base/arena.h"
#include "base/errors.h"
#include "base/isa.h"
#include "base/scratch_layout.h"
#include "ops/lsh_attention/lsh_amx.h"
#include "ops/lsh_attention/lsh_checks.h"
#include "parallel/parallel_for.h"
#include "simd/tile_extents.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/lsh_attention/lsh_attention.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/lsh_attention/lsh_backward-inl.h"
#include "ops/lsh_attention/lsh_forward-inl.h"

#if HWY_ONCE
namespace longspan {

HWY_EXPORT(LshBeginForward);
HWY_EXPORT(LshForwardTask);
HWY_EXPORT(LshForwardPairs);
HWY_EXPORT(LshBeginBackward);
HWY_EXPORT(LshBackwardTask);
HWY_EXPORT(LshBackwardPairs);
HWY_EXPORT(LshSideTask);
HWY_EXPORT(LshOtherRoundsTask);

namespace {

// Tokens of a task: gathering its halo twice costs a thirty-second at chunk 64 with one chunk of
// look-back, and the side buffer 16 bytes a token.
constexpr idx_t kRunTokens = 2048;
// Tasks of a phase that a group of heads has at least, per thread: few heads are in flight, whose
// rows each round reads again, from the cache.
constexpr idx_t kTasksPerThread = 4;
// Query rows at a time: 64 rows of D = 64 are half of a 32 KB L1 cache.
constexpr idx_t kMostBlockRows = 64;
constexpr idx_t kFewestBlockRows = 12;
// Scores of a block: two such buffers and the packed window share a 512 KB L2 cache.
constexpr idx_t kBlockScores = idx_t{24} * 1024;
constexpr idx_t kRowTokens = 1024;  // of a task that goes row by row
constexpr idx_t kTermBytes = 32;    // at least sizeof(TileTerm)
constexpr idx_t kRowWeightBytes = 8;

template <class T>
LshArguments CheckArguments(const LshSpec& spec, const SharedQkvOf<T>& qkv, const KeyMask& mask,
                            const View<const std::uint16_t, 4>& buckets,
                            const SharedSavedOf<T>& saved) {
  const auto& shape = qkv.qk.extent;
  CheckLshInput(spec, qkv.qk, mask, spec.Hashes(shape[2]));
  CheckLshCall.Shared(qkv, mask, saved);
  CheckLshCall.Dropout(spec.dropout);
  if (spec.Hashes(shape[2])) {
    CheckLshCall(buckets, "buckets", {shape[0], shape[1], spec.rounds, shape[2]});
  }
  LshArguments args;
  args.plan = MakeLshPlan(spec, qkv.qk);
  args.qk = qkv.qk;
  args.v = qkv.v;
  args.mask = mask;
  args.out = saved.out;
  args.max = saved.max;
  args.sum = saved.sum;
  args.delta = saved.delta;
  return args;
}

// The arrays of a thread's scratch.
auto LayoutOf(const LshPlan& plan, bool backward) {
  return ScratchLayout(LshScratch{}, [&plan, backward](LshScratch& s, const auto& take) {
    if (plan.tiles) {
      take(s.token, RoundUp(LshEntries(plan), kAmxBlock));
      take(s.bound, RoundUp(LshEntries(plan), kAmxBlock));
      return;
    }
    const idx_t keys = RoundUp(plan.chunk, LshPlan::kPanelUnit) * plan.D;
    const idx_t wide = RoundUp(plan.D, LshPlan::kPanelUnit);
    const idx_t rows = plan.chunk * wide;
    take(s.tag, plan.ring);
    take(s.part_slot, plan.parts);
    take(s.part_keys, plan.parts);
    take(s.part_hides, plan.parts);
    take(s.terms, plan.parts * kTermBytes);
    take(s.token, plan.ring * plan.columns);
    take(s.bound, plan.ring * plan.columns);
    take(s.length, plan.ring * plan.columns);
    take(s.factor, plan.ring * plan.columns);
    take(s.rows, plan.ring * plan.chunk * plan.row);
    take(s.gathered, plan.chunk * plan.row);
    take(s.key_panels, plan.ring * keys);
    take(s.value_panels, plan.ring * (backward ? keys : rows));
    take(s.scores, plan.block * plan.score_stride);
    take(s.output, plan.block * plan.row);
    take(s.row_weights, plan.block * kRowWeightBytes);
    if (!backward) return;
    if (plan.bf16) take(s.pairs, plan.block * plan.score_stride / 2);
    take(s.key_rows, plan.ring * rows);
    take(s.dkeys, plan.ring * plan.columns * plan.row);
    take(s.dv, plan.ring * plan.columns * plan.row);
    take(s.dscores, plan.block * plan.score_stride);
    take(s.dout_rows, plan.block * plan.row);
    take(s.dout_panels, plan.block * wide);
  });
}

// Whether the rounds' sums need a place of their own.
bool Accumulates(const LshPlan& plan, bool backward) {
  return plan.bf16 && plan.rounds > 1 && !backward;
}

// Bytes of everything that one call books.
std::size_t CallBytes(const Context& context, const LshArguments& args, bool backward) {
  const LshPlan& plan = args.plan;
  const auto threads = static_cast<std::size_t>(context.threads());
  std::size_t bytes = LayoutOf(plan, backward).Bytes() * threads;
  bytes += Arena::Bytes<std::int32_t>(args.heads * plan.rounds * plan.T);
  bytes += Arena::Bytes<std::int32_t>(plan.bucket_limit + 1) * threads;
  bytes += Arena::Bytes<LshToken>(args.heads * plan.T);
  if (Accumulates(plan, backward)) bytes += Arena::Bytes<float>(args.heads * plan.T * plan.row);
  if (!backward) return bytes;
  bytes += Arena::Bytes<float>(args.tasks() * plan.halo * 2 * args.SideFloats());
  bytes += Arena::Bytes<std::uint8_t>(args.tasks() * plan.halo);
  return bytes;
}

// The booked memory of one call: what tasks share, and each thread's own. Results do not depend on
// how heads are grouped.
class Call {
 public:
  Call(Context& context, LshArguments args, bool backward)
      : context_(context),
        args_(Grouped(context, args)),
        heads_(args.plan.B * args.plan.H),
        group_(args_.heads),
        frame_(context.arena(), CallBytes(context, args_, backward)) {
    const LshPlan& plan = args_.plan;
    args_.order = frame_.Take<std::int32_t>(group_ * plan.rounds * plan.T);
    args_.token = frame_.Take<LshToken>(group_ * plan.T);
    if (Accumulates(plan, backward)) {
      args_.accumulator = frame_.Take<float>(group_ * plan.T * plan.row);
    }
    for (int i = 0; i < context.threads(); ++i) {
      scratch_.push_back(LayoutOf(plan, backward).Take(frame_));
      counts_.push_back(frame_.Take<std::int32_t>(plan.bucket_limit + 1));
    }
    if (!backward) return;
    args_.side = frame_.Take<float>(args_.tasks() * plan.halo * 2 * args_.SideFloats());
    args_.side_used = frame_.Take<std::uint8_t>(args_.tasks() * plan.halo);
  }

  // Calls work() for one group of heads after another, sorted, after begin(head, first, last) for
  // all of its tokens.
  template <class Begin, class Work>
  void EachGroup(const View<const std::uint16_t, 4>& buckets, bool hashed, const Begin& begin,
                 const Work& work) {
    for (idx_t first = 0; first < heads_; first += group_) {
      args_.first_head = first;
      args_.heads = std::min(group_, heads_ - first);
      Sort(buckets, hashed);
      EachRowTask(begin);
      work();
    }
  }

  const LshArguments& args() const { return args_; }
  const LshScratch& scratch(int thread) const { return scratch_[static_cast<std::size_t>(thread)]; }

 private:
  // At least a head for each thread, all of whose rounds are then that thread's share of the tasks:
  // where cores share no cache, none gathers sums that another one wrote the round before.
  static LshArguments Grouped(const Context& context, LshArguments args) {
    const idx_t threads = context.threads();
    const idx_t wanted = std::max(CeilDiv(kTasksPerThread * threads, args.plan.runs), threads);
    args.heads = std::min(wanted, args.plan.B * args.plan.H);
    return args;
  }

  // work(head, begin, end) for all tokens of the group.
  template <class Work>
  void EachRowTask(const Work& work) const {
    const idx_t T = args_.plan.T, blocks = CeilDiv(T, kRowTokens);
    ParallelFor(context_, args_.heads * blocks, [&](idx_t task, int) {
      const idx_t begin = task % blocks * kRowTokens;
      work(task / blocks, begin, std::min(T, begin + kRowTokens));
    });
  }

  // Fills args.order; without buckets all tokens stay in their order.
  void Sort(const View<const std::uint16_t, 4>& buckets, bool hashed) const {
    const LshPlan& plan = args_.plan;
    ParallelFor(context_, args_.heads * plan.rounds, [&](idx_t task, int thread) {
      const idx_t r = task % plan.rounds, head = task / plan.rounds;
      const idx_t b = args_.Batch(head), h = args_.Head(head);
      std::int32_t* order = args_.Order(head, r);
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

  Context& context_;
  LshArguments args_;
  idx_t heads_, group_;
  Arena::Frame frame_;
  std::vector<LshScratch> scratch_;
  std::vector<std::int32_t*> counts_;
};

}  // namespace

LshPlan MakeLshPlan(const LshSpec& spec, const InView& qk) {
  LshPlan plan;
  plan.bf16 = qk.bf16;
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
  plan.drawn = spec.dropout;

  // A window that holds every chunk leaves nothing to cut: one task takes the whole head.
  plan.ring = std::min(plan.parts, plan.chunks);
  plan.tiles = LshRunsOnTiles(plan);
  const idx_t reach = plan.before + plan.after;
  if (plan.ring == plan.chunks && !plan.tiles) {
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

namespace {

void RunForward(Context& context, const LshSpec& spec, const LshArguments& given,
                const View<const std::uint16_t, 4>& buckets) {
  Call call(context, given, false);
  const LshPlan& plan = given.plan;
  const bool pairs = MultipliesPairs(plan.bf16);
  const AmxPlan amx = plan.tiles ? PlanLshForwardOnTiles(plan) : AmxPlan();
  const AmxScratch memory(context, plan.tiles ? AmxForwardBytes(amx) : 0);
  const auto begin = [&](idx_t head, idx_t first, idx_t last) {
    HWY_DYNAMIC_DISPATCH(LshBeginForward)(call.args(), head, first, last);
  };
  call.EachGroup(buckets, spec.Hashes(plan.T), begin, [&] {
    for (idx_t phase = 0; phase < plan.phases; ++phase) {
      ParallelFor(context, call.args().tasks(), [&](idx_t task, int thread) {
        const LshScratch& s = call.scratch(thread);
        if (plan.tiles) {
          return LshForwardOnTiles(call.args(), amx, s, memory.Of(thread), phase, task);
        }
        if (pairs) return HWY_DYNAMIC_DISPATCH(LshForwardPairs)(call.args(), s, phase, task);
        HWY_DYNAMIC_DISPATCH(LshForwardTask)(call.args(), s, phase, task);
      });
    }
  });
}

// After a phase: what its tasks left on the side.
void AddSides(const Context& context, const LshArguments& args, idx_t phase) {
  if (args.plan.halo == 0) return;
  ParallelFor(context, args.tasks(), [&](idx_t task, int) {
    HWY_DYNAMIC_DISPATCH(LshSideTask)(args, phase, task);
  });
  if (args.plan.phases == 1) return;
  ParallelFor(context, args.heads, [&](idx_t head, int) {
    HWY_DYNAMIC_DISPATCH(LshOtherRoundsTask)(args, phase, head);
  });
}

void RunBackward(Context& context, const LshSpec& spec, const LshArguments& given,
                 const View<const std::uint16_t, 4>& buckets) {
  Call call(context, given, true);
  const LshPlan& plan = given.plan;
  const bool pairs = MultipliesPairs(plan.bf16);
  const AmxPlan amx = plan.tiles ? PlanLshBackwardOnTiles(plan) : AmxPlan();
  const AmxScratch memory(context, plan.tiles ? AmxBackwardBytes(amx) : 0);
  const auto begin = [&](idx_t head, idx_t first, idx_t last) {
    HWY_DYNAMIC_DISPATCH(LshBeginBackward)(call.args(), head, first, last);
  };
  call.EachGroup(buckets, spec.Hashes(plan.T), begin, [&] {
    for (idx_t phase = 0; phase < plan.phases; ++phase) {
      ParallelFor(context, call.args().tasks(), [&](idx_t task, int thread) {
        const LshScratch& s = call.scratch(thread);
        if (plan.tiles) {
          return LshBackwardOnTiles(call.args(), amx, s, memory.Of(thread), phase, task);
        }
        if (pairs) return HWY_DYNAMIC_DISPATCH(LshBackwardPairs)(call.args(), s, phase, task);
        HWY_DYNAMIC_DISPATCH(LshBackwardTask)(call.args(), s, phase, task);
      });
      AddSides(context, call.args(), phase);
    }
  });
}

template <class T>
void CheckAndRunBackward(Context& context, const LshSpec& spec, const SharedQkvOf<T>& qkv,
                         const KeyMask& mask, const View<const std::uint16_t, 4>& buckets,
                         const SharedSavedOf<T>& saved, const View<const T, 4>& dout,
                         const DSharedQkv& gradients) {
  LshArguments args = CheckArguments(spec, qkv, mask, buckets, saved);
  CheckLshCall.Backward(dout, gradients, qkv.qk.extent);
  args.dout = dout;
  args.gradients = gradients;
  RunBackward(context, spec, args, buckets);
}

}  // namespace

void LshForward(Context& context, const LshSpec& spec, const SharedQkv& qkv, const KeyMask& mask,
                const View<const std::uint16_t, 4>& buckets, const SharedSaved& saved) {
  RunForward(context, spec, CheckArguments(spec, qkv, mask, buckets, saved), buckets);
}

void LshForward(Context& context, const LshSpec& spec, const Bf16SharedQkv& qkv,
                const KeyMask& mask, const View<const std::uint16_t, 4>& buckets,
                const Bf16SharedSaved& saved) {
  RunForward(context, spec, CheckArguments(spec, qkv, mask, buckets, saved), buckets);
}

void LshBackward(Context& context, const LshSpec& spec, const SharedQkv& qkv, const KeyMask& mask,
                 const View<const std::uint16_t, 4>& buckets, const SharedSaved& saved,
                 const View<const float, 4>& dout, const DSharedQkv& gradients) {
  CheckAndRunBackward(context, spec, qkv, mask, buckets, saved, dout, gradients);
}

void LshBackward(Context& context, const LshSpec& spec, const Bf16SharedQkv& qkv,
                 const KeyMask& mask, const View<const std::uint16_t, 4>& buckets,
                 const Bf16SharedSaved& saved, const View<const bfloat16, 4>& dout,
                 const DSharedQkv& gradients) {
  CheckAndRunBackward(context, spec, qkv, mask, buckets, saved, dout, gradients);
}

}  // namespace longspan
#endif  // HWY_ONCE
