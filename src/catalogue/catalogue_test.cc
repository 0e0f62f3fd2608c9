// What holds for every mechanism of the table: each row against the definition, in fp32 and bf16,
// at all tails; the same bits for any number of threads; hidden keys are not seen.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/isa.h"
#include "catalogue/mechanism.h"
#include "longspan/error.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan::catalogue {
namespace {

using test::RandomNormal;
using test::Tolerance;

std::string NameOf(const testing::TestParamInfo<const Mechanism*>& info) {
  return std::string(info.param->name);
}

class EveryMechanism : public testing::TestWithParam<const Mechanism*> {
 protected:
  const Mechanism& mechanism() const { return *GetParam(); }
  std::unique_ptr<AttentionProblem> Make(const ProblemOptions& options) const {
    return mechanism().problem(mechanism(), options);
  }
};
INSTANTIATE_TEST_SUITE_P(, EveryMechanism,
                         testing::ValuesIn(Mechanisms().begin(), Mechanisms().end()), NameOf);

TEST_P(EveryMechanism, HasAWholeRow) {
  EXPECT_FALSE(mechanism().summary.empty());
  EXPECT_EQ(mechanism().name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-"),
            std::string_view::npos);
  EXPECT_EQ(FindMechanism(mechanism().name), &mechanism());
  EXPECT_GT(mechanism().pairs({}, 100), 0.0);
  EXPECT_TRUE(mechanism().Understands("--causal"));
  EXPECT_FALSE(mechanism().Understands("--no-such-option"));
  EXPECT_EQ(mechanism().separate.forward == nullptr, mechanism().separate.backward == nullptr);
  EXPECT_TRUE(mechanism().bf16 || mechanism().separate_bf16.forward == nullptr);
}

// ---- every row ----------------------------------------------------------------------------------

// All rows of one tensor, one after another. Where the definition says exactly 0, as of dq of a
// query with one key, only the largest number counts: both implementations have rounding there.
struct Rows {
  std::vector<float> actual, naive;
  std::vector<double> expected;
  float largest_zero = 0.0f;
};

std::map<std::string, Rows> AllRows(Context& context, AttentionProblem& problem) {
  std::map<std::string, Rows> tensors;
  const auto take = [&](const ComparedRow& row) {
    Rows& rows = tensors[std::string(row.what)];
    if (std::ranges::all_of(row.expected, [](double x) { return x == 0.0; })) {
      for (const float x : row.actual) rows.largest_zero = std::max(rows.largest_zero, std::abs(x));
      return;
    }
    rows.actual.insert(rows.actual.end(), row.actual.begin(), row.actual.end());
    rows.expected.insert(rows.expected.end(), row.expected.begin(), row.expected.end());
    for (const double x : row.naive) rows.naive.push_back(static_cast<float>(x));
  };
  problem.CompareRows(context, {.backward = true, .all = true, .naive = true}, take);
  return tensors;
}

// Outputs are named out, or end so.
double FactorOf(const std::string& what) { return what.ends_with("out") ? 2.0 : 3.0; }

// Gradients of a query with one or two keys may be rounding alone, and few elements say little of
// a relative error: these are compared with the size of rounding itself. Inputs are near 1.
constexpr std::size_t kFewElements = 50;
constexpr double kSaysNothing = 0.3;
constexpr double kNoise = 2e-5, kBf16Noise = 0.1;

void ExpectRows(const std::string& what, const Rows& rows, const Tolerance& tolerance, bool bf16) {
  EXPECT_LE(rows.largest_zero, bf16 ? kBf16Noise : kNoise) << what;
  if (tolerance.max_abs > 0.0 && tolerance.rel_l2 < kSaysNothing &&
      rows.expected.size() > kFewElements) {
    const auto d = test::Compare(std::span<const float>(rows.actual),
                                 std::span<const double>(rows.expected), tolerance);
    EXPECT_TRUE(d.ok) << what << ": " << d.reason;
    return;
  }
  const double noise = std::max(bf16 ? kBf16Noise : kNoise, tolerance.max_abs);
  for (std::size_t i = 0; i < rows.expected.size(); ++i) {
    ASSERT_NEAR(static_cast<double>(rows.actual[i]), rows.expected[i], noise) << what << " " << i;
  }
}

// The rule of docs/reference/numerics.md; where a problem is small, its naive error is a matter of
// luck, and the largest of a few draws counts.
void CheckCase(const Mechanism& mechanism, ProblemOptions options) {
  const idx_t size = options.batch * options.heads * options.tokens * options.head_size;
  std::map<std::string, Tolerance> tolerance;
  std::vector<std::map<std::string, Rows>> draws;
  Context context(1);
  for (int i = 0; i < (size > 2000 ? 3 : size > 500 ? 5 : 12); ++i) {
    options.seed = static_cast<std::uint64_t>(100 + i);
    draws.push_back(AllRows(context, *mechanism.problem(mechanism, options)));
    for (const auto& [what, rows] : draws.back()) {
      test::RaiseTolerance(rows.naive, rows.expected, FactorOf(what), &tolerance[what]);
    }
  }
  for (const auto& draw : draws) {
    for (const auto& [what, rows] : draw) {
      ExpectRows(what, rows, tolerance[what], options.bf16);
    }
  }
}

struct Shape {
  idx_t B, H, T, D;
};

std::vector<ProblemOptions> Cases() {
  std::vector<ProblemOptions> cases;
  for (const Shape& s :
       {Shape{1, 1, 1, 1}, Shape{1, 1, 2, 3}, Shape{2, 1, 9, 5}, Shape{1, 2, 17, 16},
        Shape{1, 1, 33, 17}, Shape{1, 2, 65, 8}, Shape{2, 2, 70, 20}, Shape{1, 1, 97, 65}}) {
    for (const bool causal : {false, true}) {
      ProblemOptions o;
      o.batch = s.B;
      o.heads = s.H;
      o.tokens = s.T;
      o.head_size = s.D;
      o.spec.causal = causal;
      o.spec.window = 5;
      o.spec.chunk = 8;
      o.spec.rounds = 2;
      o.spec.buckets = 4;
      cases.push_back(o);
      o.spec.dilation = 3;
      o.spec.globals = std::min<idx_t>(s.T, causal ? 9 : 30);
      o.spec.chunk = 7;
      o.spec.before = 2;
      o.spec.after = 1;
      cases.push_back(o);
    }
  }
  return cases;
}

std::string Describe(const ProblemOptions& o) {
  return "B " + std::to_string(o.batch) + " H " + std::to_string(o.heads) + " T " +
         std::to_string(o.tokens) + " D " + std::to_string(o.head_size) + " causal " +
         std::to_string(o.spec.causal) + " chunk " + std::to_string(o.spec.chunk) + " globals " +
         std::to_string(o.spec.globals) + " bf16 " + std::to_string(o.bf16);
}

TEST_P(EveryMechanism, EveryRowIsTheDefinitions) {
  for (ProblemOptions options : Cases()) {
    for (const bool bf16 : {false, true}) {
      if (bf16 && !mechanism().bf16) continue;
      options.bf16 = bf16;
      SCOPED_TRACE(Describe(options));
      CheckCase(mechanism(), options);
    }
  }
}

// The relation of the mechanism that is named by `right`, of which a query misses its last key.
const Mechanism* right = nullptr;

class Forgetful final : public AttentionRelation {
 public:
  Forgetful(const MechanismSpec& spec, idx_t tokens) : whole_(right->relation(spec, tokens)) {}
  std::vector<idx_t> Keys(idx_t query) const override {
    std::vector<idx_t> keys = whole_->Keys(query);
    if (keys.size() > 1) keys.pop_back();
    return keys;
  }
  std::vector<idx_t> Queries(idx_t key) const override { return whole_->Queries(key); }

 private:
  std::unique_ptr<AttentionRelation> whole_;
};

TEST_P(EveryMechanism, AMissingKeyBreaksTheToleranceTenfold) {
  if (mechanism().relation == nullptr) return;  // its tensors decide who sees whom
  ProblemOptions options;
  options.heads = 2;
  options.tokens = 70;
  options.head_size = 20;
  options.spec.chunk = 8;
  options.spec.window = 5;
  Context context(1);
  const auto rows = AllRows(context, *Make(options));
  Mechanism planted = mechanism();
  right = &mechanism();
  planted.relation = [](const MechanismSpec& spec, idx_t tokens) {
    return std::unique_ptr<AttentionRelation>(new Forgetful(spec, tokens));
  };
  const auto wrong = AllRows(context, *planted.problem(planted, options));
  for (const std::string what : {"out", "dv"}) {
    Tolerance tolerance =
        test::DerivedTolerance(rows.at(what).naive, rows.at(what).expected, FactorOf(what));
    tolerance.max_abs *= 10;
    tolerance.rel_l2 *= 10;
    const std::span<const float> actual(rows.at(what).actual);
    const std::span<const double> good(rows.at(what).expected), bad(wrong.at(what).expected);
    EXPECT_TRUE(test::Compare(actual, good, tolerance).ok) << what;
    const auto d = test::Compare(actual, bad, tolerance);
    EXPECT_FALSE(d.ok) << what << " has a planted error of " << d.rel_l2;
  }
}

// What `bench attention` does before it measures, in bf16 on the tile unit's twin too.
TEST_P(EveryMechanism, RandomRowsAreAsExactAsRoundingAllows) {
  Context context(2);
  const auto compare = [&](bool bf16) {
    ProblemOptions options;
    options.tokens = 300;
    options.heads = 3;
    options.head_size = 32;
    options.spec.globals = 3;
    options.bf16 = bf16;
    std::map<std::string, int> seen;
    Make(options)->CompareRows(context, {}, [&](const ComparedRow& row) {
      ++seen[std::string(row.what)];
      EXPECT_TRUE(row.naive.empty());
      EXPECT_LE(RelativeError(row), LargestRowError(bf16)) << row.what << " " << row.token;
    });
    EXPECT_EQ(seen["out"], 64);
    EXPECT_EQ(seen["dv"], 64);
  };
  compare(false);
  if (!mechanism().bf16) return;
  compare(true);
  const std::optional<Bf16Path> before = ForcedBf16Path();
  ForceBf16Path(Bf16Path::kTwin);
  compare(true);
  ForceBf16Path(before);
}

// ---- any number of threads ----------------------------------------------------------------------

TEST_P(EveryMechanism, SameBitsForAnyThreads) {
  for (const bool bf16 : {false, true}) {
    if (bf16 && !mechanism().bf16) continue;
    for (const bool causal : {false, true}) {
      ProblemOptions options;
      options.batch = 1;
      options.heads = 3;
      options.tokens = 700;
      options.head_size = 12;
      options.spec.causal = causal;
      options.spec.window = 50;
      options.spec.globals = causal ? 2 : 0;
      options.spec.chunk = 16;
      options.spec.rounds = 2;
      options.bf16 = bf16;
      test::ExpectSameBitsForAnyThreads([&](Context& context) {
        const auto problem = Make(options);
        problem->Forward(context);
        problem->Backward(context);
        return problem->Results();
      });
    }
  }
}

// ---- the separate form --------------------------------------------------------------------------

// q, k, v, dout and what a call writes, (1, 2, T, 12).
struct Call {
  static constexpr idx_t kTokens = 60, kSize = 2 * kTokens * 12;
  std::array<idx_t, 4> shape = {1, 2, kTokens, 12};
  std::vector<float> q = RandomNormal(1, kSize), k = RandomNormal(2, kSize),
                     v = RandomNormal(3, kSize), dout = RandomNormal(4, kSize),
                     out = std::vector<float>(kSize), lse = std::vector<float>(2 * kTokens),
                     dq = out, dk = out, dv = out;

  void Run(const Mechanism& mechanism, const MechanismSpec& spec,
           const std::vector<std::uint8_t>& exists) {
    Context context(2);
    const Qkv qkv{{q.data(), shape}, {k.data(), shape}, {v.data(), shape}};
    const AttentionSaved saved{{out.data(), shape}, {lse.data(), {1, 2, kTokens}}};
    const KeyMask mask(exists.data(), {1, kTokens});
    mechanism.separate.forward(context, spec, qkv, mask, saved);
    mechanism.separate.backward(context, spec, qkv, mask, saved, {dout.data(), shape},
                                {{dq.data(), shape}, {dk.data(), shape}, {dv.data(), shape}});
  }
};

TEST_P(EveryMechanism, HiddenKeysAreNotSeen) {
  if (mechanism().separate.forward == nullptr) return;
  std::vector<std::uint8_t> exists(Call::kTokens, 1);
  for (const std::size_t hidden : {3u, 20u, 21u, 22u, 59u}) exists[hidden] = 0;
  MechanismSpec spec;
  spec.window = 7;
  spec.chunk = 8;
  for (const bool causal : {false, true}) {
    spec.causal = causal;
    Call one, other;
    for (std::size_t i = 0; i < other.k.size(); ++i) {
      if (exists[i / 12 % Call::kTokens] != 0) continue;
      other.k[i] = 1e3f;
      other.v[i] = -1e3f;
    }
    one.Run(mechanism(), spec, exists);
    other.Run(mechanism(), spec, exists);
    // To rounding: how large a hidden key is may decide how a kernel keeps its exponentials small.
    for (const auto part : {&Call::out, &Call::dq, &Call::dk, &Call::dv}) {
      for (std::size_t i = 0; i < one.out.size(); ++i) {
        ASSERT_NEAR((other.*part)[i], (one.*part)[i], 1e-5 * (1 + std::abs((one.*part)[i])));
      }
    }
    for (std::size_t i = 0; i < one.dk.size(); ++i) {
      if (exists[i / 12 % Call::kTokens] != 0) continue;
      ASSERT_EQ(one.dk[i], 0.0f);
      ASSERT_EQ(one.dv[i], 0.0f);
    }
  }
}

TEST_P(EveryMechanism, GradientsAccumulate) {
  if (mechanism().separate.forward == nullptr) return;
  const std::vector<std::uint8_t> exists(Call::kTokens, 1);
  MechanismSpec spec;
  spec.chunk = 8;
  Call call;
  call.Run(mechanism(), spec, exists);
  const Call once = call;
  call.Run(mechanism(), spec, exists);
  for (const auto part : {&Call::dq, &Call::dk, &Call::dv}) {
    for (std::size_t i = 0; i < once.dv.size(); ++i) {
      const float value = (once.*part)[i];
      ASSERT_NEAR((call.*part)[i], 2 * value, 1e-5 * (1 + std::abs(value)));
    }
  }
}

TEST_P(EveryMechanism, ShapesThatDifferAreRefused) {
  if (mechanism().separate.forward == nullptr) return;
  const std::vector<std::uint8_t> exists(Call::kTokens, 1);
  Call call;
  call.shape[2] = Call::kTokens - 1;  // lse and the mask have more
  EXPECT_THROW(call.Run(mechanism(), {}, exists), Error);
}

// ---- pictures -----------------------------------------------------------------------------------

// The kernel's weights are not 0 where the relation has a key, and only there.
TEST_P(EveryMechanism, WeightsAreTheRelations) {
  if (mechanism().relation == nullptr) return;
  Context context(1);
  for (const idx_t tokens : {1, 7, 24, 33}) {
    for (const bool causal : {false, true}) {
      PatternOptions options;
      options.tokens = tokens;
      options.causal = causal;
      const std::vector<float> weights = mechanism().weights(context, mechanism(), options);
      const auto relation = mechanism().relation(PatternSpec(options), tokens);
      for (idx_t query = 0; query < tokens; ++query) {
        for (idx_t key = 0; key < tokens; ++key) {
          const std::vector<idx_t> keys = relation->Keys(query);
          const bool sees = std::find(keys.begin(), keys.end(), key) != keys.end();
          ASSERT_EQ(weights[static_cast<std::size_t>(query * tokens + key)] != 0.0f, sees)
              << query << " " << key << " of " << tokens;
          const std::vector<idx_t> queries = relation->Queries(key);
          const bool seen = std::find(queries.begin(), queries.end(), query) != queries.end();
          ASSERT_TRUE(seen || !sees) << query << " " << key << " of " << tokens;
        }
      }
    }
  }
}

}  // namespace
}  // namespace longspan::catalogue
