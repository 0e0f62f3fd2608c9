// A problem of chunked attention, for its tests: inputs, what the kernel and the reference make of
// them, and how far apart these may be.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "longspan/attention.h"
#include "ops/chunked_attention/chunked_attention_ref.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"
#include "tests/support/remember.h"

namespace longspan::chunked_test {

using test::RandomNormal;
using Mask = std::vector<std::uint8_t>;

struct Case {
  ref::ChunkedShape shape;
  ChunkedSpec spec;
  Mask mask;  // (B, T) or empty
  std::uint64_t seed = 1;

  idx_t rows() const { return shape.B * shape.H * shape.T; }
  idx_t size() const { return rows() * shape.D; }
  test::Key KeyOf(std::string_view function) const {
    test::Key key(function);
    for (const idx_t n :
         {shape.B, shape.H, shape.T, shape.D, spec.chunk, spec.before, spec.after}) {
      key.Add(n);
    }
    key.Add(spec.scale).Add(spec.causal).Add(mask).Add(seed);
    return key.Add(spec.dropout.p).Add(spec.dropout.key);
  }
  std::string Name() const {
    return fmt::format("B{} H{} T{} D{} chunk {} before {} after {}{}{}{}", shape.B, shape.H,
                       shape.T, shape.D, spec.chunk, spec.before, spec.after,
                       spec.causal ? " causal" : "", mask.empty() ? "" : " masked",
                       spec.dropout.p > 0 ? " dropout" : "");
  }
};

inline Case MakeCase(idx_t T, idx_t chunk, idx_t before, idx_t after, bool causal, idx_t D = 5,
                     idx_t B = 1, idx_t H = 2) {
  Case c;
  c.shape = {B, H, T, D};
  c.spec.chunk = chunk;
  c.spec.before = before;
  c.spec.after = after;
  c.spec.causal = causal;
  return c;
}

struct Inputs {
  explicit Inputs(const Case& c)
      : q(RandomNormal(c.seed, c.size())),
        k(RandomNormal(c.seed + 1000, c.size())),
        v(RandomNormal(c.seed + 2000, c.size())),
        dout(RandomNormal(c.seed + 3000, c.size())) {}
  std::vector<float> q, k, v, dout;
};

template <class T>
struct Outputs {
  explicit Outputs(const Case& c)
      : out(static_cast<std::size_t>(c.size())),
        lse(static_cast<std::size_t>(c.rows())),
        dq(out.size()),
        dk(out.size()),
        dv(out.size()) {}
  std::vector<std::vector<T>*> Lists() { return {&out, &lse, &dq, &dk, &dv}; }
  std::vector<T> out, lse, dq, dk, dv;
};

inline Outputs<float> RunKernel(Context& context, const Case& c, const Inputs& x) {
  Outputs<float> y(c);
  const std::array<idx_t, 4> shape = {c.shape.B, c.shape.H, c.shape.T, c.shape.D};
  const auto in = [&](const std::vector<float>& a) {
    return View<const float, 4>(a.data(), shape);
  };
  const auto out = [&](std::vector<float>& a) { return View<float, 4>(a.data(), shape); };
  const Qkv qkv{in(x.q), in(x.k), in(x.v)};
  const AttentionSaved saved{out(y.out), {y.lse.data(), {c.shape.B, c.shape.H, c.shape.T}}};
  KeyMask mask;
  if (!c.mask.empty()) mask = {c.mask.data(), {c.shape.B, c.shape.T}};
  ChunkedForward(context, c.spec, qkv, mask, saved);
  ChunkedBackward(context, c.spec, qkv, mask, saved, in(x.dout), {out(y.dq), out(y.dk), out(y.dv)});
  return y;
}

template <class T>
Outputs<T> RunReference(const Case& c, const Inputs& x) {
  Outputs<T> y(c);
  const std::vector<T> q(x.q.begin(), x.q.end()), k(x.k.begin(), x.k.end());
  const std::vector<T> v(x.v.begin(), x.v.end()), dout(x.dout.begin(), x.dout.end());
  ref::ChunkedForward<T>(c.spec, c.shape, q.data(), k.data(), v.data(), c.mask, y.out.data(),
                         y.lse.data());
  ref::ChunkedBackward<T>(c.spec, c.shape, q.data(), k.data(), v.data(), c.mask, dout.data(),
                          y.dq.data(), y.dk.data(), y.dv.data());
  return y;
}

// The reference in double on the case's own inputs.
inline Outputs<double> OracleOf(const Case& c) {
  return test::RememberOutputs(c.KeyOf("chunked"), Outputs<double>(c),
                               [&] { return RunReference<double>(c, Inputs(c)); });
}

struct Tolerances {
  test::Tolerance out, lse, dq, dk, dv;
};

// The rule of derived tolerances. A small problem's naive error is a matter of luck, so it is the
// largest over a few inputs of the same shape; a large one has enough elements of its own.
inline Tolerances ComputeTolerances(const Case& c) {
  Tolerances most;
  Case input = c;
  for (int i = 0; i < (c.size() > 5000 ? 1 : 4); ++i, ++input.seed) {
    const Inputs x(input);
    const auto naive = RunReference<float>(input, x);
    const auto oracle = i == 0 ? OracleOf(c) : RunReference<double>(input, x);
    test::RaiseTolerance(naive.out, oracle.out, 2, &most.out);
    test::RaiseTolerance(naive.lse, oracle.lse, 2, &most.lse);
    test::RaiseTolerance(naive.dq, oracle.dq, 3, &most.dq);
    test::RaiseTolerance(naive.dk, oracle.dk, 3, &most.dk);
    test::RaiseTolerance(naive.dv, oracle.dv, 3, &most.dv);
  }
  return most;
}

inline Tolerances ToleranceOf(const Case& c) {
  const auto most = test::RememberTolerances(c.KeyOf("chunked tolerance"), [&] {
    const Tolerances t = ComputeTolerances(c);
    return std::vector<test::Tolerance>{t.out, t.lse, t.dq, t.dk, t.dv};
  });
  return {most[0], most[1], most[2], most[3], most[4]};
}

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

// What some kernel made of the case's inputs.
inline void ExpectOutputs(const Case& c, const Outputs<float>& y) {
  const auto oracle = OracleOf(c);
  const Tolerances tolerance = ToleranceOf(c);
  ExpectClose("out", y.out, oracle.out, tolerance.out);
  ExpectClose("lse", y.lse, oracle.lse, tolerance.lse);
  ExpectClose("dq", y.dq, oracle.dq, tolerance.dq);
  ExpectClose("dk", y.dk, oracle.dk, tolerance.dk);
  ExpectClose("dv", y.dv, oracle.dv, tolerance.dv);
}

inline void CheckCase(Context& context, const Case& c) {
  SCOPED_TRACE(c.Name());
  ExpectOutputs(c, RunKernel(context, c, Inputs(c)));
}

enum class Padding { kNone, kLeft, kRight, kHoles, kWholeChunks, kEverything };

inline Mask MakeMask(const Case& c, Padding padding) {
  if (padding == Padding::kNone) return {};
  Mask mask(static_cast<std::size_t>(c.shape.B * c.shape.T), 1);
  const idx_t T = c.shape.T;
  for (idx_t b = 0; b < c.shape.B; ++b) {
    for (idx_t t = 0; t < T; ++t) {
      bool shown = true;
      if (padding == Padding::kLeft) shown = t >= T / 3 + b;
      if (padding == Padding::kRight) shown = t < T - T / 2 - b;
      if (padding == Padding::kHoles) shown = (t * 7 + b) % 5 > 1;
      if (padding == Padding::kWholeChunks) shown = t / c.spec.chunk % 3 == 1 + b % 2;
      if (padding == Padding::kEverything) shown = false;
      mask[static_cast<std::size_t>(b * T + t)] = shown ? 1 : 0;
    }
  }
  return mask;
}

}  // namespace longspan::chunked_test
