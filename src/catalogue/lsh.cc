// LSH attention's row.

#include "catalogue/lsh.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/errors.h"
#include "catalogue/problem_base.h"
#include "ops/lsh_attention/lsh_attention_ref.h"

namespace longspan::catalogue {
namespace {

// ---- who sees whom ------------------------------------------------------------------------------

class LshRelation final : public AttentionRelation {
 public:
  // buckets (R, T) of the head.
  LshRelation(LshSpec spec, idx_t tokens, const std::uint16_t* buckets)
      : spec_(std::move(spec)), shape_{1, 1, tokens, 1} {
    const idx_t R = rounds();
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
  idx_t rounds() const { return ref::LshRounds(spec_, shape_.T); }
  std::vector<idx_t> KeysOfRound(idx_t round, idx_t query) const {
    std::vector<idx_t> keys;
    for (const auto& entry :
         ref::LshWindow(spec_, shape_, order_.data(), {}, 0, round, Place(round, query))) {
      if (entry.visible || entry.itself) keys.push_back(entry.key);
    }
    return keys;
  }
  std::vector<idx_t> Keys(idx_t query) const override {
    std::vector<idx_t> keys;
    for (idx_t r = 0; r < rounds(); ++r) {
      const std::vector<idx_t> more = KeysOfRound(r, query);
      keys.insert(keys.end(), more.begin(), more.end());
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

// ---- the problem --------------------------------------------------------------------------------

LshSpec LshSpecOf(const MechanismSpec& spec, idx_t tokens) {
  LshSpec lsh;
  lsh.chunk = spec.chunk;
  lsh.before = spec.before;
  lsh.after = spec.after;
  lsh.rounds = spec.rounds;
  lsh.causal = spec.causal;
  lsh.dropout = spec.dropout;
  lsh.buckets = spec.buckets > 0 ? std::vector<idx_t>{spec.buckets}
                                 : LshBucketFactors(tokens, spec.chunk, tokens);
  return lsh;
}

// Every key of a window counts. The hash counts as no work.
double LshPairs(const MechanismSpec& spec, idx_t tokens) {
  const idx_t slots = spec.rounds * spec.chunk * (1 + spec.before + spec.after);
  return static_cast<double>(tokens) * static_cast<double>(tokens > spec.chunk ? slots : tokens);
}

// Hash, sort and attention.
class LshProblem final : public ProblemBase {
 public:
  LshProblem(const Mechanism& mechanism, const ProblemOptions& o)
      : ProblemBase(mechanism, o), spec_(LshSpecOf(o.spec, o.tokens)) {
    max_.resize(static_cast<std::size_t>(heads() * o.tokens));
    sum_.resize(max_.size());
    buckets_.resize(max_.size() * static_cast<std::size_t>(spec_.rounds));
    rotations_ = Normal(9, 1.0f, o.heads * o.head_size * spec_.rounds * spec_.RotationColumns());
    if (!o.bf16) return;
    bf16_qk_ = RoundValues(&qk_);
    bf16_v_ = RoundValues(&v_);
    bf16_dout_ = RoundValues(&dout_);
    bf16_out_.resize(Size());
  }
  void Forward(Context& context) override {
    const LshRotations rotations(rotations_.data(), {options_.heads, options_.head_size,
                                                     spec_.rounds, spec_.RotationColumns()});
    WithTensors([&](const auto& inputs, const auto& saved, const auto&) {
      if (spec_.Hashes(options_.tokens)) {
        LshHash(context, spec_, inputs.qk, {}, rotations, Buckets());
      }
      LshForward(context, spec_, inputs, {}, View<const std::uint16_t, 4>(Buckets()), saved);
    });
  }
  void Backward(Context& context) override {
    WithTensors([&](const auto& inputs, const auto& saved, const auto& dout) {
      LshBackward(context, spec_, inputs, {}, View<const std::uint16_t, 4>(Buckets()), saved, dout,
                  {Out(dq_), Out(dv_)});
    });
  }
  std::vector<NamedTensor> Tensors() const override {
    auto tensors = ProblemBase::Tensors();
    tensors.push_back(Entry("qk", qk_));
    tensors.push_back(Entry("dqk", dq_));
    if (!spec_.Hashes(options_.tokens)) return tensors;
    wide_buckets_.assign(buckets_.begin(), buckets_.end());
    tensors.push_back({"rotations",
                       DType::kF32,
                       {options_.heads, options_.head_size, spec_.rounds, spec_.RotationColumns()},
                       rotations_.data()});
    tensors.push_back({"buckets",
                       DType::kI32,
                       {shape_[0], shape_[1], spec_.rounds, shape_[2]},
                       wide_buckets_.data()});
    return tensors;
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
  // Calls run(inputs, saved, dout) with tensors of one element type.
  template <class Run>
  void WithTensors(const Run& run) {
    if (!options_.bf16) {
      run(SharedQkv{In(qk_), In(v_)}, SharedSaved{Out(out_), PerRow(max_), PerRow(sum_)},
          In(dout_));
      return;
    }
    run(Bf16SharedQkv{In(bf16_qk_), In(bf16_v_)},
        Bf16SharedSaved{{bf16_out_.data(), shape_}, PerRow(max_), PerRow(sum_)}, In(bf16_dout_));
  }
  LshBuckets Buckets() {
    return {buckets_.data(), {shape_[0], shape_[1], spec_.rounds, shape_[2]}};
  }
  LshSpec spec_;
  Values qk_ = Drawn(1), max_, sum_, rotations_;
  std::vector<std::uint16_t> buckets_;
  mutable std::vector<std::int32_t> wide_buckets_;  // for Tensors
  Bf16Values bf16_qk_, bf16_v_, bf16_dout_;
};

std::unique_ptr<AttentionProblem> MakeLshProblem(const Mechanism& mechanism,
                                                 const ProblemOptions& options) {
  return std::make_unique<LshProblem>(mechanism, options);
}

// ---- the picture --------------------------------------------------------------------------------

constexpr idx_t kMostPatternRounds = 16, kMostPatternBuckets = 256;

void CheckLshPattern(const PatternOptions& options) {
  Check(options.rounds >= 1 && options.rounds <= kMostPatternRounds, ErrorCode::kUsage,
        "pattern: {} rounds, can draw from 1 to {}", options.rounds, kMostPatternRounds);
  Check(options.buckets >= 2 && options.buckets <= kMostPatternBuckets && options.buckets % 2 == 0,
        ErrorCode::kUsage, "pattern: {} buckets, need an even number from 2 to {}", options.buckets,
        kMostPatternBuckets);
  Check(options.tokens > options.chunk, ErrorCode::kUsage,
        "pattern: {} tokens fit one chunk of {}, nothing is hashed; use more tokens or a smaller "
        "chunk",
        options.tokens, options.chunk);
}

// Tokens that point in about as many directions as there are buckets, (tokens, tokens): the hash
// has something to find.
std::vector<float> HashedTokens(const PatternOptions& options) {
  constexpr idx_t kDimensions = 16;
  const auto tokens = static_cast<std::size_t>(options.tokens);
  const idx_t used = std::min(options.tokens, kDimensions);
  std::vector<float> directions(static_cast<std::size_t>(options.buckets * used));
  FillNormal(DeriveKey(options.seed, 1), 1.0f, directions.data(),
             static_cast<idx_t>(directions.size()));
  Rng rng(DeriveKey(options.seed, 2));
  std::vector<float> x(tokens * tokens);
  std::vector<float> noise(static_cast<std::size_t>(used));
  for (std::size_t t = 0; t < tokens; ++t) {
    const auto direction = static_cast<std::size_t>(rng.Below(options.buckets) * used);
    FillNormal(DeriveKey(options.seed, 3 + t), 0.3f, noise.data(), used);
    for (std::size_t d = 0; d < noise.size(); ++d) {
      x[t * tokens + d] = directions[direction + d] + noise[d];
    }
  }
  return x;
}

std::vector<int> CountMeetings(const LshSpec& spec, idx_t tokens, const std::uint16_t* buckets) {
  const LshRelation relation(spec, tokens, buckets);
  std::vector<int> meetings(static_cast<std::size_t>(tokens * tokens));
  for (idx_t r = 0; r < relation.rounds(); ++r) {
    for (idx_t query = 0; query < tokens; ++query) {
      std::vector<idx_t> keys = relation.KeysOfRound(r, query);
      std::sort(keys.begin(), keys.end());
      keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
      for (const idx_t key : keys) ++meetings[static_cast<std::size_t>(query * tokens + key)];
    }
  }
  return meetings;
}

}  // namespace

LshPattern LshWeights(Context& context, const PatternOptions& options) {
  PatternProblem problem(options);
  CheckLshPattern(options);
  const LshSpec spec = LshSpecOf(PatternSpec(options), options.tokens);
  const idx_t T = options.tokens, R = options.rounds, columns = spec.RotationColumns();
  const std::vector<float> x = HashedTokens(options);
  const View<const float, 4> qk(x.data(), problem.shape);
  std::vector<float> rotations(static_cast<std::size_t>(T * R * columns));
  FillNormal(DeriveKey(options.seed, 0), 1.0f, rotations.data(),
             static_cast<idx_t>(rotations.size()));
  LshPattern pattern;
  pattern.buckets.resize(static_cast<std::size_t>(R * T));
  pattern.order.resize(pattern.buckets.size());
  const LshBuckets buckets(pattern.buckets.data(), {1, 1, R, T});
  LshHash(context, spec, qk, problem.Mask(), {rotations.data(), {1, T, R, columns}}, buckets);
  LshSort({pattern.buckets.data(), {R, T}}, spec.BucketCount() + 1, {pattern.order.data(), {R, T}});
  LshForward(context, spec, {qk, problem.Values()}, problem.Mask(),
             View<const std::uint16_t, 4>(buckets),
             {problem.Out(), problem.Row(problem.max), problem.Row(problem.sum)});
  pattern.weights = problem.out;
  pattern.meetings = CountMeetings(spec, T, pattern.buckets.data());
  return pattern;
}

const Mechanism& LshMechanism() {
  static const Mechanism kRow = [] {
    Mechanism row;
    row.name = "lsh";
    row.summary = "Reformer's LSH attention: tokens meet in buckets, sorted and cut into chunks";
    row.options = {"--chunk", "--before", "--after", "--rounds", "--buckets"};
    row.picture_options = {"--seed"};
    row.pairs = LshPairs;
    row.bf16 = true;
    row.problem = MakeLshProblem;
    row.weights = [](Context& context, const Mechanism&, const PatternOptions& options) {
      return LshWeights(context, options).weights;
    };
    return row;
  }();
  return kRow;
}

}  // namespace longspan::catalogue
