// Single rows of an attention mechanism in double: what a benchmark's timed tensors are checked
// against, without the cost of the whole problem.
#pragma once

#include <vector>

#include "cli/attention_relation.h"
#include "longspan/context.h"
#include "longspan/tensor.h"

namespace longspan::cli {

// One head's tensors, each (T, D) with the rows side by side.
struct HeadTensors {
  const float *q = nullptr, *k = nullptr, *v = nullptr, *dout = nullptr;
  idx_t tokens = 0, size = 0;  // T, D
  float scale = 0.0f;          // of the scores
  // Queries serve as keys, as in Reformer's LSH layers: q is x, k and scale are not looked at.
  bool shared = false;
};

// Rows of out = softmax(scores) v and of the gradients for dout.
class HeadOracle {
 public:
  HeadOracle(const HeadTensors& head, const AttentionRelation& relation);

  struct Row {
    std::vector<double> out, dq;  // (D) as a query
    std::vector<double> dk, dv;   // (D) as a key; shared: dk passes through the normalisation
  };
  // Each token as a query: out and dq.
  std::vector<Row> QueryRows(Context& context, const std::vector<idx_t>& tokens) const;
  // Each token as a key: dk and dv. Cost: two products for every pair (query that sees one of the
  // tokens, key of that query).
  std::vector<Row> KeyRows(Context& context, const std::vector<idx_t>& tokens) const;

 private:
  // The softmax of a query: weight = exp(score - max) / sum; delta = sum of weight dweight.
  struct Softmax {
    double max = 0.0, sum = 0.0, delta = 0.0;
  };
  double Score(idx_t query, idx_t key) const;
  double WeightGradient(idx_t query, idx_t key) const;
  Softmax Sum(idx_t query, const std::vector<idx_t>& keys) const;
  Row QueryRow(idx_t query) const;
  Row KeyRow(idx_t key, const std::vector<Softmax>& softmax) const;

  HeadTensors head_;
  const AttentionRelation& relation_;
  std::vector<double> q_, k_, v_, dout_;  // (T, D); k as it enters the scores, scale included
};

}  // namespace longspan::cli
