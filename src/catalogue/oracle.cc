#include "catalogue/oracle.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/bfloat16.h"
#include "longspan/attention.h"
#include "parallel/parallel_for.h"

namespace longspan::catalogue {
namespace {

constexpr double kKeyEpsilon = 1e-6;  // of the shared form's key normalisation

// The naive form: one addition after another.
float Dot(const float* a, const float* b, idx_t n) {
  float sum = 0.0f;
  for (idx_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

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

template <class T>
void AddScaled(const T* x, T factor, std::vector<T>* y) {
  for (std::size_t i = 0; i < y->size(); ++i) (*y)[i] += factor * x[i];
}

template <class T>
T InverseRootMeanSquare(const T* x, idx_t n) {
  return T(1) / std::sqrt(Dot(x, x, n) / static_cast<T>(n) + static_cast<T>(kKeyEpsilon));
}

// T is double or float.
template <class T>
class HeadOracle {
 public:
  HeadOracle(const HeadTensors& head, const AttentionRelation& relation, bool bf16);

  struct Row {
    std::vector<T> out, dq;  // (D) as a query
    std::vector<T> dk, dv;   // (D) as a key; shared: dk passes through the normalisation
  };
  std::vector<Row> QueryRows(Context& context, const std::vector<idx_t>& tokens) const;
  std::vector<Row> KeyRows(Context& context, const std::vector<idx_t>& tokens) const;

 private:
  // The softmax of a query: weight = exp(score - max) / sum; delta = sum of weight dweight.
  struct Softmax {
    T max = T(0), sum = T(0), delta = T(0);
  };
  T Round(T x) const {
    return bf16_ ? static_cast<T>(ToFloat(ToBfloat16(static_cast<float>(x)))) : x;
  }
  void RoundAll(std::vector<T>* values) const {
    for (T& value : *values) value = Round(value);
  }
  T Score(idx_t query, idx_t key) const {
    if (head_.shared && query == key) return static_cast<T>(kSelfScore);
    return Round(Dot(q_.data() + query * head_.size, k_.data() + key * head_.size, head_.size));
  }
  // Of one appearance of the key.
  T Weight(const Softmax& softmax, idx_t query, idx_t key) const {
    return Round(std::exp(Score(query, key) - softmax.max) / softmax.sum);
  }
  // d loss / d weight of the key.
  T WeightGradient(idx_t query, idx_t key) const {
    return Round(Dot(dout_.data() + query * head_.size, v_.data() + key * head_.size, head_.size));
  }
  Softmax Sum(idx_t query, const std::vector<idx_t>& keys) const;
  Row QueryRow(idx_t query) const;
  Row KeyRow(idx_t key, const std::vector<Softmax>& softmax) const;
  void ThroughNormalisation(idx_t key, std::vector<T>* dk) const;

  HeadTensors head_;
  const AttentionRelation& relation_;
  bool bf16_;
  std::vector<T> q_, k_, v_, dout_;  // (T, D); k as it enters the scores, scale included
};

template <class T>
HeadOracle<T>::HeadOracle(const HeadTensors& head, const AttentionRelation& relation, bool bf16)
    : head_(head), relation_(relation), bf16_(bf16) {
  const idx_t n = head.tokens * head.size;
  q_.assign(head.q, head.q + n);
  v_.assign(head.v, head.v + n);
  dout_.assign(head.dout, head.dout + n);
  if (!head.shared) {
    k_.assign(head.k, head.k + n);
    for (T& value : k_) value *= static_cast<T>(head.scale);
    return;
  }
  k_ = q_;
  const T root = std::sqrt(static_cast<T>(head.size));
  for (idx_t t = 0; t < head.tokens; ++t) {
    T* key = k_.data() + t * head.size;
    const T factor = InverseRootMeanSquare(key, head.size) / root;
    for (idx_t d = 0; d < head.size; ++d) key[d] = Round(key[d] * factor);
  }
}

template <class T>
typename HeadOracle<T>::Softmax HeadOracle<T>::Sum(idx_t query,
                                                   const std::vector<idx_t>& keys) const {
  Softmax softmax;
  std::vector<T> scores;
  for (const idx_t key : keys) scores.push_back(Score(query, key));
  softmax.max = *std::max_element(scores.begin(), scores.end());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const T e = std::exp(scores[i] - softmax.max);
    softmax.sum += e;
    softmax.delta += e * WeightGradient(query, keys[i]);
  }
  softmax.delta /= softmax.sum;
  return softmax;
}

template <class T>
typename HeadOracle<T>::Row HeadOracle<T>::QueryRow(idx_t query) const {
  const std::vector<idx_t> keys = relation_.Keys(query);
  const Softmax softmax = Sum(query, keys);
  Row row;
  row.out.resize(static_cast<std::size_t>(head_.size));
  row.dq = row.out;
  for (const idx_t key : keys) {
    const T weight = Weight(softmax, query, key);
    AddScaled(v_.data() + key * head_.size, weight, &row.out);
    if (head_.shared && key == query) continue;  // its score is a constant
    const T dscore = Round(weight * (WeightGradient(query, key) - softmax.delta));
    AddScaled(k_.data() + key * head_.size, dscore, &row.dq);
  }
  RoundAll(&row.out);
  RoundAll(&row.dq);
  return row;
}

template <class T>
typename HeadOracle<T>::Row HeadOracle<T>::KeyRow(idx_t key,
                                                  const std::vector<Softmax>& softmax) const {
  Row row;
  row.dk.resize(static_cast<std::size_t>(head_.size));
  row.dv = row.dk;
  for (const idx_t query : relation_.Queries(key)) {
    const auto times = static_cast<T>(relation_.Times(query, key));
    if (times == T(0)) continue;  // its score may lie far above the query's maximum
    const Softmax& s = softmax[static_cast<std::size_t>(query)];
    const T weight = Weight(s, query, key);
    AddScaled(dout_.data() + query * head_.size, times * weight, &row.dv);
    if (head_.shared && key == query) continue;
    const T dscore = Round(weight * (WeightGradient(query, key) - s.delta));
    AddScaled(q_.data() + query * head_.size, times * dscore, &row.dk);
  }
  if (head_.shared) {
    ThroughNormalisation(key, &row.dk);
  } else {
    for (T& value : row.dk) value *= static_cast<T>(head_.scale);
  }
  RoundAll(&row.dk);
  RoundAll(&row.dv);
  return row;
}

// key = x rho / sqrt(D): dx = rho g - x rho^3 (g . x) / D with g = dk / sqrt(D).
template <class T>
void HeadOracle<T>::ThroughNormalisation(idx_t key, std::vector<T>* dk) const {
  const T* x = q_.data() + key * head_.size;
  const auto size = static_cast<T>(head_.size);
  const T rho = InverseRootMeanSquare(x, head_.size);
  for (T& value : *dk) value /= std::sqrt(size);
  const T along = rho * rho * rho * Dot(dk->data(), x, head_.size) / size;
  for (T& value : *dk) value *= rho;
  AddScaled(x, -along, dk);
}

template <class T>
std::vector<typename HeadOracle<T>::Row> HeadOracle<T>::QueryRows(
    Context& context, const std::vector<idx_t>& tokens) const {
  std::vector<Row> rows(tokens.size());
  ParallelFor(context, static_cast<idx_t>(tokens.size()), [&](idx_t i, int) {
    const auto at = static_cast<std::size_t>(i);
    rows[at] = QueryRow(tokens[at]);
  });
  return rows;
}

template <class T>
std::vector<typename HeadOracle<T>::Row> HeadOracle<T>::KeyRows(
    Context& context, const std::vector<idx_t>& tokens) const {
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

template <class T>
OracleRows RowsIn(Context& context, const HeadTensors& head, const AttentionRelation& relation,
                  bool bf16, const std::vector<idx_t>& queries, const std::vector<idx_t>& keys) {
  const HeadOracle<T> oracle(head, relation, bf16);
  const auto wide = [](const std::vector<T>& row) {
    return std::vector<double>(row.begin(), row.end());
  };
  OracleRows rows;
  for (const auto& row : oracle.QueryRows(context, queries)) {
    rows.out.push_back(wide(row.out));
    rows.dq.push_back(wide(row.dq));
  }
  for (const auto& row : oracle.KeyRows(context, keys)) {
    rows.dk.push_back(wide(row.dk));
    rows.dv.push_back(wide(row.dv));
  }
  if (!head.shared) return rows;
  const auto as_queries = oracle.QueryRows(context, keys);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    for (std::size_t d = 0; d < rows.dk[i].size(); ++d) {
      rows.dk[i][d] += static_cast<double>(as_queries[i].dq[d]);
    }
  }
  return rows;
}

}  // namespace

OracleRows ComputeRows(Context& context, const HeadTensors& head, const AttentionRelation& relation,
                       Arithmetic arithmetic, const std::vector<idx_t>& queries,
                       const std::vector<idx_t>& keys) {
  if (arithmetic == Arithmetic::kDouble) {
    return RowsIn<double>(context, head, relation, false, queries, keys);
  }
  return RowsIn<float>(context, head, relation, arithmetic == Arithmetic::kBf16, queries, keys);
}

}  // namespace longspan::catalogue
