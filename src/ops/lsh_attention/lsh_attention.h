// How LSH attention is cut into tasks, and what a task needs. The operations themselves are
// declared in longspan/attention.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "base/math.h"
#include "base/rng.h"
#include "longspan/attention.h"
#include "tensor/mixed_view.h"

namespace longspan {

// Everything that follows from the shapes and the spec: the same on every machine and for any
// number of threads. The sorted tokens of all rounds form a circle of `chunks` chunks, numbered
// round by round; the last chunk of a round may be short. Rows of scratch are padded to kRowUnit
// floats (the widest vector), panels to kPanelUnit columns (the widest panel of simd/tile-inl.h).
struct LshPlan {
  static constexpr idx_t kRowUnit = 16, kPanelUnit = 64;

  idx_t B = 0, H = 0, T = 0, D = 0;
  idx_t chunk = 0;              // tokens of a chunk; T when one chunk holds all
  idx_t rounds = 0;             // 1 when one chunk holds all
  idx_t round_chunks = 0;       // chunks of a round: ceil(T / chunk)
  idx_t chunks = 0;             // of the circle
  idx_t before = 0, after = 0;  // both 0 when one chunk holds all
  idx_t parts = 0;              // 1 + before + after: chunks that a window consists of
  idx_t window_slots = 0;       // W of the dropout numbering
  idx_t bucket_limit = 0;       // ids of buckets lie below
  bool causal = false;
  bool bf16 = false;   // fp32 else
  bool tiles = false;  // on the tile unit (lsh_amx.h)
  Dropout dropout;
  ProbabilityDropout drawn;  // how its elements are numbered

  // Work is done in phases, one after another: in a phase every token is a query at most once.
  // A phase is a round, cut into runs; a window that holds the whole circle makes one task per
  // head instead, which walks all rounds. (On tiles a phase is always a round.)
  idx_t phases = 0;
  idx_t phase_chunks = 0;  // chunks of a phase
  idx_t run = 0;           // chunks of a task
  idx_t runs = 0;          // tasks of one head in a phase
  idx_t ring = 0;          // packed chunks that a task holds at once
  idx_t halo = 0;          // chunks outside of a run that its windows reach
  idx_t block = 0;         // query rows at a time
  idx_t columns = 0;       // chunk, padded: scores of one part of a window
  idx_t score_stride = 0;  // between rows of scores
  idx_t row = 0;           // D, padded

  idx_t FirstChunk(idx_t phase, idx_t r) const { return phase * phase_chunks + r * run; }
  idx_t LastChunk(idx_t phase, idx_t r) const {  // exclusive
    return phase * phase_chunks + std::min(phase_chunks, (r + 1) * run);
  }
  idx_t Round(idx_t c) const { return c / round_chunks; }
  // The place of chunk c's first token in its round.
  idx_t Begin(idx_t c) const { return c % round_chunks * chunk; }
  idx_t Keys(idx_t c) const { return std::min(chunk, T - Begin(c)); }

  // The chunk that is part i of chunk c's window, before wrapping around (-1 is the last chunk seen
  // from the first): the ring and the side buffers know a chunk by this number. Where the ring
  // holds every chunk, the wrapped number.
  idx_t WindowChunk(idx_t c, idx_t i) const {
    const idx_t off = i - before;
    const idx_t u = -chunks < off && off < chunks ? c + off : c;
    return ring == chunks ? Wrap(u) : u;
  }
  // The chunk that an unwrapped number stands for.
  idx_t Wrap(idx_t u) const { return u < 0 ? u + chunks : (u >= chunks ? u - chunks : u); }
  // Chunk number `slot` of the halo of a run, unwrapped.
  idx_t HaloChunk(idx_t phase, idx_t r, idx_t slot) const {
    return slot < before ? FirstChunk(phase, r) - before + slot
                         : LastChunk(phase, r) + slot - before;
  }
};

// What the walks ask of a token, in one place: tokens come in no order that a cache would like.
struct LshToken {
  float square;    // x . x
  float max, sum;  // of the rounds so far; in the backward of all
  float delta;     // backward: dout . out
};

// What the tasks share. Heads are worked on in groups, each of them all phases: `heads` heads from
// number `first_head` of B * H on. Arrays below `order` hold the group only.
struct LshArguments {
  LshPlan plan;
  InView qk, v, dout;  // (B, H, T, D)
  KeyMask mask;
  OutView out;              // (B, H, T, D)
  View<float, 3> max, sum;  // (B, H, T)
  View<float, 3> delta;     // (B, H, T) computed before, or empty
  DSharedQkv gradients;
  idx_t first_head = 0, heads = 0;
  std::int32_t* order = nullptr;  // (heads, R, T): tokens of each round by (bucket, position)
  LshToken* token = nullptr;      // (heads, T)
  float* accumulator = nullptr;   // bf16 and several rounds, (heads, T, row): sums before out
  // Backward with a halo: g and dv of the halo of each run of the phase, (task, halo, which of
  // them, chunk, row), and which of them were written.
  float* side = nullptr;
  std::uint8_t* side_used = nullptr;

  idx_t tasks() const { return heads * plan.runs; }  // of a phase
  idx_t Batch(idx_t head) const { return (first_head + head) / plan.H; }
  idx_t Head(idx_t head) const { return (first_head + head) % plan.H; }
  idx_t SideFloats() const { return plan.chunk * plan.row; }
  float* Side(idx_t task, idx_t slot, int which) const {
    return side + ((task * plan.halo + slot) * 2 + which) * SideFloats();
  }
  LshToken& Token(idx_t head, idx_t t) const { return token[head * plan.T + t]; }
  // The order of a round, and the tokens of chunk c in it.
  std::int32_t* Order(idx_t head, idx_t round) const {
    return order + (head * plan.rounds + round) * plan.T;
  }
  const std::int32_t* Tokens(idx_t head, idx_t c) const {
    return Order(head, plan.Round(c)) + plan.Begin(c);
  }
  // Where the rounds add up the weighted values of token t.
  float* Sums(idx_t head, idx_t t) const {
    if (accumulator != nullptr) return accumulator + (head * plan.T + t) * plan.row;
    return plan.bf16 ? nullptr : static_cast<float*>(out(Batch(head), Head(head), t).data);
  }
  idx_t SumsStride() const { return plan.row; }
};

// What the queries of a chunk may not see of a part of their window.
enum class LshHides : std::uint8_t {
  kNothing,
  kItself,   // a token meets itself there
  kByBound,  // that, and keys that are masked, later or do not exist
};

// A thread's scratch. Sizes are in lsh_attention.cc.
struct LshScratch {
  static constexpr idx_t kEmpty = std::numeric_limits<idx_t>::min();

  idx_t* tag = nullptr;            // (ring): unwrapped chunk in a slot, or kEmpty
  idx_t* part_slot = nullptr;      // (parts): slots of the current window
  idx_t* part_keys = nullptr;      // (parts): keys that exist
  LshHides* part_hides = nullptr;  // (parts)
  void* terms = nullptr;           // (parts) TileTerm
  // (ring, columns): tokens of a chunk, -1 beyond. On tiles there are only these two, of all
  // entries of a task (LshEntries).
  std::int32_t* token = nullptr;
  // (ring, columns): query t sees key j when bound[j] <= t: the key's position when causal, the
  // lowest integer when not, the highest when it is hidden or does not exist.
  std::int32_t* bound = nullptr;
  float* length = nullptr;        // (ring, columns): |x|
  float* factor = nullptr;        // (ring, columns): score = factor x . x, in its unit
  float* rows = nullptr;          // (ring, chunk, row): x gathered
  float* gathered = nullptr;      // (chunk, row): values on their way into panels
  float* key_panels = nullptr;    // (ring): X^T
  float* value_panels = nullptr;  // (ring): forward V, backward V^T
  float* scores = nullptr;        // (block, score_stride)
  float* output = nullptr;        // (block, row): forward weighted values, backward dq
  void* row_weights = nullptr;    // (block) RowWeights, forward
  // Backward only.
  float* key_rows = nullptr;     // (ring): X
  float* dkeys = nullptr;        // (ring, columns, row): factor times the gradients of the keys
  float* dv = nullptr;           // (ring, columns, row)
  float* dscores = nullptr;      // (block, score_stride)
  float* pairs = nullptr;        // (block, score_stride / 2), bf16: dscores as pairs along rows
  float* dout_rows = nullptr;    // (block, row)
  float* dout_panels = nullptr;  // dO of a block
};

// The plan for a problem whose arguments were checked.
LshPlan MakeLshPlan(const LshSpec& spec, const InView& qk);

// One round of LshSort: buckets, order (T); counts (bucket_limit + 1) is scratch. False when a
// bucket is not below the limit.
bool SortRound(const std::uint16_t* buckets, idx_t T, idx_t bucket_limit, std::int32_t* counts,
               std::int32_t* order);

}  // namespace longspan
