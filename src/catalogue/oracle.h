// Single rows of an attention mechanism, from its relation and the definition of softmax: what its
// kernel is compared with, without the cost of the whole problem.
#pragma once

#include <vector>

#include "catalogue/relation.h"
#include "longspan/context.h"

namespace longspan::catalogue {

// One head's tensors, each (T, D) with the rows side by side.
struct HeadTensors {
  const float *q = nullptr, *k = nullptr, *v = nullptr, *dout = nullptr;
  idx_t tokens = 0, size = 0;  // T, D
  float scale = 0.0f;          // of the scores; 0: all weights of a query are equal
  // Queries serve as keys, as in Reformer's LSH layers: q is x, k and scale are not read.
  bool shared = false;
};

// kDouble is the oracle. The others are naive implementations, whose error says how much error a
// kernel may have (docs/reference/numerics.md): fp32 throughout, or fp32 with every tensor between
// two operations rounded to bf16.
enum class Arithmetic { kDouble, kFloat, kBf16 };

// Rows of out = softmax(scores) v and of the gradients for dout, (D) each.
struct OracleRows {
  std::vector<std::vector<double>> out, dq;  // of each listed query
  // Of each listed key. In the shared form dk is dqk: what the token gets as query and as key, the
  // latter through the normalisation.
  std::vector<std::vector<double>> dk, dv;
};

// Cost of a key: two products for every pair (query that sees it, key of that query).
OracleRows ComputeRows(Context& context, const HeadTensors& head, const AttentionRelation& relation,
                       Arithmetic arithmetic, const std::vector<idx_t>& queries,
                       const std::vector<idx_t>& keys);

}  // namespace longspan::catalogue
