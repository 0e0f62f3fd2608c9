#include "catalogue/relation.h"

#include <algorithm>
#include <numeric>

namespace longspan::catalogue {

idx_t AttentionRelation::Times(idx_t query, idx_t key) const {
  const std::vector<idx_t> keys = Keys(query);
  return std::count(keys.begin(), keys.end(), key);
}

std::vector<idx_t> UpTo(idx_t n) {
  std::vector<idx_t> all(static_cast<std::size_t>(n));
  std::iota(all.begin(), all.end(), idx_t{0});
  return all;
}

std::vector<idx_t> ChunksThatMaySee(idx_t c, idx_t before, idx_t after, idx_t n) {
  std::vector<idx_t> chunks;
  for (idx_t off = -after; off <= before; ++off) chunks.push_back(((c + off) % n + n) % n);
  std::sort(chunks.begin(), chunks.end());
  chunks.erase(std::unique(chunks.begin(), chunks.end()), chunks.end());
  return chunks;
}

}  // namespace longspan::catalogue
