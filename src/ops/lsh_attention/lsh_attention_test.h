// What the tests of LSH attention share: problems, runs of kernel and reference, tolerances.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "longspan/attention.h"
#include "longspan/error.h"
#include "ops/lsh_attention/lsh_attention.h"
#include "ops/lsh_attention/lsh_attention_ref.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"
#include "tests/support/remember.h"

namespace longspan {

using test::RandomNormal;
using test::ToDouble;
using Mask = std::vector<std::uint8_t>;

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Case {
  ref::LshShape shape;
  LshSpec spec;
  Mask mask;                           // (B, T) or empty
  std::vector<std::uint16_t> buckets;  // (B, H, R, T)
  std::uint64_t seed = 1;
  float scale = 1.0f, offset = 0.0f;  // qk = scale * N(0, 1) + offset

  idx_t rows() const { return shape.B * shape.H * shape.T; }
  idx_t size() const { return rows() * shape.D; }
  test::Key KeyOf(std::string_view function) const {
    test::Key key(function);
    for (const idx_t n :
         {shape.B, shape.H, shape.T, shape.D, spec.chunk, spec.before, spec.after, spec.rounds}) {
      key.Add(n);
    }
    key.Add(spec.buckets).Add(spec.causal).Add(mask).Add(buckets).Add(seed).Add(scale).Add(offset);
    return key.Add(spec.dropout.p).Add(spec.dropout.key);
  }
  std::string Name() const {
    return fmt::format("B{} H{} T{} D{} chunk {} before {} after {} rounds {} buckets {}{}{}{}",
                       shape.B, shape.H, shape.T, shape.D, spec.chunk, spec.before, spec.after,
                       spec.rounds, spec.buckets[0], spec.causal ? " causal" : "",
                       mask.empty() ? "" : " masked", spec.dropout.p > 0 ? " dropout" : "");
  }
  // Buckets drawn at random; hidden tokens in the last one, as the hash puts them.
  void DrawBuckets() {
    buckets.clear();
    Rng rng(seed + 99);
    for (idx_t i = 0; i < rows() * spec.rounds; ++i) {
      const idx_t b = i / (shape.H * spec.rounds * shape.T), t = i % shape.T;
      const bool hidden = !mask.empty() && mask[static_cast<std::size_t>(b * shape.T + t)] == 0;
      const idx_t bucket = rng.Below(spec.BucketCount());
      buckets.push_back(static_cast<std::uint16_t>(hidden ? spec.BucketCount() : bucket));
    }
  }
};

inline Case MakeCase(idx_t T, idx_t chunk, idx_t before, idx_t after, idx_t rounds, bool causal,
                     idx_t D = 5, idx_t B = 1, idx_t H = 2) {
  Case c;
  c.shape = {B, H, T, D};
  c.spec.chunk = chunk;
  c.spec.before = before;
  c.spec.after = after;
  c.spec.rounds = rounds;
  c.spec.buckets = {4};
  c.spec.causal = causal;
  c.DrawBuckets();
  return c;
}

// log sum exp of the scores that each token sees; of one that sees nobody, how often it meets
// itself. The kernel's max is a bound, so max and sum are compared together.
template <class T>
std::vector<T> LogSums(const std::vector<T>& max, const std::vector<T>& sum) {
  std::vector<T> logs(max.size());
  for (std::size_t i = 0; i < max.size(); ++i) {
    logs[i] = max[i] == T(kSelfScore) ? sum[i] : max[i] + std::log(sum[i]);
  }
  return logs;
}

// The plan, without the code under test: std::stable_sort.
inline std::vector<std::int32_t> OrderOf(const Case& c) {
  const idx_t T = c.shape.T, heads = c.shape.B * c.shape.H;
  const idx_t rounds = ref::LshRounds(c.spec, T);
  std::vector<std::int32_t> order(static_cast<std::size_t>(heads * rounds * T));
  for (idx_t i = 0; i < heads * rounds; ++i) {
    auto* first = order.data() + i * T;
    std::iota(first, first + T, 0);
    if (!c.spec.Hashes(T)) continue;
    const std::uint16_t* ids = c.buckets.data() + i * T;
    std::stable_sort(first, first + T,
                     [&](std::int32_t a, std::int32_t b) { return ids[a] < ids[b]; });
  }
  return order;
}

struct Inputs {
  explicit Inputs(const Case& c)
      : qk(RandomNormal(c.seed, c.size())),
        v(RandomNormal(c.seed + 2000, c.size())),
        dout(RandomNormal(c.seed + 3000, c.size())) {
    for (float& x : qk) x = c.scale * x + c.offset;
  }
  std::vector<float> qk, v, dout;
};

template <class T>
struct Outputs {
  explicit Outputs(const Case& c)
      : out(static_cast<std::size_t>(c.size())),
        max(static_cast<std::size_t>(c.rows())),
        sum(max.size()),
        dqk(out.size()),
        dv(out.size()) {}
  std::vector<std::vector<T>*> Lists() { return {&out, &max, &sum, &dqk, &dv}; }
  std::vector<T> out, max, sum, dqk, dv;
};

inline Outputs<float> RunKernel(Context& context, const Case& c, const Inputs& x) {
  Outputs<float> y(c);
  const std::array<idx_t, 4> shape = {c.shape.B, c.shape.H, c.shape.T, c.shape.D};
  const std::array<idx_t, 3> rows = {c.shape.B, c.shape.H, c.shape.T};
  const auto in = [&](const std::vector<float>& a) {
    return View<const float, 4>(a.data(), shape);
  };
  const auto out = [&](std::vector<float>& a) { return View<float, 4>(a.data(), shape); };
  const SharedQkv qkv{in(x.qk), in(x.v)};
  const SharedSaved saved{out(y.out), {y.max.data(), rows}, {y.sum.data(), rows}};
  KeyMask mask;
  if (!c.mask.empty()) mask = {c.mask.data(), {c.shape.B, c.shape.T}};
  const View<const std::uint16_t, 4> buckets(c.buckets.data(),
                                             {c.shape.B, c.shape.H, c.spec.rounds, c.shape.T});
  LshForward(context, c.spec, qkv, mask, buckets, saved);
  LshBackward(context, c.spec, qkv, mask, buckets, saved, in(x.dout), {out(y.dqk), out(y.dv)});
  return y;
}

template <class T>
Outputs<T> RunReference(const Case& c, const Inputs& x) {
  Outputs<T> y(c);
  const std::vector<T> qk(x.qk.begin(), x.qk.end()), v(x.v.begin(), x.v.end());
  const std::vector<T> dout(x.dout.begin(), x.dout.end());
  const auto order = OrderOf(c);
  ref::LshBoth<T>(
      c.spec, c.shape, qk.data(), v.data(), order, c.mask,
      {y.out.data(), y.max.data(), y.sum.data(), dout.data(), y.dqk.data(), y.dv.data()});
  return y;
}

// The reference in double on the case's own inputs.
inline Outputs<double> OracleOf(const Case& c) {
  return test::RememberOutputs(c.KeyOf("lsh"), Outputs<double>(c),
                               [&] { return RunReference<double>(c, Inputs(c)); });
}

struct Tolerances {
  test::Tolerance out, lse, dqk, dv;
};

// The rule of derived tolerances. A small problem's naive error is a matter of luck, so it is the
// largest over a few inputs of the same shape; a large one has enough elements of its own. `own` is
// the reference of the case's own inputs, the first of them.
inline Tolerances ComputeTolerances(const Case& c, const Outputs<double>& own) {
  Tolerances most;
  Case input = c;
  for (int i = 0; i < (c.size() > 5000 ? 1 : 4); ++i, ++input.seed) {
    const Inputs x(input);
    const auto naive = RunReference<float>(input, x);
    const auto oracle = i == 0 ? own : RunReference<double>(input, x);
    test::RaiseTolerance(naive.out, oracle.out, 2, &most.out);
    test::RaiseTolerance(LogSums(naive.max, naive.sum), LogSums(oracle.max, oracle.sum), 2,
                         &most.lse);
    test::RaiseTolerance(naive.dqk, oracle.dqk, 3, &most.dqk);
    test::RaiseTolerance(naive.dv, oracle.dv, 3, &most.dv);
  }
  return most;
}

inline Tolerances ToleranceOf(const Case& c, const Outputs<double>& own) {
  const auto most = test::RememberTolerances(c.KeyOf("lsh tolerance"), [&] {
    const Tolerances t = ComputeTolerances(c, own);
    return std::vector<test::Tolerance>{t.out, t.lse, t.dqk, t.dv};
  });
  return {most[0], most[1], most[2], most[3]};
}
inline Tolerances ToleranceOf(const Case& c) { return ToleranceOf(c, OracleOf(c)); }

// Where everything cancels (a query with one key has no gradient to it) rounding is all there is.
inline void ExpectClose(const char* what, const std::vector<float>& actual,
                        const std::vector<double>& oracle, const test::Tolerance& tolerance) {
  if (tolerance.max_abs > 0.0) {
    const auto difference = test::Compare(std::span<const float>(actual), oracle, tolerance);
    EXPECT_TRUE(difference.ok) << what << ": " << difference.reason;
    return;
  }
  for (const float value : actual) ASSERT_LE(std::abs(value), 3e-6f) << what;
}

inline void CheckCase(Context& context, const Case& c) {
  SCOPED_TRACE(c.Name());
  const Inputs x(c);
  const auto y = RunKernel(context, c, x);
  const auto oracle = OracleOf(c);
  const Tolerances tolerance = ToleranceOf(c, oracle);
  ExpectClose("out", y.out, oracle.out, tolerance.out);
  ExpectClose("lse", LogSums(y.max, y.sum), LogSums(oracle.max, oracle.sum), tolerance.lse);
  ExpectClose("dqk", y.dqk, oracle.dqk, tolerance.dqk);
  ExpectClose("dv", y.dv, oracle.dv, tolerance.dv);
}

enum class Padding { kLeft, kRight, kHoles, kEverything };

inline Mask MakeMask(const Case& c, Padding padding) {
  Mask mask(static_cast<std::size_t>(c.shape.B * c.shape.T), 1);
  const idx_t T = c.shape.T;
  for (idx_t b = 0; b < c.shape.B; ++b) {
    for (idx_t t = 0; t < T; ++t) {
      bool shown = true;
      if (padding == Padding::kLeft) shown = t >= T / 3 + b;
      if (padding == Padding::kRight) shown = t < T - T / 2 - b;
      if (padding == Padding::kHoles) shown = (t * 7 + b) % 5 > 1;
      if (padding == Padding::kEverything) shown = false;
      mask[static_cast<std::size_t>(b * T + t)] = shown ? 1 : 0;
    }
  }
  return mask;
}

}  // namespace longspan
