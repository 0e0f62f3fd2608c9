// How chunked attention is cut into tasks, and what a task needs. The operations themselves are
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

struct ChunkedSlab;  // ops/chunked_attention/chunked_slab.h

// Everything that follows from the shapes and the spec: the same on every machine and for any
// number of threads. Rows of scratch are padded to kRowUnit floats (the widest vector), panels of
// B to kPanelUnit columns (the widest panel of simd/tile-inl.h).
struct ChunkedPlan {
  static constexpr idx_t kRowUnit = 16, kPanelUnit = 64;

  idx_t B = 0, H = 0, T = 0, D = 0;
  idx_t chunk = 0;              // tokens of a chunk; T when one chunk holds all
  idx_t chunks = 0;             // ceil(T / chunk)
  idx_t before = 0, after = 0;  // both 0 when there is one chunk
  idx_t parts = 0;              // 1 + before + after: chunks that a window consists of
  // The chunks whose queries there are: all, or those of a slab (chunked_slab.h). Queries then lie
  // from the first one's on, and keys from the first that one of them sees, each chunk in a room
  // of its own.
  bool slab = false;
  idx_t first = 0, last = 0;
  idx_t window_slots = 0;  // W of the dropout numbering
  bool causal = false;
  bool bf16 = false;  // q, k, v, out and dout are bf16
  float scale = 0.0f;
  Dropout dropout;
  ProbabilityDropout drawn;  // how its elements are numbered

  idx_t run = 0;           // chunks of a task
  idx_t runs = 0;          // tasks of one head
  idx_t ring = 0;          // packed key chunks that a task holds at once
  bool whole = false;      // the ring holds every chunk of the row
  idx_t halo = 0;          // chunks outside of a run that its windows reach; 0 with one run
  idx_t block = 0;         // query rows at a time
  idx_t columns = 0;       // chunk, padded: scores of one part of a window
  idx_t score_stride = 0;  // between rows of scores
  idx_t row = 0;           // D, padded

  idx_t tasks() const { return B * H * runs; }
  idx_t FirstChunk(idx_t r) const { return first + r * run; }
  idx_t LastChunk(idx_t r) const { return std::min(last, first + (r + 1) * run); }  // exclusive
  idx_t Keys(idx_t c) const { return std::min(chunk, T - c * chunk); }
  idx_t Queries() const { return std::min(T, last * chunk) - first * chunk; }

  // The chunk that is part i of chunk c's window, before wrapping around (-1 is the last chunk seen
  // from the first): the ring and the side buffers know a chunk by this number. Where the ring
  // holds every chunk, the wrapped number.
  idx_t WindowChunk(idx_t c, idx_t i) const {
    const idx_t off = i - before;
    const idx_t u = -chunks < off && off < chunks ? c + off : c;
    return whole ? Wrap(u) : u;
  }
  // The chunk that an unwrapped number stands for.
  idx_t Wrap(idx_t u) const { return u < 0 ? u + chunks : (u >= chunks ? u - chunks : u); }
  // The room of a chunk in the arrays of keys: copies of a wrapped chunk have rooms of their own in
  // a slab. `unwrapped` is a number that WindowChunk gave.
  idx_t Room(idx_t unwrapped) const {
    return slab ? unwrapped - (first - before) : Wrap(unwrapped);
  }
  idx_t ChunkOf(idx_t room) const { return slab ? first - before + room : room; }
  idx_t Rooms() const { return slab ? last - first + before + after : chunks; }
  // Where the keys of a room begin, and where query t of the row lies.
  idx_t KeyAt(idx_t room) const { return room * chunk; }
  idx_t QueryAt(idx_t t) const { return t - first * chunk; }
  // Whether dk and dv of a room are added up by run r: those of its own chunks and, at the ends of
  // a slab, of the halo there.
  bool Owns(idx_t r, idx_t room) const {
    const idx_t begin = slab && r == 0 ? 0 : Room(FirstChunk(r));
    const idx_t end = slab && r + 1 == runs ? Rooms() : Room(LastChunk(r) - 1) + 1;
    return room >= begin && room < end;
  }
  // Chunk number `slot` of the halo of run r, unwrapped.
  idx_t HaloChunk(idx_t r, idx_t slot) const {
    return slot < before ? FirstChunk(r) - before + slot : LastChunk(r) + slot - before;
  }
};

// A copy of a key chunk in a window.
struct ChunkedPart {
  idx_t slot = 0;         // of the ring
  idx_t position = 0;     // of its first key
  idx_t at = 0;           // where that key lies
  idx_t keys = 0;         // that exist
  idx_t window_slot = 0;  // of its first key, for dropout
  bool masked = false;    // some of its keys are hidden by the key mask
};

// What the tasks share.
struct ChunkedArguments {
  ChunkedPlan plan;
  InView q, k, v;
  KeyMask mask;
  OutView out;
  View<float, 3> lse, delta;
  InView dout;
  DQkv gradients;
  // (B, rooms): position of a chunk's first visible key (T: none), and whether it hides any.
  // Null without a mask.
  idx_t* first_visible = nullptr;
  std::uint8_t* masked = nullptr;
  // On tiles, (B, queries): 1 where a query sees no key. Null if there is none.
  std::uint8_t* blind = nullptr;
  // Backward, more than one run: dk and dv of the halo of each run, (task, halo, dk and dv, chunk,
  // row), and which of them were written.
  float* side = nullptr;
  std::uint8_t* side_used = nullptr;

  // Queries of chunk c that see no key of their window: they are its first ones.
  idx_t BlindRows(idx_t b, idx_t c) const {
    if (first_visible == nullptr) return 0;
    idx_t seen = plan.T;
    for (idx_t i = 0; i < plan.parts; ++i) {
      const idx_t room = plan.Room(plan.WindowChunk(c, i));
      seen = std::min(seen, first_visible[b * plan.Rooms() + room]);
    }
    if (plan.causal) return std::clamp<idx_t>(seen - c * plan.chunk, 0, plan.Keys(c));
    return seen == plan.T ? plan.Keys(c) : 0;
  }
  idx_t SideFloats() const { return plan.chunk * plan.row; }
  float* Side(idx_t task, idx_t slot, int which) const {
    return side + ((task * plan.halo + slot) * 2 + which) * SideFloats();
  }
};

// A thread's scratch. Sizes are in chunked_attention.cc.
struct ChunkedScratch {
  static constexpr idx_t kEmpty = std::numeric_limits<idx_t>::min();

  idx_t* tag = nullptr;           // (ring): unwrapped chunk in a slot, or kEmpty
  ChunkedPart* parts = nullptr;   // (parts): of the current window that take part
  idx_t* limits = nullptr;        // (parts)
  void* terms = nullptr;          // (parts) TileTerm
  float* key_panels = nullptr;    // (ring): scale * K^T
  float* visible = nullptr;       // (ring, columns): 1 or 0
  float* value_panels = nullptr;  // (ring): forward V, backward V^T
  float* scores = nullptr;        // (block, score_stride)
  float* output = nullptr;        // (block, row): forward out, backward dq
  float* inverse = nullptr;       // (block): 1 / sum
  float* factors = nullptr;       // (columns): dropout
  // bf16 only: gathered.
  float* rows = nullptr;     // (chunk, row): keys or values on their way into panels
  float* queries = nullptr;  // (block, row)
  float* douts = nullptr;    // (block, row), backward
  float* pairs = nullptr;    // (block, score_stride / 2), backward: dscores
  // Backward only.
  float* key_rows = nullptr;      // (ring): K
  float* dk = nullptr;            // (ring, columns, row)
  float* dv = nullptr;            // (ring, columns, row)
  float* dscores = nullptr;       // (block, score_stride)
  float* query_panels = nullptr;  // Q of a block
  float* dout_panels = nullptr;   // dO of a block
};

// The plan for a problem whose arguments were checked.
// `slab`: null, the whole row.
ChunkedPlan MakeChunkedPlan(const ChunkedSpec& spec, const ChunkedSlab* slab, const InView& q);

}  // namespace longspan
