#include "families/reformer/head_groups.h"

#include <algorithm>

#include "base/math.h"

namespace longspan {
namespace {

// A group's tensors are at most as large as the two residual streams, so they do not decide the
// peak, unless products would then have less than kNarrowGroup columns. For very long texts they
// take at most kLargeGroup bytes. Each group reads and normalizes the stream again.
constexpr idx_t kNarrowGroup = 128;
constexpr idx_t kLargeGroup = idx_t{3} << 29;

}  // namespace

idx_t HeadGroups::GroupHeads(const BranchCall& call) const {
  if (call.observer != nullptr) return heads_;  // it looks at all heads together
  // The heads of the rank that has most of them.
  const idx_t ranks = call.ranks == nullptr ? 1 : call.ranks->size();
  const idx_t heads = CeilDiv(heads_, ranks);
  // Bytes of a token and channel: projected and out, and the fp32 gradient of projected.
  const auto operand = static_cast<idx_t>(call.bf16 == nullptr ? sizeof(float) : sizeof(bfloat16));
  const idx_t element = (projections_ + 1) * operand + projections_ * 4;
  const idx_t head_bytes = call.n() * head_size_ * element;
  if (heads * head_bytes <= call.all_heads_bytes) return heads;
  const idx_t streams = 2 * CeilDiv(call.n(), ranks) * channels_ * 4;
  // Each rank multiplies for the heads of all of them: its products are wide in any case.
  const idx_t narrow = CeilDiv(kNarrowGroup / head_size_, ranks);
  const idx_t most = std::min(std::max(streams / head_bytes, narrow), kLargeGroup / head_bytes);
  const idx_t groups = CeilDiv(heads, std::max<idx_t>(most, 1));
  return CeilDiv(heads, groups);  // groups of like size
}

std::vector<GroupOfHeads> HeadGroups::Of(const BranchCall& call) const {
  const idx_t size = GroupHeads(call);
  const auto bytes = [&](idx_t heads) {
    return call.bf16 == nullptr ? Bytes<float>(call, heads) : Bytes<bfloat16>(call, heads);
  };
  std::vector<GroupOfHeads> groups;
  if (call.ranks == nullptr) {
    for (idx_t first = 0; first < heads_; first += size) {
      groups.push_back({first, std::min(size, heads_ - first), groups.size() * bytes(size)});
    }
    return groups;
  }
  const int ranks = call.ranks->size();
  const idx_t count = CeilDiv(CeilDiv(heads_, idx_t{ranks}), size);
  for (idx_t index = 0; index < count; ++index) {
    const HeadShare own = HeadsOf(call.ranks->rank(), ranks, heads_, {index, count});
    groups.push_back({own.first, own.count, groups.size() * bytes(size), {index, count}});
  }
  return groups;
}

std::size_t HeadGroups::SavedBytes(const BranchCall& call) const {
  const GroupOfHeads last = Of(call).back();
  // All ranks take as much as the one with most heads.
  const idx_t heads = call.ranks == nullptr ? last.heads : GroupHeads(call);
  return last.offset +
         (call.bf16 == nullptr ? Bytes<float>(call, heads) : Bytes<bfloat16>(call, heads));
}

}  // namespace longspan
