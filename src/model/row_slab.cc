#include "model/row_slab.h"

#include <array>
#include <vector>

#include "base/errors.h"
#include "model/head_losses.h"

namespace longspan {

void GatherRowsOfAll(Context& context, const View<float, 2>& x) {
  RowGroup* group = context.row_group();
  if (group == nullptr || (context.rehearsal() && !group->rehearses())) return;
  const auto rows = [&](const TokenSlab& slab) -> RowGroup::Piece {
    return {x.data + slab.begin * x.extent[1],
            static_cast<std::size_t>(slab.size() * x.extent[1]) * sizeof(float)};
  };
  const std::vector<RowGroup::Piece> sends(static_cast<std::size_t>(group->size()),
                                           rows(group->Mine(x.extent[0])));
  std::vector<RowGroup::Piece> receives;
  for (int r = 0; r < group->size(); ++r) receives.push_back(rows(group->SlabOf(x.extent[0], r)));
  group->Exchange(ExchangeKind::kRows, sends, receives).Wait();
}

void CheckNotSplit(const Context& context) {
  Check(
      context.row_group() == nullptr, ErrorCode::kUsage,
      "model: hidden states and attention are shown by one process, not by ranks that share rows");
}

HeadLoss SumOverRows(Context& context, const HeadLoss& own) {
  RowGroup* group = context.row_group();
  if (group == nullptr || context.rehearsal()) return own;
  std::array<double, 3> values = {own.sum, static_cast<double>(own.counted),
                                  static_cast<double>(own.correct)};
  group->Sum(std::span<double>(values));
  HeadLoss all;
  all.sum = values[0];
  all.counted = static_cast<idx_t>(values[1]);
  all.correct = static_cast<idx_t>(values[2]);
  all.mean = MeanLoss(all.sum, all.counted);
  return all;
}

}  // namespace longspan
