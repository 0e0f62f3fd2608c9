#include "tasks/batches.h"

#include <algorithm>
#include <numeric>

namespace longspan {

namespace {

// Groups of rows, the longest first; fits(group, row) says whether the row may join the group.
template <class Fits>
std::vector<std::vector<idx_t>> GroupRows(std::span<const idx_t> lengths, const Fits& fits) {
  const auto length = [&](idx_t row) { return lengths[static_cast<std::size_t>(row)]; };
  std::vector<idx_t> order(lengths.size());
  std::iota(order.begin(), order.end(), idx_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](idx_t a, idx_t b) { return length(a) > length(b); });
  std::vector<std::vector<idx_t>> groups;
  for (const idx_t row : order) {
    if (groups.empty() || !fits(groups.back(), row)) groups.emplace_back();
    groups.back().push_back(row);
  }
  return groups;
}

}  // namespace

std::vector<std::vector<idx_t>> PlanBatches(std::span<const idx_t> lengths, idx_t batch_tokens) {
  const auto length = [&](idx_t row) { return lengths[static_cast<std::size_t>(row)]; };
  return GroupRows(lengths, [&](const std::vector<idx_t>& group, idx_t row) {
    const idx_t longest = length(group.front());
    const auto rows = static_cast<idx_t>(group.size()) + 1;
    return longest - length(row) <= longest / kLeastShare && rows * longest <= batch_tokens;
  });
}

std::vector<std::vector<idx_t>> PlanSideBySide(std::span<const idx_t> lengths, idx_t batch_tokens) {
  idx_t tokens = 0;  // of the last group
  return GroupRows(lengths, [&](const std::vector<idx_t>& group, idx_t row) {
    const auto length = [&](idx_t r) { return lengths[static_cast<std::size_t>(r)]; };
    if (group.size() == 1) tokens = length(group.front());
    const bool fits = length(row) <= batch_tokens - tokens;
    if (fits) tokens += length(row);
    return fits;
  });
}

std::vector<std::vector<idx_t>> PlanRows(const TextModelInfo& info, std::span<const idx_t> lengths,
                                         idx_t batch_tokens) {
  return info.side_by_side ? PlanSideBySide(lengths, batch_tokens)
                           : PlanBatches(lengths, batch_tokens);
}

std::vector<idx_t> PlaceRows(const TextModelInfo& info, std::span<const RowIds> rows,
                             Batch* batch) {
  const auto count = static_cast<idx_t>(rows.size());
  idx_t longest = 0, all = 0;
  for (const RowIds& row : rows) {
    const auto size = static_cast<idx_t>(row.ids.size());
    longest = std::max(longest, size);
    all += size;
  }
  batch->Reset(info.side_by_side ? 1 : count, info.side_by_side ? all : longest, info.pad_token);
  std::vector<idx_t> begins;
  idx_t begin = 0;
  for (idx_t b = 0; b < count; ++b) {
    const RowIds& row = rows[static_cast<std::size_t>(b)];
    begins.push_back(begin);
    if (info.side_by_side) {
      batch->AddDocument(begin, row.ids, row.types);
      begin += static_cast<idx_t>(row.ids.size());
    } else {
      batch->SetRow(b, row.ids, row.types);
      begin += longest;
    }
  }
  return begins;
}

}  // namespace longspan
