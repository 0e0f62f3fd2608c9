// Which heads of an attention layer are computed at a time, and where their tensors lie.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "base/arena.h"
#include "families/reformer/attention_mechanism.h"
#include "families/reformer/residual_branch.h"
#include "model/heads_exchange.h"

namespace longspan {

// Heads [first, first + heads) of a layer.
struct GroupOfHeads {
  idx_t first = 0, heads = 0;
  std::size_t offset = 0;  // of the group's tensors in the call's saved activations, bytes
  HeadGroup number = {};   // of the call's groups
};

// A layer computes all heads at once if their tensors fit into call.all_heads_bytes, else groups of
// heads, one after another. Where ranks share rows, each rank cuts those that are its own into as
// many groups as any other one. A rank with fewer heads has groups without any.
class HeadGroups {
 public:
  // P projections and S statistics for each of H heads, in a layer of C channels.
  HeadGroups(idx_t channels, idx_t heads, idx_t head_size, idx_t projections, idx_t statistics)
      : channels_(channels),
        heads_(heads),
        head_size_(head_size),
        projections_(projections),
        statistics_(statistics) {}

  // The groups of a call in the order of the forward. The backward goes from the last to the first,
  // so that what was added last is subtracted first. They follow from shapes and the operand type
  // alone, because the order of additions follows from them.
  std::vector<GroupOfHeads> Of(const BranchCall& call) const;

  // Bytes of the tensors of a group of so many heads, and of all groups of a call.
  template <class T>
  std::size_t Bytes(const BranchCall& call, idx_t heads) const {
    const idx_t n = call.n(), width = heads * head_size_;
    return Arena::Bytes<T>(n * projections_ * width) + Arena::Bytes<T>(n * width) +
           static_cast<std::size_t>(statistics_ + 1) * Arena::Bytes<float>(n * heads);
  }
  std::size_t SavedBytes(const BranchCall& call) const;

  // The tensors of a group, in Bytes of `memory`: a frame of an arena, or saved activations.
  template <class T, class Memory>
  AttentionTensorsOf<T> Take(Memory& memory, const BranchCall& call,
                             const GroupOfHeads& group) const {
    AttentionTensorsOf<T> t;
    t.rows = call.rows;
    t.tokens = call.tokens;
    t.heads = group.heads;
    t.head_size = head_size_;
    t.first_head = group.first;
    t.layer_heads = heads_;
    const HeadShare held = HeadsOf(call.ranks, heads_);
    t.held_first = held.first;
    t.held_heads = held.count;
    const idx_t n = t.n(), width = t.width(), columns = projections_ * width;
    // Each statistic begins at an address that the arena would give it.
    const auto step = static_cast<idx_t>(Arena::Bytes<float>(n * t.heads) / sizeof(float));
    t.projected = {memory.template Take<T>(n * columns), {n, columns}};
    t.out = {memory.template Take<T>(n * width), {n, width}};
    t.dout = t.out;
    t.statistics = {memory.template Take<float>(statistics_ * step),
                    {statistics_, t.rows, t.heads, t.tokens},
                    {step, t.heads * t.tokens, t.tokens, 1}};
    t.delta = {memory.template Take<float>(n * t.heads), {t.rows, t.heads, t.tokens}};
    return t;
  }

 private:
  // Heads of a group; where ranks share rows, of the rank that has most.
  idx_t GroupHeads(const BranchCall& call) const;

  idx_t channels_, heads_, head_size_, projections_, statistics_;
};

}  // namespace longspan
