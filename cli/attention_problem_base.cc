#include "cli/attention_problem_base.h"

#include <algorithm>

#include "base/errors.h"

namespace longspan::cli {
namespace {

// The row's own rounding is near 1e-6 of it; a gradient that many terms cancel in loses some more.
constexpr double kLargestError = 1e-4;
// bf16 rounds by up to 2^-9 each: inputs of products, weights, the output.
constexpr double kLargestBf16Error = 2e-2;
// A gradient that is rounding only: its row of about 1e-8 has nothing to compare.
constexpr double kSmallestNorm = 1e-6;

}  // namespace

double ProblemBase::RowError(const char* what, idx_t head, idx_t token, const float* row,
                             const std::vector<double>& expected) const {
  double difference = 0.0, norm = 0.0;
  for (std::size_t d = 0; d < expected.size(); ++d) {
    const double e = static_cast<double>(row[d]) - expected[d];
    difference += e * e;
    norm += expected[d] * expected[d];
  }
  // A row that is exactly 0, dq of a query with one key, is compared as it is: inputs are near 1.
  const double unit = norm == 0.0 ? 1.0 : std::max(std::sqrt(norm), kSmallestNorm);
  const double error = std::sqrt(difference) / unit;
  Check(error <= (options_.bf16 ? kLargestBf16Error : kLargestError),
        ErrorCode::kNumeric,  // false for NaN too
        "bench: {} of head {}, token {} differs from the computation in double by {:.2e} of it",
        what, head, token, error);
  return error;
}

double ProblemBase::CheckRows(Context& context, bool backward) {
  ZeroGradients();
  Forward(context);
  if (backward) Backward(context);
  CollectOutput();
  std::vector<std::vector<idx_t>> queries(static_cast<std::size_t>(heads())), keys = queries;
  Rng rng(7);
  const auto draw = [&](idx_t of_heads, idx_t first, std::vector<std::vector<idx_t>>& rows) {
    for (idx_t i = 0; i < kRowsChecked && first < options_.tokens; ++i) {
      auto& list = rows[static_cast<std::size_t>(rng.Below(of_heads))];
      list.push_back(first + rng.Below(options_.tokens - first));
    }
  };
  draw(heads(), FirstQuery(), queries);
  if (backward) draw(KeyHeads(), 0, keys);
  double worst = 0.0;
  const auto compare = [&](const char* what, idx_t head, idx_t token, const Values& actual,
                           const std::vector<double>& expected) {
    worst = std::max(worst, RowError(what, head, token, RowOf(actual, head, token), expected));
  };
  for (idx_t head = 0; head < heads(); ++head) {
    const auto& as_query = queries[static_cast<std::size_t>(head)];
    const auto& as_key = keys[static_cast<std::size_t>(head)];
    if (as_query.empty() && as_key.empty()) continue;
    const std::unique_ptr<AttentionRelation> relation = Relation(head);
    const HeadTensors tensors = Head(head);
    const HeadOracle oracle(tensors, *relation);
    const auto query_rows = oracle.QueryRows(context, as_query);
    for (std::size_t i = 0; i < as_query.size(); ++i) {
      compare("out", head, as_query[i], out_, query_rows[i].out);
      if (!backward || tensors.shared) continue;
      compare("dq", head, as_query[i], dq_, query_rows[i].dq);
    }
    const auto key_rows = oracle.KeyRows(context, as_key);
    const auto both = tensors.shared ? oracle.QueryRows(context, as_key)
                                     : std::vector<HeadOracle::Row>(as_key.size());
    for (std::size_t i = 0; i < as_key.size(); ++i) {
      compare("dv", head, as_key[i], dv_, key_rows[i].dv);
      std::vector<double> dk = key_rows[i].dk;
      for (std::size_t d = 0; d < both[i].dq.size(); ++d) dk[d] += both[i].dq[d];
      compare(tensors.shared ? "dqk" : "dk", head, as_key[i], tensors.shared ? dq_ : dk_, dk);
    }
  }
  return worst;
}

}  // namespace longspan::cli
