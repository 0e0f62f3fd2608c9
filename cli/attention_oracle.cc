#include "cli/attention_oracle.h"

#include <algorithm>
#include <cmath>

#include "longspan/attention.h"
#include "parallel/parallel_for.h"

namespace longspan::cli {
namespace {

constexpr double kKeyEpsilon = 1e-6;  // of the shared form's key normalisation

// Four sums at a time: the rows are long and the additions wait for each other.
double Dot(const double* a, const double* b, idx_t n) {
  double sums[4] = {};
  idx_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (idx_t j = 0; j < 4; ++j) sums[j] += a[i + j] * b[i + j];
  }
  for (; i < n; ++i) sums[0] += a[i] * b[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

void AddScaled(const double* x, double factor, std::vector<double>* y) {
  for (std::size_t i = 0; i < y->size(); ++i) (*y)[i] += factor * x[i];
}

double InverseRootMeanSquare(const double* x, idx_t n) {
  return 1.0 / std::sqrt(Dot(x, x, n) / static_cast<double>(n) + kKeyEpsilon);
}

}  // namespace

HeadOracle::HeadOracle(const HeadTensors& head, const AttentionRelation& relation)
    : head_(head), relation_(relation) {
  const idx_t n = head.tokens * head.size;
  q_.assign(head.q, head.q + n);
  v_.assign(head.v, head.v + n);
  dout_.assign(head.dout, head.dout + n);
  if (!head.shared) {
    k_.assign(head.k, head.k + n);
    for (double& value : k_) value *= head.scale;
    return;
  }
  k_ = q_;
  const double root = std::sqrt(static_cast<double>(head.size));
  for (idx_t t = 0; t < head.tokens; ++t) {
    double* key = k_.data() + t * head.size;
    const double factor = InverseRootMeanSquare(key, head.size) / root;
    for (idx_t d = 0; d < head.size; ++d) key[d] *= factor;
  }
}

double HeadOracle::Score(idx_t query, idx_t key) const {
  if (head_.shared && query == key) return static_cast<double>(kSelfScore);
  return Dot(q_.data() + query * head_.size, k_.data() + key * head_.size, head_.size);
}

// d loss / d weight of the key.
double HeadOracle::WeightGradient(idx_t query, idx_t key) const {
  return Dot(dout_.data() + query * head_.size, v_.data() + key * head_.size, head_.size);
}

HeadOracle::Softmax HeadOracle::Sum(idx_t query, const std::vector<idx_t>& keys) const {
  Softmax softmax;
  std::vector<double> scores;
  for (const idx_t key : keys) scores.push_back(Score(query, key));
  softmax.max = *std::max_element(scores.begin(), scores.end());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const double e = std::exp(scores[i] - softmax.max);
    softmax.sum += e;
    softmax.delta += e * WeightGradient(query, keys[i]);
  }
  softmax.delta /= softmax.sum;
  return softmax;
}

HeadOracle::Row HeadOracle::QueryRow(idx_t query) const {
  const std::vector<idx_t> keys = relation_.Keys(query);
  const Softmax softmax = Sum(query, keys);
  Row row;
  row.out.resize(static_cast<std::size_t>(head_.size));
  row.dq = row.out;
  for (const idx_t key : keys) {
    const double weight = std::exp(Score(query, key) - softmax.max) / softmax.sum;
    AddScaled(v_.data() + key * head_.size, weight, &row.out);
    if (head_.shared && key == query) continue;  // its score is a constant
    AddScaled(k_.data() + key * head_.size, weight * (WeightGradient(query, key) - softmax.delta),
              &row.dq);
  }
  return row;
}

HeadOracle::Row HeadOracle::KeyRow(idx_t key, const std::vector<Softmax>& softmax) const {
  Row row;
  row.dk.resize(static_cast<std::size_t>(head_.size));
  row.dv = row.dk;
  for (const idx_t query : relation_.Queries(key)) {
    const auto times = static_cast<double>(relation_.Times(query, key));
    if (times == 0.0) continue;  // its score may lie far above the query's maximum
    const Softmax& s = softmax[static_cast<std::size_t>(query)];
    const double weight = times * std::exp(Score(query, key) - s.max) / s.sum;
    AddScaled(dout_.data() + query * head_.size, weight, &row.dv);
    if (head_.shared && key == query) continue;
    AddScaled(q_.data() + query * head_.size, weight * (WeightGradient(query, key) - s.delta),
              &row.dk);
  }
  if (!head_.shared) {
    for (double& value : row.dk) value *= head_.scale;
    return row;
  }
  // key = x rho / sqrt(D): dx = rho g - x rho^3 (g . x) / D with g = dk / sqrt(D).
  const double* x = q_.data() + key * head_.size;
  const auto size = static_cast<double>(head_.size);
  const double rho = InverseRootMeanSquare(x, head_.size);
  for (double& value : row.dk) value /= std::sqrt(size);
  const double along = rho * rho * rho * Dot(row.dk.data(), x, head_.size) / size;
  for (double& value : row.dk) value *= rho;
  AddScaled(x, -along, &row.dk);
  return row;
}

std::vector<HeadOracle::Row> HeadOracle::QueryRows(Context& context,
                                                   const std::vector<idx_t>& tokens) const {
  std::vector<Row> rows(tokens.size());
  ParallelFor(context, static_cast<idx_t>(tokens.size()), [&](idx_t i, int) {
    const auto at = static_cast<std::size_t>(i);
    rows[at] = QueryRow(tokens[at]);
  });
  return rows;
}

std::vector<HeadOracle::Row> HeadOracle::KeyRows(Context& context,
                                                 const std::vector<idx_t>& tokens) const {
  std::vector<idx_t> queries;
  for (const idx_t key : tokens) {
    const std::vector<idx_t> more = relation_.Queries(key);
    queries.insert(queries.end(), more.begin(), more.end());
  }
  std::sort(queries.begin(), queries.end());
  queries.erase(std::unique(queries.begin(), queries.end()), queries.end());
  std::vector<Softmax> softmax(static_cast<std::size_t>(head_.tokens));
  ParallelFor(context, static_cast<idx_t>(queries.size()), [&](idx_t i, int) {
    const idx_t query = queries[static_cast<std::size_t>(i)];
    softmax[static_cast<std::size_t>(query)] = Sum(query, relation_.Keys(query));
  });
  std::vector<Row> rows(tokens.size());
  ParallelFor(context, static_cast<idx_t>(tokens.size()), [&](idx_t i, int) {
    const auto at = static_cast<std::size_t>(i);
    rows[at] = KeyRow(tokens[at], softmax);
  });
  return rows;
}

}  // namespace longspan::cli
