// The softmax mass that hashing sees, against plain loops.
#include "inspect/softmax_mass.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <numeric>
#include <set>
#include <vector>

#include "base/errors.h"
#include "inspect/softmax_mass_test.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

// ---- one layer's queries ------------------------------------------------------------------------

struct MassCase {
  idx_t H = 2, T = 61, D = 5;
  bool causal = true;
  float scale = 1.0f;  // of x: the softmax gets sharper with it
  idx_t before = 1, after = 0, chunk = 8, bucket_count = 6;
  std::vector<idx_t> rounds = {1, 3};
  bool nested = false;       // the first rounds of all hashings are the same
  bool same_tokens = false;  // x and bucket of all tokens
  std::vector<idx_t> rows;   // empty: all that see somebody else

  std::vector<LshSpec> Specs() const {
    std::vector<LshSpec> specs;
    for (const idx_t r : rounds) {
      LshSpec spec;
      spec.chunk = chunk;
      spec.before = before;
      spec.after = after;
      spec.rounds = r;
      spec.buckets = {bucket_count};
      spec.causal = causal;
      specs.push_back(spec);
    }
    return specs;
  }
};

struct MassProblem {
  MassCase c;
  std::vector<float> qk;                                   // (1, H, T, D)
  std::vector<std::vector<std::uint16_t>> hashed, random;  // of each hashing (1, H, R, T)
  std::vector<idx_t> rows;
  std::vector<float> mass;  // (H, rows, columns)

  explicit MassProblem(const MassCase& wanted) : c(wanted), rows(wanted.rows) {
    qk = test::RandomNormal(7, c.H * c.T * c.D, c.scale);
    if (c.same_tokens) {
      for (std::size_t i = 0; i < qk.size(); ++i) qk[i] = qk[i % static_cast<std::size_t>(c.D)];
    }
    for (const idx_t rounds : c.rounds) {
      for (auto* list : {&hashed, &random}) {
        const auto key = static_cast<std::uint64_t>((c.nested ? 0 : rounds) + (list == &random));
        list->emplace_back();
        for (idx_t h = 0; h < c.H; ++h) {
          Rng rng(DeriveKey(key, static_cast<std::uint64_t>(h)));
          for (idx_t i = 0; i < rounds * c.T; ++i) {
            const auto bucket = static_cast<std::uint16_t>(rng.Below(c.bucket_count));
            list->back().push_back(c.same_tokens ? std::uint16_t{3} : bucket);
          }
        }
      }
    }
    for (idx_t t = c.causal ? 1 : 0; c.rows.empty() && t < c.T; ++t) rows.push_back(t);
  }

  idx_t columns() const { return MassColumns(static_cast<idx_t>(c.rounds.size())); }
  float At(idx_t h, idx_t row, idx_t column) const {
    const idx_t count = static_cast<idx_t>(rows.size());
    return mass[static_cast<std::size_t>((h * count + row) * columns() + column)];
  }
  float Field(idx_t h, idx_t row, idx_t hashing, MassField field) const {
    return At(h, row, MassColumns(hashing) + field);
  }
  std::vector<std::uint16_t> HeadBuckets(const std::vector<std::uint16_t>& all, idx_t h) const {
    const auto size = all.size() / static_cast<std::size_t>(c.H);
    const auto begin =
        all.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(h) * size);
    return {begin, begin + static_cast<std::ptrdiff_t>(size)};
  }

  void Measure(Context& context) {
    std::vector<Hashing> hashings;
    const auto specs = c.Specs();
    for (std::size_t i = 0; i < specs.size(); ++i) {
      const std::array<idx_t, 4> shape = {1, c.H, specs[i].rounds, c.T};
      hashings.push_back({specs[i], {hashed[i].data(), shape}, {random[i].data(), shape}});
    }
    const auto count = static_cast<idx_t>(rows.size());
    mass.assign(static_cast<std::size_t>(c.H * count * columns()), -1.0f);
    MeasureMass(context, {qk.data(), {1, c.H, c.T, c.D}}, c.causal, hashings, rows,
                {mass.data(), {c.H, count, columns()}});
  }
};

MassProblem Measured(const MassCase& c) {
  MassProblem problem(c);
  Context context(2);
  problem.Measure(context);
  return problem;
}

void ExpectPlainRow(const MassProblem& m, idx_t h, idx_t row) {
  const MassCase& c = m.c;
  const idx_t t = m.rows[static_cast<std::size_t>(row)];
  const auto begin = m.qk.begin() + static_cast<std::ptrdiff_t>(h * c.T * c.D);
  const std::vector<double> x(begin, begin + static_cast<std::ptrdiff_t>(c.T * c.D));
  const auto p = PlainSoftmax(x, c.T, c.D, t, c.causal);
  for (std::size_t i = 0; i < kTopKeys.size(); ++i) {
    ASSERT_NEAR(m.At(h, row, static_cast<idx_t>(i)),
                PlainHeaviest(p, static_cast<std::size_t>(kTopKeys[i])), kShare);
  }
  const auto specs = c.Specs();
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const auto field = [&](MassField f) { return m.Field(h, row, static_cast<idx_t>(i), f); };
    const auto seen = PlainSeen(specs[i], m.HeadBuckets(m.hashed[i], h), c.T, t);
    const auto random = PlainSeen(specs[i], m.HeadBuckets(m.random[i], h), c.T, t);
    ASSERT_EQ(field(kSeenKeys), static_cast<float>(seen.size()));
    ASSERT_EQ(field(kRandomKeys), static_cast<float>(random.size()));
    ASSERT_NEAR(field(kSeenMass), PlainMass(p, seen), kShare);
    ASSERT_NEAR(field(kRandomMass), PlainMass(p, random), kShare);
    ASSERT_NEAR(field(kBestMass), PlainHeaviest(p, seen.size()), kShare);
    ASSERT_NEAR(field(kLocalMass),
                PlainNearest(p, t, c.causal ? t : c.T, static_cast<idx_t>(seen.size())), kShare);
  }
}

void ExpectPlain(const MassCase& c) {
  const MassProblem m = Measured(c);
  for (idx_t h = 0; h < c.H; ++h) {
    for (idx_t row = 0; row < static_cast<idx_t>(m.rows.size()); ++row) {
      SCOPED_TRACE(testing::Message() << "T " << c.T << ", chunk " << c.chunk << ", before "
                                      << c.before << ", after " << c.after << ", head " << h
                                      << ", row " << m.rows[static_cast<std::size_t>(row)]);
      ExpectPlainRow(m, h, row);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(SoftmaxMass, EqualsPlainLoops) {
  for (const bool causal : {true, false}) {
    for (const idx_t T : {2, 9, 61, 140}) {
      MassCase c;
      c.causal = causal;
      c.T = T;
      c.scale = T == 61 ? 4.0f : 1.0f;
      ExpectPlain(c);
    }
  }
}

TEST(SoftmaxMass, EqualsPlainLoopsForOtherWindows) {
  for (const auto& [chunk, before, after] :
       std::vector<std::array<idx_t, 3>>{{1, 1, 0}, {8, 0, 0}, {8, 2, 1}, {24, 3, 3}, {60, 4, 0}}) {
    MassCase c;
    c.causal = after == 0;
    c.chunk = chunk;
    c.before = before;
    c.after = after;
    c.rounds = {1, 2, 5};
    ExpectPlain(c);
  }
}

TEST(SoftmaxMass, RowsMayBeFew) {
  MassCase c;
  c.rows = {1, 17, 60};
  ExpectPlain(c);
}

TEST(SoftmaxMass, OneChunkShowsEverything) {
  for (const bool causal : {true, false}) {
    MassCase c;
    c.causal = causal;
    c.chunk = c.T;
    const MassProblem m = Measured(c);
    for (idx_t row = 0; row < static_cast<idx_t>(m.rows.size()); ++row) {
      const float others = static_cast<float>((causal ? row + 2 : c.T) - 1);
      EXPECT_EQ(m.Field(1, row, 1, kSeenKeys), others);
      for (const MassField field : {kSeenMass, kLocalMass, kRandomMass, kBestMass}) {
        EXPECT_NEAR(m.Field(1, row, 1, field), 1.0, 1e-6);
      }
    }
  }
}

TEST(SoftmaxMass, SharesAreOrdered) {
  MassCase c;
  c.T = 200;
  const MassProblem m = Measured(c);
  for (idx_t row = 0; row < static_cast<idx_t>(m.rows.size()); ++row) {
    for (idx_t i = 1; i < static_cast<idx_t>(kTopKeys.size()); ++i) {
      EXPECT_GE(m.At(0, row, i), m.At(0, row, i - 1));
    }
    EXPECT_LE(m.At(0, row, 3), 1.0f);
    for (const MassField field : {kSeenMass, kLocalMass}) {
      EXPECT_LE(m.Field(0, row, 1, field), m.Field(0, row, 1, kBestMass) + 1e-6f);
    }
  }
  EXPECT_EQ(m.At(0, 0, 0), 1.0f);  // row 1 has but one key
}

// Equal weights: a share is a share of the keys.
TEST(SoftmaxMass, EqualTokensWeighEqually) {
  MassCase c;
  c.same_tokens = true;
  const MassProblem m = Measured(c);
  for (idx_t row = 0; row < static_cast<idx_t>(m.rows.size()); ++row) {
    const double others = static_cast<double>(m.rows[static_cast<std::size_t>(row)]);
    for (std::size_t i = 0; i < kTopKeys.size(); ++i) {
      EXPECT_NEAR(m.At(0, row, static_cast<idx_t>(i)),
                  std::min(1.0, static_cast<double>(kTopKeys[i]) / others), 1e-6);
    }
    const double keys = static_cast<double>(m.Field(0, row, 0, kSeenKeys));
    for (const MassField field : {kSeenMass, kLocalMass, kRandomMass, kBestMass}) {
      EXPECT_NEAR(m.Field(0, row, 0, field), keys / others, 1e-6);
    }
  }
}

// Rounds add keys, except at the circle's seam: the first chunk of the first round looks back on
// the last round, which is another one.
TEST(SoftmaxMass, MoreRoundsSeeMoreOutsideOfTheSeam) {
  MassCase c;
  c.T = 200;
  c.H = 1;
  c.rounds = {1, 2, 3, 4};
  c.nested = true;
  const MassProblem m = Measured(c);
  const auto specs = c.Specs();
  std::set<idx_t> seam;
  {
    std::vector<idx_t> order(200);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](idx_t a, idx_t b) {
      return m.hashed[0][static_cast<std::size_t>(a)] < m.hashed[0][static_cast<std::size_t>(b)];
    });
    seam.insert(order.begin(), order.begin() + c.chunk);
  }
  for (idx_t row = 0; row < static_cast<idx_t>(m.rows.size()); ++row) {
    if (seam.count(m.rows[static_cast<std::size_t>(row)]) != 0) continue;
    for (idx_t i = 1; i < 4; ++i) {
      EXPECT_GE(m.Field(0, row, i, kSeenMass), m.Field(0, row, i - 1, kSeenMass));
      EXPECT_GE(m.Field(0, row, i, kSeenKeys), m.Field(0, row, i - 1, kSeenKeys));
    }
  }
}

TEST(SoftmaxMass, SameBitsForAnyThreads) {
  MassCase c;
  c.T = 300;
  test::ExpectSameBitsForAnyThreads([&](Context& context) {
    MassProblem problem(c);
    problem.Measure(context);
    return problem.mass;
  });
}

TEST(SoftmaxMass, RefusesWhatHasNoSoftmax) {
  MassCase c;
  c.rows = {0};
  EXPECT_THROW(Measured(c), Error);  // sees only itself
  c.rows = {61};
  EXPECT_THROW(Measured(c), Error);
  c = {};
  c.causal = false;
  c.T = 1;
  EXPECT_THROW(Measured(c), Error);
  MassProblem problem((MassCase()));
  problem.qk[200] = std::nanf("");
  Context context(2);
  try {
    problem.Measure(context);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNumeric);
  }
}

}  // namespace
}  // namespace longspan
