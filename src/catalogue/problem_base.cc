#include "catalogue/problem_base.h"

#include <cmath>

#include "base/memory_limit.h"

namespace longspan::catalogue {
namespace {

// The row's own rounding is near 1e-6 of it; a gradient that many terms cancel in loses some more.
constexpr double kLargestError = 1e-4;
// bf16 rounds by up to 2^-9 each: inputs of products, weights, the output.
constexpr double kLargestBf16Error = 2e-2;
// A gradient that is rounding only: its row of about 1e-8 has nothing to compare.
constexpr double kSmallestNorm = 1e-6;

}  // namespace

std::uint64_t ProblemBytes(const ProblemOptions& options) {
  // Eight fp32 tensors, inputs, outputs and gradients; in bf16 five more.
  const idx_t bytes = options.bf16 ? 8 * 4 + 5 * 2 : 8 * 4;
  return SaturatingProduct(
      {options.batch, options.heads, options.tokens, options.head_size, bytes});
}

double RelativeError(const ComparedRow& row) {
  double difference = 0.0, norm = 0.0;
  for (std::size_t d = 0; d < row.expected.size(); ++d) {
    const double e = static_cast<double>(row.actual[d]) - row.expected[d];
    difference += e * e;
    norm += row.expected[d] * row.expected[d];
  }
  const double unit = norm == 0.0 ? 1.0 : std::max(std::sqrt(norm), kSmallestNorm);
  return std::sqrt(difference) / unit;
}

double LargestRowError(bool bf16) { return bf16 ? kLargestBf16Error : kLargestError; }

Bf16Values RoundValues(Values* values) {
  Bf16Values rounded(values->size());
  for (std::size_t i = 0; i < rounded.size(); ++i) {
    rounded[i] = ToBfloat16((*values)[i]);
    (*values)[i] = ToFloat(rounded[i]);
  }
  return rounded;
}

// ---- all problems -------------------------------------------------------------------------------

struct ProblemBase::Lists {
  std::vector<std::vector<idx_t>> queries, keys;
};

ProblemBase::Lists ProblemBase::TokensToCompare(const RowsToCompare& which) const {
  Lists lists;
  lists.queries.resize(static_cast<std::size_t>(heads()));
  lists.keys = lists.queries;
  const idx_t first = FirstQuery(), tokens = options_.tokens;
  if (which.all) {
    for (auto& list : lists.queries) {
      for (idx_t t = first; t < tokens; ++t) list.push_back(t);
    }
    for (auto& list : lists.keys) {
      if (which.backward) list = UpTo(tokens);
    }
    return lists;
  }
  Rng rng(7);
  const auto draw = [&](idx_t of_heads, idx_t from, std::vector<std::vector<idx_t>>& rows) {
    for (idx_t i = 0; i < kRowsCompared && from < tokens; ++i) {
      auto& list = rows[static_cast<std::size_t>(rng.Below(of_heads))];
      list.push_back(from + rng.Below(tokens - from));
    }
  };
  draw(heads(), first, lists.queries);
  if (which.backward) draw(KeyHeads(), 0, lists.keys);
  return lists;
}

void ProblemBase::CompareRows(Context& context, const RowsToCompare& which,
                              const std::function<void(const ComparedRow&)>& take) {
  ZeroGradients();
  Forward(context);
  if (which.backward) Backward(context);
  CollectOutput();
  const Lists lists = TokensToCompare(which);
  for (idx_t head = 0; head < heads(); ++head) {
    const auto& queries = lists.queries[static_cast<std::size_t>(head)];
    const auto& keys = lists.keys[static_cast<std::size_t>(head)];
    if (queries.empty() && keys.empty()) continue;
    const std::unique_ptr<AttentionRelation> relation = Relation(head);
    const HeadTensors tensors = Head(head);
    const auto rows = [&](Arithmetic arithmetic) {
      return ComputeRows(context, tensors, *relation, arithmetic, queries, keys);
    };
    const OracleRows oracle = rows(Arithmetic::kDouble);
    const OracleRows naive = which.naive ? rows(NaiveArithmetic()) : OracleRows{};
    const auto compare = [&](const char* what, idx_t token, const Values& actual,
                             std::vector<std::vector<double>> OracleRows::*part, std::size_t i) {
      take({what, head, token, RowOf(actual, head, token), (oracle.*part)[i],
            which.naive ? (naive.*part)[i] : std::vector<double>()});
    };
    for (std::size_t i = 0; i < queries.size(); ++i) {
      compare("out", queries[i], out_, &OracleRows::out, i);
      if (!which.backward || tensors.shared) continue;
      compare("dq", queries[i], dq_, &OracleRows::dq, i);
    }
    for (std::size_t i = 0; i < keys.size(); ++i) {
      compare("dv", keys[i], dv_, &OracleRows::dv, i);
      compare(tensors.shared ? "dqk" : "dk", keys[i], tensors.shared ? dq_ : dk_, &OracleRows::dk,
              i);
    }
  }
}

std::vector<float> ProblemBase::Results() {
  CollectOutput();
  std::vector<float> results;
  for (const Values* values : {&out_, &dq_, &dk_, &dv_}) {
    results.insert(results.end(), values->begin(), values->end());
  }
  return results;
}

// ---- separate queries and keys ------------------------------------------------------------------

SeparateProblem::SeparateProblem(const Mechanism& mechanism, const ProblemOptions& o)
    : ProblemBase(mechanism, o) {
  dk_.resize(Size());
  lse_.resize(static_cast<std::size_t>(heads() * o.tokens));
  if (!o.bf16) return;
  bf16_q_ = RoundValues(&q_);
  bf16_k_ = RoundValues(&k_);
  bf16_v_ = RoundValues(&v_);
  bf16_dout_ = RoundValues(&dout_);
  bf16_out_.resize(Size());
}

std::vector<NamedTensor> SeparateProblem::Tensors() const {
  auto tensors = ProblemBase::Tensors();
  for (const auto& [name, values] :
       {std::pair<const char*, const Values&>{"q", q_}, {"k", k_}, {"dq", dq_}, {"dk", dk_}}) {
    tensors.push_back(Entry(name, values));
  }
  return tensors;
}

HeadTensors SeparateProblem::Head(idx_t head) const {
  HeadTensors tensors{HeadOf(q_, head),    HeadOf(k_, head), HeadOf(v_, head),
                      HeadOf(dout_, head), options_.tokens,  options_.head_size};
  const float root = std::sqrt(static_cast<float>(options_.head_size));
  tensors.scale = mechanism_.scale.value_or(1.0f / root);
  return tensors;
}

std::unique_ptr<AttentionProblem> MakeSeparateProblem(const Mechanism& mechanism,
                                                      const ProblemOptions& options) {
  return std::make_unique<SeparateProblem>(mechanism, options);
}

}  // namespace longspan::catalogue
