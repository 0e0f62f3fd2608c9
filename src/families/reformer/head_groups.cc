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
  // Bytes of a token and channel: projected and out, and the fp32 gradient of projected.
  const auto operand = static_cast<idx_t>(call.bf16 == nullptr ? sizeof(float) : sizeof(bfloat16));
  const idx_t element = (projections_ + 1) * operand + projections_ * 4;
  const idx_t head_bytes = call.n() * head_size_ * element;
  if (heads_ * head_bytes <= call.all_heads_bytes) return heads_;
  const idx_t streams = 2 * call.n() * channels_ * 4;
  const idx_t most =
      std::min(std::max(streams / head_bytes, kNarrowGroup / head_size_), kLargeGroup / head_bytes);
  const idx_t groups = CeilDiv(heads_, std::max<idx_t>(most, 1));
  return CeilDiv(heads_, groups);  // groups of like size
}

std::vector<HeadGroup> HeadGroups::Of(const BranchCall& call) const {
  const idx_t size = GroupHeads(call);
  std::vector<HeadGroup> groups;
  std::size_t offset = 0;
  for (idx_t first = 0; first < heads_; first += size) {
    groups.push_back({first, std::min(size, heads_ - first), offset});
    offset += call.bf16 == nullptr ? Bytes<float>(call, groups.back())
                                   : Bytes<bfloat16>(call, groups.back());
  }
  return groups;
}

std::size_t HeadGroups::SavedBytes(const BranchCall& call) const {
  const HeadGroup last = Of(call).back();
  return last.offset +
         (call.bf16 == nullptr ? Bytes<float>(call, last) : Bytes<bfloat16>(call, last));
}

}  // namespace longspan
