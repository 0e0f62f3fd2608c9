// Attention in bf16 on the tile unit (simd/amx-inl.h): one head's list of queries over lists of
// keys (ops/attention_lists.h), forward and backward. Full, window, chunked and LSH attention
// are made of it; the README has formulas, accuracy and design.
//
// Blocks are 32 queries by 32 keys, numbered from the beginning of a list. What a block of queries
// gives does not depend on how queries are shared among tasks, so runs may follow the number of
// threads; sums of gradients follow from the groups that the caller fixes by the shape.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "base/arena.h"
#include "base/math.h"
#include "base/rng.h"
#include "longspan/context.h"
#include "ops/attention_lists.h"

namespace longspan {

// Rows of queries, and of keys, of a block; the most blocks of queries of a task.
inline constexpr idx_t kAmxBlock = 32, kAmxMostRun = 64;

// Whether there are kernels for this head size and scale. lse / scale has to be a number: a scale
// near 0, for which nobody needs speed, is left to the other kernels.
inline constexpr idx_t kAmxMostHeadSize = 256;
inline bool AmxTakes(idx_t head_size, float scale) {
  return head_size <= kAmxMostHeadSize && std::abs(scale) > 1e-20f;
}

// What all tasks of a call share. The sizes follow from the shape alone, but for `run`.
struct AmxPlan {
  bool twin = false;  // in plain C++ (base/isa.h)
  idx_t D = 0;        // AmxTakes it and the scale
  float scale = 0.0f;
  Dropout dropout;
  idx_t slots = 0;      // of a row, for dropout
  bool shared = false;  // keys are queries of one length; the scale is 1

  // Forward. `whole`: each block of queries meets all keys that it sees at once. Otherwise keys
  // pass by, `held` blocks at a time, and a run of queries remembers what it has seen.
  bool whole = false;
  idx_t held = 0;         // blocks of keys that lie packed
  idx_t beside = 0;       // whole: blocks of global keys
  idx_t most_blocks = 0;  // that a block of queries meets at once
  idx_t run = 0;          // blocks of queries of a task

  // Backward.
  idx_t side = 0;  // blocks of keys, and of queries, that meet at once
  idx_t ring = 0;  // blocks of queries that lie packed: a multiple of `side`

  AmxPlan() = default;
  // What does not follow from lengths; on the unit or its twin, as ActiveBf16Path() says.
  AmxPlan(idx_t head_size, float score_scale, const Dropout& site, idx_t row_slots);

  idx_t Terms() const { return RoundUp(D, kAmxBlock); }  // D, padded
  // Bytes of a packed block of 32 rows.
  idx_t BlockBytes() const { return kAmxBlock * Terms() * 2; }
};

// Plans for lists of at most `keys` keys. A query sees `left` keys before its own place in the list
// and `right` behind it, or all (left = right = keys), and `globals` keys of a second list.
// `heads` and `threads` bound the length of a run only.
void PlanAmxForward(idx_t keys, idx_t left, idx_t right, idx_t globals, idx_t heads, int threads,
                    AmxPlan* plan);
// `queries`: the longest range of queries of a task.
void PlanAmxBackward(idx_t queries, idx_t left, idx_t right, AmxPlan* plan);

// Queries of a list that see no key: they weigh all keys equally (of their window, where keys are
// chunks), hidden and future ones too, and have no gradient.
struct BlindQueries {
  idx_t first = 0;                      // so many from the beginning
  const std::uint8_t* marks = nullptr;  // (queries): and those with a mark; null: no others

  bool any() const { return first > 0 || marks != nullptr; }
  bool operator()(idx_t i) const { return i < first || (marks != nullptr && marks[i] != 0); }
};

// The shared form: what is known of tokens. The weight of a score s is exp(s - max) / sum.
struct AmxShared {
  // Forward: what the query has summed in earlier rounds, of a token, and this round's place among
  // them. With one round they stay null. Backward: of all rounds.
  TokenRows<float> max, sum;
  TokenRows<float> sums;  // weighted values
  bool first = true, last = true;
  TokenRows<float> saved_max, saved_sum;  // the last round writes them
  // Backward: gradients of entries [own, own_end) are added to the caller's rows: dq and dk are
  // rows of one array. What the others get is left here, as chunks of rows: (entry's chunk, g and
  // dv, chunk, side_row), without the own entries. g is the README's.
  idx_t own = 0, own_end = 0;
  float* side = nullptr;
  idx_t side_row = 0;
};

// Forward of a part of the keys: what queries have summed goes here, by query, instead of out and
// lse. Weights are exp(score - max); a query that sees none of the keys has the sum 0.
struct AmxSums {
  TokenRows<float> out;  // (D)
  TokenRows<float> max, sum;
};

// One head. Rows are bf16, gradients, lse and delta fp32.
struct AmxLists {
  QueryRows queries;
  KeyRows keys;
  KeyRows globals;  // forward only: keys that all queries see beside the others; count 0: none
  // Where there are some, keys.count must be the number of all keys.
  BlindQueries blind;
  AmxShared shared;
  AmxSums part;  // null: the keys are all that there are
};

// How far queries see keys that are chunks, before their own entry and behind it. Blocks of keys
// are numbered from the first chunk that is seen, so they may begin up to 31 entries before those
// of queries. `ahead`: a query may see keys behind its own entry in its chunk.
struct AmxReach {
  idx_t left = 0, right = 0;
};
inline AmxReach ReachOfChunks(idx_t chunk, idx_t before, idx_t after, bool ahead) {
  const idx_t shift = before * chunk % kAmxBlock == 0 ? 0 : kAmxBlock - 1;
  return {(before + 1) * chunk - 1, (ahead ? (after + 1) * chunk - 1 : 0) + shift};
}

struct AmxRange {
  idx_t begin = 0, end = 0;
};

// Bytes of a thread's scratch.
std::size_t AmxForwardBytes(const AmxPlan& plan);
std::size_t AmxBackwardBytes(const AmxPlan& plan);

// Scratch of one size for each thread of a context, taken from its arena while this lives.
class AmxScratch {
 public:
  AmxScratch(Context& context, std::size_t bytes)
      : frame_(context.arena(), Bytes(bytes) * static_cast<std::size_t>(context.threads())),
        each_(Bytes(bytes)),
        base_(static_cast<std::byte*>(
            frame_.TakeBytes(each_ * static_cast<std::size_t>(context.threads())))) {}
  void* Of(int thread) const { return base_ + each_ * static_cast<std::size_t>(thread); }

 private:
  static std::size_t Bytes(std::size_t bytes) {
    return Arena::Bytes<std::byte>(static_cast<idx_t>(bytes));
  }
  Arena::Frame frame_;
  std::size_t each_;
  std::byte* base_;
};

// out and lse of queries [begin, end); begin is a multiple of 32. Hidden queries (those that take
// no part and have role kHiddenToken) get out 0 and lse -inf, global ones stay as they are.
// `scratch`: AmxForwardBytes, 64-byte aligned.
void AmxForward(const AmxPlan& plan, const AmxLists& lists, void* scratch, AmxRange queries);

// dq, dk and dv of what these keys and queries give each other, added to the caller's rows and to
// no others. Queries begin at a multiple of 32 side, and so do keys that are no chunks; the queries
// fit into the plan's ring, or the keys' reach does.
void AmxBackward(const AmxPlan& plan, const AmxLists& lists, void* scratch, AmxRange keys,
                 AmxRange queries);

}  // namespace longspan
