#include "cli/attention_problem.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "base/rng.h"
#include "io/escape.h"
#include "ops/chunked_attention/chunked_attention_ref.h"
#include "ops/lsh_attention/lsh_attention_ref.h"

namespace longspan::cli {
namespace {

constexpr idx_t kRowsChecked = 64;
// The row's own rounding is near 1e-6 of it; a gradient that many terms cancel in loses some more.
constexpr double kLargestError = 1e-4;
// A gradient that is rounding only: its row of about 1e-8 has nothing to compare.
constexpr double kSmallestNorm = 1e-6;

std::vector<idx_t> UpTo(idx_t n) {
  std::vector<idx_t> all(static_cast<std::size_t>(n));
  std::iota(all.begin(), all.end(), idx_t{0});
  return all;
}

// ---- who sees whom ------------------------------------------------------------------------------

class FullRelation final : public AttentionRelation {
 public:
  FullRelation(idx_t tokens, bool causal) : tokens_(tokens), causal_(causal) {}
  std::vector<idx_t> Keys(idx_t query) const override {
    return UpTo(causal_ ? query + 1 : tokens_);
  }
  std::vector<idx_t> Queries(idx_t key) const override {
    std::vector<idx_t> all = UpTo(tokens_);
    if (causal_) all.erase(all.begin(), all.begin() + key);
    return all;
  }
  idx_t Times(idx_t query, idx_t key) const override { return causal_ && key > query ? 0 : 1; }

 private:
  idx_t tokens_;
  bool causal_;
};

// Queries of all chunks whose window may hold chunk c of a circle of n.
std::vector<idx_t> ChunksThatMaySee(idx_t c, idx_t before, idx_t after, idx_t n) {
  std::vector<idx_t> chunks;
  for (idx_t off = -after; off <= before; ++off) {
    chunks.push_back(((c + off) % n + n) % n);
  }
  std::sort(chunks.begin(), chunks.end());
  chunks.erase(std::unique(chunks.begin(), chunks.end()), chunks.end());
  return chunks;
}

class ChunkedRelation final : public AttentionRelation {
 public:
  ChunkedRelation(ChunkedSpec spec, idx_t tokens) : spec_(spec), shape_{1, 1, tokens, 1} {}
  std::vector<idx_t> Keys(idx_t query) const override {
    std::vector<idx_t> keys;
    for (const auto& entry : ref::ChunkedWindow(spec_, shape_, {}, 0, query)) {
      if (entry.visible) keys.push_back(entry.key);
    }
    return keys;
  }
  std::vector<idx_t> Queries(idx_t key) const override {
    const idx_t T = shape_.T;
    if (T <= spec_.chunk) return UpTo(T);
    const idx_t n = (T + spec_.chunk - 1) / spec_.chunk;
    std::vector<idx_t> queries;
    for (const idx_t c : ChunksThatMaySee(key / spec_.chunk, spec_.before, spec_.after, n)) {
      for (idx_t t = c * spec_.chunk; t < std::min(T, (c + 1) * spec_.chunk); ++t) {
        queries.push_back(t);
      }
    }
    return queries;
  }

 private:
  ChunkedSpec spec_;
  ref::ChunkedShape shape_;
};

class LshRelation final : public AttentionRelation {
 public:
  // buckets (R, T) of the head.
  LshRelation(LshSpec spec, idx_t tokens, const std::uint16_t* buckets)
      : spec_(std::move(spec)), shape_{1, 1, tokens, 1} {
    const idx_t R = ref::LshRounds(spec_, tokens);
    order_.resize(static_cast<std::size_t>(R * tokens));
    if (spec_.Hashes(tokens)) {
      LshSort({buckets, {R, tokens}}, spec_.BucketCount() + 1, {order_.data(), {R, tokens}});
    } else {
      std::iota(order_.begin(), order_.end(), 0);
    }
    place_.resize(order_.size());
    for (idx_t i = 0; i < R * tokens; ++i) {
      const idx_t token = order_[static_cast<std::size_t>(i)];
      place_[static_cast<std::size_t>(i / tokens * tokens + token)] = i % tokens;
    }
  }
  std::vector<idx_t> Keys(idx_t query) const override {
    std::vector<idx_t> keys;
    for (idx_t r = 0; r < ref::LshRounds(spec_, shape_.T); ++r) {
      for (const auto& entry :
           ref::LshWindow(spec_, shape_, order_.data(), {}, 0, r, Place(r, query))) {
        if (entry.visible || entry.itself) keys.push_back(entry.key);
      }
    }
    return keys;
  }
  std::vector<idx_t> Queries(idx_t key) const override {
    const idx_t T = shape_.T;
    if (!spec_.Hashes(T)) return UpTo(T);
    const idx_t n = (T + spec_.chunk - 1) / spec_.chunk;
    std::vector<idx_t> queries;
    for (idx_t r = 0; r < spec_.rounds; ++r) {
      const idx_t own = r * n + Place(r, key) / spec_.chunk;
      for (const idx_t c : ChunksThatMaySee(own, spec_.before, spec_.after, n * spec_.rounds)) {
        for (idx_t i = c % n * spec_.chunk; i < std::min(T, (c % n + 1) * spec_.chunk); ++i) {
          queries.push_back(order_[static_cast<std::size_t>(c / n * T + i)]);
        }
      }
    }
    std::sort(queries.begin(), queries.end());
    queries.erase(std::unique(queries.begin(), queries.end()), queries.end());
    return queries;
  }

 private:
  idx_t Place(idx_t round, idx_t token) const {
    return place_[static_cast<std::size_t>(round * shape_.T + token)];
  }
  LshSpec spec_;
  ref::LshShape shape_;
  std::vector<std::int32_t> order_;  // (R, T): the i-th token of the sorted round
  std::vector<idx_t> place_;         // (R, T): its inverse
};

// ---- the tensors --------------------------------------------------------------------------------

using Values = std::vector<float>;

// What all kinds have: (B, H, T, D) tensors, and the comparison of rows.
class ProblemBase : public AttentionProblem {
 public:
  explicit ProblemBase(const AttentionProblemOptions& o)
      : options_(o), shape_{o.batch, o.heads, o.tokens, o.head_size} {}

  void ZeroGradients() override {
    for (Values* gradient : {&dq_, &dk_, &dv_}) std::fill(gradient->begin(), gradient->end(), 0.0f);
  }
  double CheckRows(Context& context, bool backward) override;

 protected:
  virtual HeadTensors Head(idx_t head) const = 0;
  virtual std::unique_ptr<AttentionRelation> Relation(idx_t head) const = 0;
  // Heads whose key rows are checked. Each costs the softmax of all queries that see them.
  virtual idx_t KeyHeads() const { return heads(); }

  idx_t heads() const { return options_.batch * options_.heads; }
  double Rows() const { return static_cast<double>(heads() * options_.tokens); }
  Values Drawn(std::uint64_t seed) const {
    Values values(Size());
    FillNormal(seed, 1.0f, values.data(), static_cast<idx_t>(values.size()));
    return values;
  }
  std::size_t Size() const {
    return static_cast<std::size_t>(heads() * options_.tokens * options_.head_size);
  }
  View<const float, 4> In(const Values& values) const { return {values.data(), shape_}; }
  View<float, 4> Out(Values& values) const { return {values.data(), shape_}; }
  View<float, 3> PerRow(Values& values) const {
    return {values.data(), {shape_[0], shape_[1], shape_[2]}};
  }
  const float* HeadOf(const Values& values, idx_t head) const {
    return values.data() + head * options_.tokens * options_.head_size;
  }

  AttentionProblemOptions options_;
  std::array<idx_t, 4> shape_;
  // The shared form has dqk in dq_ and no dk_.
  Values v_ = Drawn(3), dout_ = Drawn(4), out_ = Values(Size()), dq_ = Values(Size()), dk_,
         dv_ = Values(Size());

 private:
  // Adds the error of one row to `worst`.
  void Compare(const char* what, idx_t head, idx_t token, const Values& actual,
               const std::vector<double>& expected, double* worst) const;
};

void ProblemBase::Compare(const char* what, idx_t head, idx_t token, const Values& actual,
                          const std::vector<double>& expected, double* worst) const {
  const float* row = HeadOf(actual, head) + token * options_.head_size;
  double difference = 0.0, norm = 0.0;
  for (std::size_t d = 0; d < expected.size(); ++d) {
    const double e = static_cast<double>(row[d]) - expected[d];
    difference += e * e;
    norm += expected[d] * expected[d];
  }
  const double error = std::sqrt(difference) / std::max(std::sqrt(norm), kSmallestNorm);
  Check(error <= kLargestError, ErrorCode::kNumeric,  // false for NaN too
        "bench: {} of head {}, token {} differs from the computation in double by {:.2e} of it",
        what, head, token, error);
  *worst = std::max(*worst, error);
}

double ProblemBase::CheckRows(Context& context, bool backward) {
  ZeroGradients();
  Forward(context);
  if (backward) Backward(context);
  std::vector<std::vector<idx_t>> queries(static_cast<std::size_t>(heads())), keys = queries;
  Rng rng(7);
  const auto draw = [&](idx_t of_heads, std::vector<std::vector<idx_t>>& rows) {
    for (idx_t i = 0; i < kRowsChecked; ++i) {
      auto& list = rows[static_cast<std::size_t>(rng.Below(of_heads))];
      list.push_back(rng.Below(options_.tokens));
    }
  };
  draw(heads(), queries);
  if (backward) draw(KeyHeads(), keys);
  double worst = 0.0;
  for (idx_t head = 0; head < heads(); ++head) {
    const auto& as_query = queries[static_cast<std::size_t>(head)];
    const auto& as_key = keys[static_cast<std::size_t>(head)];
    if (as_query.empty() && as_key.empty()) continue;
    const std::unique_ptr<AttentionRelation> relation = Relation(head);
    const HeadTensors tensors = Head(head);
    const HeadOracle oracle(tensors, *relation);
    const auto query_rows = oracle.QueryRows(context, as_query);
    for (std::size_t i = 0; i < as_query.size(); ++i) {
      Compare("out", head, as_query[i], out_, query_rows[i].out, &worst);
      if (!backward || tensors.shared) continue;
      Compare("dq", head, as_query[i], dq_, query_rows[i].dq, &worst);
    }
    const auto key_rows = oracle.KeyRows(context, as_key);
    const auto both = tensors.shared ? oracle.QueryRows(context, as_key)
                                     : std::vector<HeadOracle::Row>(as_key.size());
    for (std::size_t i = 0; i < as_key.size(); ++i) {
      Compare("dv", head, as_key[i], dv_, key_rows[i].dv, &worst);
      std::vector<double> dk = key_rows[i].dk;
      for (std::size_t d = 0; d < both[i].dq.size(); ++d) dk[d] += both[i].dq[d];
      Compare(tensors.shared ? "dqk" : "dk", head, as_key[i], tensors.shared ? dq_ : dk_, dk,
              &worst);
    }
  }
  return worst;
}

// Queries and keys of their own.
class SeparateProblem : public ProblemBase {
 public:
  explicit SeparateProblem(const AttentionProblemOptions& o) : ProblemBase(o) {
    dk_.resize(Size());
    lse_.resize(static_cast<std::size_t>(heads() * o.tokens));
  }

 protected:
  Qkv Inputs() const { return {In(q_), In(k_), In(v_)}; }
  AttentionSaved Saved() { return {Out(out_), PerRow(lse_)}; }
  DQkv Gradients() { return {Out(dq_), Out(dk_), Out(dv_)}; }
  HeadTensors Head(idx_t head) const override {
    HeadTensors tensors{HeadOf(q_, head),    HeadOf(k_, head), HeadOf(v_, head),
                        HeadOf(dout_, head), options_.tokens,  options_.head_size};
    tensors.scale = 1.0f / std::sqrt(static_cast<float>(options_.head_size));
    return tensors;
  }
  Values q_ = Drawn(1), k_ = Drawn(2), lse_;
};

class FullProblem final : public SeparateProblem {
 public:
  explicit FullProblem(const AttentionProblemOptions& o) : SeparateProblem(o) {
    spec_.causal = o.causal;
  }
  void Forward(Context& context) override { FullForward(context, spec_, Inputs(), {}, Saved()); }
  void Backward(Context& context) override {
    FullBackward(context, spec_, Inputs(), {}, Saved(), In(dout_), Gradients());
  }
  double Pairs() const override {
    const auto n = static_cast<double>(options_.tokens);
    return static_cast<double>(heads()) * (options_.causal ? n * (n + 1.0) / 2.0 : n * n);
  }

 protected:
  std::unique_ptr<AttentionRelation> Relation(idx_t) const override {
    return std::make_unique<FullRelation>(options_.tokens, options_.causal);
  }
  idx_t KeyHeads() const override { return 1; }

 private:
  FullSpec spec_;
};

class ChunkedProblem final : public SeparateProblem {
 public:
  explicit ChunkedProblem(const AttentionProblemOptions& o) : SeparateProblem(o) {
    spec_.chunk = o.chunk;
    spec_.before = o.before;
    spec_.after = o.after;
    spec_.causal = o.causal;
  }
  void Forward(Context& context) override { ChunkedForward(context, spec_, Inputs(), {}, Saved()); }
  void Backward(Context& context) override {
    ChunkedBackward(context, spec_, Inputs(), {}, Saved(), In(dout_), Gradients());
  }
  double Pairs() const override {
    const idx_t slots = spec_.chunk * (1 + spec_.before + spec_.after);
    return Rows() * static_cast<double>(options_.tokens > spec_.chunk ? slots : options_.tokens);
  }

 protected:
  std::unique_ptr<AttentionRelation> Relation(idx_t) const override {
    return std::make_unique<ChunkedRelation>(spec_, options_.tokens);
  }

 private:
  ChunkedSpec spec_;
};

// Hash, sort and attention; the hash counts as no work.
class LshProblem final : public ProblemBase {
 public:
  explicit LshProblem(const AttentionProblemOptions& o) : ProblemBase(o) {
    spec_.chunk = o.chunk;
    spec_.before = o.before;
    spec_.after = o.after;
    spec_.rounds = o.rounds;
    spec_.causal = o.causal;
    spec_.buckets = o.buckets > 0 ? std::vector<idx_t>{o.buckets}
                                  : LshBucketFactors(o.tokens, o.chunk, o.tokens);
    max_.resize(static_cast<std::size_t>(heads() * o.tokens));
    sum_.resize(max_.size());
    buckets_.resize(max_.size() * static_cast<std::size_t>(o.rounds));
    rotations_.resize(
        static_cast<std::size_t>(o.heads * o.head_size * o.rounds * spec_.RotationColumns()));
    FillNormal(9, 1.0f, rotations_.data(), static_cast<idx_t>(rotations_.size()));
  }
  void Forward(Context& context) override {
    if (spec_.Hashes(options_.tokens)) {
      LshHash(context, spec_, In(qk_), {},
              {rotations_.data(),
               {options_.heads, options_.head_size, spec_.rounds, spec_.RotationColumns()}},
              Buckets());
    }
    LshForward(context, spec_, Inputs(), {}, View<const std::uint16_t, 4>(Buckets()), Saved());
  }
  void Backward(Context& context) override {
    LshBackward(context, spec_, Inputs(), {}, View<const std::uint16_t, 4>(Buckets()), Saved(),
                In(dout_), {Out(dq_), Out(dv_)});
  }
  double Pairs() const override {
    const idx_t slots = spec_.rounds * spec_.WindowSlots();
    return Rows() * static_cast<double>(spec_.Hashes(options_.tokens) ? slots : options_.tokens);
  }

 protected:
  HeadTensors Head(idx_t head) const override {
    HeadTensors tensors{HeadOf(qk_, head),   nullptr,         HeadOf(v_, head),
                        HeadOf(dout_, head), options_.tokens, options_.head_size};
    tensors.shared = true;
    return tensors;
  }
  std::unique_ptr<AttentionRelation> Relation(idx_t head) const override {
    return std::make_unique<LshRelation>(spec_, options_.tokens,
                                         buckets_.data() + head * spec_.rounds * options_.tokens);
  }

 private:
  SharedQkv Inputs() const { return {In(qk_), In(v_)}; }
  SharedSaved Saved() { return {Out(out_), PerRow(max_), PerRow(sum_)}; }
  LshBuckets Buckets() {
    return {buckets_.data(), {shape_[0], shape_[1], spec_.rounds, shape_[2]}};
  }
  LshSpec spec_;
  Values qk_ = Drawn(1), max_, sum_, rotations_;
  std::vector<std::uint16_t> buckets_;
};

template <class Problem>
std::unique_ptr<AttentionProblem> Make(const AttentionProblemOptions& options) {
  return std::make_unique<Problem>(options);
}

struct ProblemKind {
  std::string_view name;
  std::unique_ptr<AttentionProblem> (*make)(const AttentionProblemOptions& options);
};
constexpr ProblemKind kKinds[] = {
    {"full", Make<FullProblem>}, {"chunked", Make<ChunkedProblem>}, {"lsh", Make<LshProblem>}};

}  // namespace

std::unique_ptr<AttentionProblem> MakeAttentionProblem(const AttentionProblemOptions& options) {
  for (const auto& [what, value] : {std::pair{"batch", options.batch},
                                    {"tokens", options.tokens},
                                    {"heads", options.heads},
                                    {"head-dim", options.head_size},
                                    {"chunk", options.chunk},
                                    {"rounds", options.rounds}}) {
    Check(value >= 1, ErrorCode::kUsage, "bench: --{} {}, need at least 1", what, value);
  }
  for (const ProblemKind& kind : kKinds) {
    if (kind.name == options.kind) return kind.make(options);
  }
  std::string names;
  for (const ProblemKind& kind : kKinds) {
    names += (names.empty() ? "" : ", ") + std::string(kind.name);
  }
  Fail(ErrorCode::kUsage, "bench: --kind '{}' is unknown; use one of {}", io::Escape(options.kind),
       names);
}

}  // namespace longspan::cli
