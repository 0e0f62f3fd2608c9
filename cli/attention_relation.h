// Who sees whom in one head, by lists: slow, and written from the definitions alone.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "longspan/attention.h"

namespace longspan::cli {

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

std::unique_ptr<AttentionRelation> FullAttentionRelation(idx_t tokens, bool causal);
std::unique_ptr<AttentionRelation> ChunkedAttentionRelation(const ChunkedSpec& spec, idx_t tokens);
// buckets (R, T) of the head.
std::unique_ptr<AttentionRelation> LshAttentionRelation(const LshSpec& spec, idx_t tokens,
                                                        const std::uint16_t* buckets);
// The rows of local tokens; global ones, which rise in `globals`, see nothing here.
std::unique_ptr<AttentionRelation> WindowAttentionRelation(const WindowSpec& spec, idx_t tokens,
                                                           idx_t head,
                                                           const std::vector<idx_t>& globals);
// The rows of global tokens alone.
std::unique_ptr<AttentionRelation> GlobalRowsRelation(const WindowSpec& spec, idx_t tokens,
                                                      const std::vector<idx_t>& globals);

}  // namespace longspan::cli
