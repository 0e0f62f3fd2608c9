// Who sees whom in one head, by lists: slow, and written from the definitions alone.
#pragma once

#include <vector>

#include "longspan/types.h"

namespace longspan::catalogue {

class AttentionRelation {
 public:
  virtual ~AttentionRelation() = default;
  // The keys of a query; one that enters its softmax twice stands there twice.
  virtual std::vector<idx_t> Keys(idx_t query) const = 0;
  // All queries that may see the key, each once.
  virtual std::vector<idx_t> Queries(idx_t key) const = 0;
  // How often the key enters the query's softmax.
  virtual idx_t Times(idx_t query, idx_t key) const;
};

// 0, 1, ..., n - 1.
std::vector<idx_t> UpTo(idx_t n);

// All chunks whose window may hold chunk c of a circle of n chunks, ascending, each once.
std::vector<idx_t> ChunksThatMaySee(idx_t c, idx_t before, idx_t after, idx_t n);

}  // namespace longspan::catalogue
