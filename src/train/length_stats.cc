#include "train/length_stats.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace longspan {

LengthStats LengthsOf(std::vector<idx_t> lengths) {
  LengthStats s;
  if (lengths.empty()) return s;
  std::sort(lengths.begin(), lengths.end());
  s.total = std::accumulate(lengths.begin(), lengths.end(), idx_t{0});
  s.shortest = lengths.front();
  s.longest = lengths.back();
  const auto count = static_cast<double>(lengths.size());
  s.mean = static_cast<double>(s.total) / count;
  for (const int share : {1, 5, 25, 50, 75, 95, 99}) {
    const auto rank = static_cast<std::size_t>(std::ceil(share * count / 100.0));
    s.percentiles.push_back({share, lengths[std::max<std::size_t>(rank, 1) - 1]});
  }
  for (const idx_t length : lengths) {
    const auto low =
        length == 0 ? 0 : static_cast<idx_t>(std::bit_floor(static_cast<std::uint64_t>(length)));
    if (s.bins.empty() || s.bins.back().low != low) {
      s.bins.push_back({low, low == 0 ? 0 : 2 * low - 1, 0, 0});
    }
    s.bins.back().documents += 1;
    s.bins.back().total += length;
  }
  return s;
}

}  // namespace longspan
