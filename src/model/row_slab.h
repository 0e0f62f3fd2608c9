// What models ask where ranks share rows (world/row_group.h). Without a group it costs nothing.
#pragma once

#include <span>

#include "longspan/context.h"
#include "longspan/model_info.h"
#include "longspan/tensor.h"
#include "world/row_group.h"

namespace longspan {

// Of the n tokens of a batch those whose streams this rank has: all of them without a group.
inline TokenSlab OwnTokens(const RowGroup* group, idx_t n) {
  return group == nullptr ? TokenSlab{0, n} : group->Mine(n);
}
inline TokenSlab OwnTokens(const Context& context, idx_t n) {
  return OwnTokens(context.row_group(), n);
}

// The part of values of all tokens that belongs to the slab; nothing stays nothing.
template <class T>
std::span<const T> PartOf(const TokenSlab& slab, std::span<const T> values) {
  if (values.empty()) return values;
  return values.subspan(static_cast<std::size_t>(slab.begin),
                        static_cast<std::size_t>(slab.size()));
}

// x (N, W) of all tokens, of which each rank has written its own rows, becomes whole on all ranks.
// Together.
void GatherRowsOfAll(Context& context, const View<float, 2>& x);

// kUsage with a group: for calls that show hidden states or attention of whole texts.
void CheckNotSplit(const Context& context);

// Sum, counted and correct become those of all ranks of the group, in double and in their order;
// the mean is theirs. Together.
HeadLoss SumOverRows(Context& context, const HeadLoss& own);

}  // namespace longspan
