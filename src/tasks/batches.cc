#include "tasks/batches.h"

#include <algorithm>
#include <numeric>

namespace longspan {

std::vector<std::vector<idx_t>> PlanBatches(std::span<const idx_t> lengths, idx_t batch_tokens) {
  const auto length = [&](idx_t row) { return lengths[static_cast<std::size_t>(row)]; };
  std::vector<idx_t> order(lengths.size());
  std::iota(order.begin(), order.end(), idx_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](idx_t a, idx_t b) { return length(a) > length(b); });
  std::vector<std::vector<idx_t>> groups;
  for (const idx_t row : order) {
    const bool fits = [&] {
      if (groups.empty()) return false;
      const idx_t longest = length(groups.back().front());
      const auto rows = static_cast<idx_t>(groups.back().size()) + 1;
      return longest - length(row) <= longest / kLeastShare && rows * longest <= batch_tokens;
    }();
    if (!fits) groups.emplace_back();
    groups.back().push_back(row);
  }
  return groups;
}

}  // namespace longspan
