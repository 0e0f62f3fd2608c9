#include "ops/chunked_attention/chunked_attention.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "base/arena.h"
#include "base/errors.h"
#include "base/isa.h"
#include "base/scratch_layout.h"
#include "ops/attention_call.h"
#include "ops/chunked_attention/chunked_amx.h"
#include "ops/chunked_attention/chunked_slab.h"
#include "parallel/parallel_for.h"
#include "simd/tile_extents.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/chunked_attention/chunked_attention.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/chunked_attention/chunked_attention-inl.h"

#if HWY_ONCE
namespace longspan {

HWY_EXPORT(ChunkedForwardTask);
HWY_EXPORT(ChunkedForwardPairs);
HWY_EXPORT(ChunkedBackwardTask);
HWY_EXPORT(ChunkedBackwardPairs);
HWY_EXPORT(ChunkedSideTask);

namespace {

// Tokens of a task: long enough that packing a run's halo twice costs little (an eighth at chunk
// 64 with one chunk of look-back), short enough that one head of 16K tokens feeds 32 cores.
constexpr idx_t kRunTokens = 512;
// Query rows at a time: 64 rows of D = 64 are half of a 32 KB L1 cache.
constexpr idx_t kMostBlockRows = 64;
constexpr idx_t kFewestBlockRows = 12;
// Scores of a block: two such buffers and the packed window share a 512 KB L2 cache.
constexpr idx_t kBlockScores = 24 * 1024;

constexpr idx_t kMostReach = idx_t{1} << 16;  // chunks before or after
constexpr idx_t kMostSlots = idx_t{1} << 40;  // keys of a window
constexpr idx_t kTermBytes = 32;              // at least sizeof(TileTerm)

constexpr AttentionCheck CheckCall{{"chunked attention"}};

// Throws kUsage unless there is such a slab and tensors have its shapes.
template <class T>
void CheckSlab(const ChunkedSpec& spec, const ChunkedSlab& slab, const QkvOf<T>& qkv,
               const KeyMask& mask, const AttentionSavedOf<T>& saved) {
  const idx_t chunks = CeilDiv(slab.tokens, spec.chunk), window = 1 + spec.before + spec.after;
  Check(chunks > 1 && chunks >= window, ErrorCode::kUsage,
        "chunked attention: a row of {} tokens has {} chunks of {}; a slab needs 2 or more, and as "
        "many as a window, {}",
        slab.tokens, chunks, spec.chunk, window);
  Check(slab.first >= 0 && slab.first < slab.last && slab.last <= chunks, ErrorCode::kUsage,
        "chunked attention: a slab from chunk {} to {} is not in a row of {}", slab.first,
        slab.last, chunks);
  const auto& q = qkv.q.extent;
  const std::array<idx_t, 4> queries = {q[0], q[1], slab.Queries(spec), q[3]};
  const std::array<idx_t, 4> keys = {q[0], q[1], slab.Keys(spec), q[3]};
  CheckCall.Extents("q", q);
  CheckCall(qkv.q, "q", queries);
  CheckCall(qkv.k, "k", keys);
  CheckCall(qkv.v, "v", keys);
  CheckCall.Outputs(saved, queries);
  CheckCall.Tokens(mask, "the key mask", keys);
  CheckCall.Delta(saved.delta, queries);
}

// What both directions ask of their arguments. `slab`: null, the whole row.
template <class T>
ChunkedArguments CheckArguments(const ChunkedSpec& spec, const ChunkedSlab* slab,
                                const QkvOf<T>& qkv, const KeyMask& mask,
                                const AttentionSavedOf<T>& saved) {
  if (slab == nullptr) CheckCall.Separate(qkv, mask, saved);
  CheckCall.Scale(spec.scale);
  CheckCall.Dropout(spec.dropout);
  Check(spec.chunk >= 1, ErrorCode::kUsage, "chunked attention: chunk {} is below 1", spec.chunk);
  Check(spec.before >= 0 && spec.before <= kMostReach, ErrorCode::kUsage,
        "chunked attention: before {} is not from 0 to {}", spec.before, kMostReach);
  Check(spec.after >= 0 && spec.after <= kMostReach, ErrorCode::kUsage,
        "chunked attention: after {} is not from 0 to {}", spec.after, kMostReach);
  Check(spec.chunk <= kMostSlots / (1 + spec.before + spec.after), ErrorCode::kUsage,
        "chunked attention: {} chunks of {} keys are more than {} keys in a window",
        1 + spec.before + spec.after, spec.chunk, kMostSlots);
  if (slab != nullptr) CheckSlab(spec, *slab, qkv, mask, saved);
  ChunkedArguments args;
  args.plan = MakeChunkedPlan(spec, slab, qkv.q);
  args.q = qkv.q;
  args.k = qkv.k;
  args.v = qkv.v;
  args.mask = mask;
  args.out = saved.out;
  args.lse = saved.lse;
  args.delta = saved.delta;
  return args;
}

// The arrays of a thread's scratch.
auto LayoutOf(const ChunkedPlan& plan, bool backward) {
  return ScratchLayout(ChunkedScratch{}, [&plan, backward](ChunkedScratch& s, const auto& take) {
    const idx_t keys = RoundUp(plan.chunk, ChunkedPlan::kPanelUnit) * plan.D;
    const idx_t wide = RoundUp(plan.D, ChunkedPlan::kPanelUnit);
    const idx_t rows = plan.chunk * wide;
    take(s.tag, plan.ring);
    take(s.parts, plan.parts);
    take(s.limits, plan.parts);
    take(s.terms, plan.parts * kTermBytes);
    take(s.key_panels, plan.ring * keys);
    take(s.visible, plan.ring * plan.columns);
    take(s.value_panels, plan.ring * (backward ? keys : rows));
    take(s.scores, plan.block * plan.score_stride);
    take(s.output, plan.block * plan.row);
    take(s.inverse, plan.block);
    take(s.factors, plan.columns);
    if (plan.bf16) {
      take(s.rows, plan.chunk * plan.row);
      take(s.queries, plan.block * plan.row);
    }
    if (!backward) return;
    if (plan.bf16) {
      take(s.douts, plan.block * plan.row);
      take(s.pairs, plan.block * plan.score_stride / 2);
    }
    take(s.key_rows, plan.ring * rows);
    take(s.dk, plan.ring * plan.columns * plan.row);
    take(s.dv, plan.ring * plan.columns * plan.row);
    take(s.dscores, plan.block * plan.score_stride);
    take(s.query_panels, plan.block * wide);
    take(s.dout_panels, plan.block * wide);
  });
}

// Scans the key mask once: a chunk's first visible key, and whether it hides any.
void ScanMask(const ChunkedArguments& args) {
  const ChunkedPlan& plan = args.plan;
  for (idx_t b = 0; b < plan.B; ++b) {
    for (idx_t room = 0; room < plan.Rooms(); ++room) {
      const idx_t c = plan.Wrap(plan.ChunkOf(room)), at = plan.KeyAt(room);
      idx_t first = plan.T;
      bool hides = false;
      for (idx_t j = plan.Keys(c) - 1; j >= 0; --j) {
        if (args.mask(b, at + j) != 0) {
          first = c * plan.chunk + j;
        } else {
          hides = true;
        }
      }
      args.first_visible[b * plan.Rooms() + room] = first;
      args.masked[b * plan.Rooms() + room] = hides ? 1 : 0;
    }
  }
}

// Marks the queries that see no key, if there is one.
void MarkBlind(std::uint8_t* marks, ChunkedArguments* args) {
  const ChunkedPlan& plan = args->plan;
  for (idx_t b = 0; b < plan.B; ++b) {
    for (idx_t c = plan.first; c < plan.last; ++c) {
      std::uint8_t* chunk = marks + b * plan.Queries() + plan.QueryAt(c * plan.chunk);
      const idx_t blind = args->BlindRows(b, c);
      std::fill_n(chunk, plan.Keys(c), std::uint8_t{0});
      std::fill_n(chunk, blind, std::uint8_t{1});
      if (blind > 0) args->blind = marks;
    }
  }
}

// Bytes of everything that one call books, but for the scratch of the tile unit's threads.
std::size_t CallBytes(const Context& context, const ChunkedArguments& args, bool backward) {
  const ChunkedPlan& plan = args.plan;
  const bool tiles = RunsOnTiles(plan);
  std::size_t bytes = 0;
  if (!args.mask.empty()) {
    bytes += Arena::Bytes<idx_t>(plan.B * plan.Rooms());
    bytes += Arena::Bytes<std::uint8_t>(plan.B * plan.Rooms());
    if (tiles) bytes += Arena::Bytes<std::uint8_t>(plan.B * plan.Queries());
  }
  if (tiles) return bytes;
  bytes += LayoutOf(plan, backward).Bytes() * static_cast<std::size_t>(context.threads());
  if (backward && plan.halo > 0) {
    bytes += Arena::Bytes<float>(plan.tasks() * plan.halo * 2 * args.SideFloats());
    bytes += Arena::Bytes<std::uint8_t>(plan.tasks() * plan.halo);
  }
  return bytes;
}

// Takes what the tasks share.
void TakeShared(Arena::Frame& frame, ChunkedArguments& args, bool backward) {
  const ChunkedPlan& plan = args.plan;
  if (!args.mask.empty()) {
    args.first_visible = frame.Take<idx_t>(plan.B * plan.Rooms());
    args.masked = frame.Take<std::uint8_t>(plan.B * plan.Rooms());
    ScanMask(args);
  }
  if (RunsOnTiles(plan)) {
    if (!args.mask.empty()) {
      MarkBlind(frame.Take<std::uint8_t>(plan.B * plan.Queries()), &args);
    }
    return;
  }
  if (backward && plan.halo > 0) {
    args.side = frame.Take<float>(plan.tasks() * plan.halo * 2 * args.SideFloats());
    args.side_used = frame.Take<std::uint8_t>(plan.tasks() * plan.halo);
  }
}

}  // namespace

idx_t ChunkedSlab::Queries(const ChunkedSpec& spec) const {
  return std::min(tokens, last * spec.chunk) - first * spec.chunk;
}

ChunkedPlan MakeChunkedPlan(const ChunkedSpec& spec, const ChunkedSlab* slab, const InView& q) {
  ChunkedPlan plan;
  plan.B = q.extent[0];
  plan.H = q.extent[1];
  plan.T = slab != nullptr ? slab->tokens : q.extent[2];
  plan.D = q.extent[3];
  plan.bf16 = q.bf16;
  const bool single = plan.T <= spec.chunk;
  plan.chunk = single ? plan.T : spec.chunk;
  plan.chunks = CeilDiv(plan.T, plan.chunk);
  plan.before = single ? 0 : spec.before;
  plan.after = single ? 0 : spec.after;
  plan.parts = 1 + plan.before + plan.after;
  plan.slab = slab != nullptr;
  plan.first = plan.slab ? slab->first : 0;
  plan.last = plan.slab ? slab->last : plan.chunks;
  plan.window_slots = spec.chunk * (1 + spec.before + spec.after);
  plan.causal = spec.causal;
  plan.scale = spec.scale != 0.0f ? spec.scale : 1.0f / std::sqrt(static_cast<float>(plan.D));
  plan.dropout = {spec.dropout.p, spec.dropout.key};
  plan.drawn = spec.dropout;

  // A window that holds every chunk leaves nothing to cut: one task takes the whole head.
  plan.ring = std::min(plan.parts, plan.chunks);
  plan.whole = !plan.slab && plan.ring == plan.chunks;
  plan.run = plan.whole ? plan.chunks
                        : std::max(CeilDiv(kRunTokens, plan.chunk), 2 * (plan.before + plan.after));
  plan.runs = CeilDiv(plan.last - plan.first, plan.run);
  plan.halo = plan.runs > 1 ? plan.before + plan.after : 0;

  plan.columns = RoundUp(plan.chunk, ChunkedPlan::kRowUnit);
  plan.row = RoundUp(plan.D, ChunkedPlan::kRowUnit);
  // An odd number of cache lines a row: columns of scores spread over all sets of the cache.
  const idx_t lines = plan.parts * plan.columns / ChunkedPlan::kRowUnit;
  plan.score_stride = (lines | 1) * ChunkedPlan::kRowUnit;
  const idx_t fit =
      kBlockScores / plan.score_stride / kMostTileRows * kMostTileRows;  // whole tiles
  plan.block = std::min(plan.chunk, std::clamp(fit, kFewestBlockRows, kMostBlockRows));
  return plan;
}

namespace {

void RunForward(Context& context, ChunkedArguments args) {
  Arena::Frame frame(context.arena(), CallBytes(context, args, false));
  TakeShared(frame, args, false);
  if (RunsOnTiles(args.plan)) return AmxChunkedForward(context, args);
  const auto scratch = LayoutOf(args.plan, false).TakeEach(frame, context.threads());
  const bool pairs = MultipliesPairs(args.plan.bf16);
  ParallelFor(context, args.plan.tasks(), [&](idx_t task, int thread) {
    const ChunkedScratch& s = scratch[static_cast<std::size_t>(thread)];
    if (pairs) return HWY_DYNAMIC_DISPATCH(ChunkedForwardPairs)(args, s, task);
    HWY_DYNAMIC_DISPATCH(ChunkedForwardTask)(args, s, task);
  });
}

void RunBackward(Context& context, ChunkedArguments args) {
  Arena::Frame frame(context.arena(), CallBytes(context, args, true));
  TakeShared(frame, args, true);
  if (RunsOnTiles(args.plan)) return AmxChunkedBackward(context, args);
  const auto scratch = LayoutOf(args.plan, true).TakeEach(frame, context.threads());
  const bool pairs = MultipliesPairs(args.plan.bf16);
  ParallelFor(context, args.plan.tasks(), [&](idx_t task, int thread) {
    const ChunkedScratch& s = scratch[static_cast<std::size_t>(thread)];
    if (pairs) return HWY_DYNAMIC_DISPATCH(ChunkedBackwardPairs)(args, s, task);
    HWY_DYNAMIC_DISPATCH(ChunkedBackwardTask)(args, s, task);
  });
  if (args.plan.halo == 0) return;
  ParallelFor(context, args.plan.tasks(), [&](idx_t task, int) {
    HWY_DYNAMIC_DISPATCH(ChunkedSideTask)(args, task);
  });
}

// `slab`: null, the whole row.
template <class T>
void CheckAndRunBackward(Context& context, const ChunkedSpec& spec, const ChunkedSlab* slab,
                         const QkvOf<T>& qkv, const KeyMask& mask, const AttentionSavedOf<T>& saved,
                         const View<const T, 4>& dout, const DQkv& gradients) {
  ChunkedArguments args = CheckArguments(spec, slab, qkv, mask, saved);
  CheckCall(dout, "dout", qkv.q.extent);
  CheckCall(gradients.dq, "dq", qkv.q.extent);
  CheckCall(gradients.dk, "dk", qkv.k.extent);
  CheckCall(gradients.dv, "dv", qkv.k.extent);
  args.dout = dout;
  args.gradients = gradients;
  RunBackward(context, args);
}

}  // namespace

void ChunkedForward(Context& context, const ChunkedSpec& spec, const Qkv& qkv, const KeyMask& mask,
                    const AttentionSaved& saved) {
  RunForward(context, CheckArguments(spec, nullptr, qkv, mask, saved));
}

void ChunkedForward(Context& context, const ChunkedSpec& spec, const Bf16Qkv& qkv,
                    const KeyMask& mask, const Bf16AttentionSaved& saved) {
  RunForward(context, CheckArguments(spec, nullptr, qkv, mask, saved));
}

void ChunkedBackward(Context& context, const ChunkedSpec& spec, const Qkv& qkv, const KeyMask& mask,
                     const AttentionSaved& saved, const View<const float, 4>& dout,
                     const DQkv& gradients) {
  CheckAndRunBackward(context, spec, nullptr, qkv, mask, saved, dout, gradients);
}

void ChunkedBackward(Context& context, const ChunkedSpec& spec, const Bf16Qkv& qkv,
                     const KeyMask& mask, const Bf16AttentionSaved& saved,
                     const View<const bfloat16, 4>& dout, const DQkv& gradients) {
  CheckAndRunBackward(context, spec, nullptr, qkv, mask, saved, dout, gradients);
}

// ---- slabs --------------------------------------------------------------------------------------

void ChunkedForward(Context& context, const ChunkedSpec& spec, const ChunkedSlab& slab,
                    const Qkv& qkv, const KeyMask& mask, const AttentionSaved& saved) {
  RunForward(context, CheckArguments(spec, &slab, qkv, mask, saved));
}

void ChunkedForward(Context& context, const ChunkedSpec& spec, const ChunkedSlab& slab,
                    const Bf16Qkv& qkv, const KeyMask& mask, const Bf16AttentionSaved& saved) {
  RunForward(context, CheckArguments(spec, &slab, qkv, mask, saved));
}

void ChunkedBackward(Context& context, const ChunkedSpec& spec, const ChunkedSlab& slab,
                     const Qkv& qkv, const KeyMask& mask, const AttentionSaved& saved,
                     const View<const float, 4>& dout, const DQkv& gradients) {
  CheckAndRunBackward(context, spec, &slab, qkv, mask, saved, dout, gradients);
}

void ChunkedBackward(Context& context, const ChunkedSpec& spec, const ChunkedSlab& slab,
                     const Bf16Qkv& qkv, const KeyMask& mask, const Bf16AttentionSaved& saved,
                     const View<const bfloat16, 4>& dout, const DQkv& gradients) {
  CheckAndRunBackward(context, spec, &slab, qkv, mask, saved, dout, gradients);
}

}  // namespace longspan
#endif  // HWY_ONCE
