// A problem of full attention in either form, for its tests: inputs, what the kernels and the
// references make of them, and how far apart these may be.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "longspan/attention.h"
#include "ops/full_attention/full_attention_ref.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"
#include "tests/support/remember.h"

namespace longspan::test {

using Mask = std::vector<std::uint8_t>;

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

enum class Form { kSeparate, kShared };

struct Case {
  Form form = Form::kSeparate;
  ref::FullShape shape;
  FullSpec spec;
  Mask mask;  // (B, T) or empty
  std::uint64_t seed = 1;
  float ramp = 0.0f;  // how much the scores rise from the first key to the last

  bool shared() const { return form == Form::kShared; }
  idx_t rows() const { return shape.B * shape.H * shape.T; }
  idx_t size() const { return rows() * shape.D; }
  std::array<idx_t, 4> extents() const { return {shape.B, shape.H, shape.T, shape.D}; }
  Key KeyOf(std::string_view function) const {
    Key key(function);
    for (const idx_t n : {shape.B, shape.H, shape.T, shape.D}) key.Add(n);
    key.Add(form).Add(spec.scale).Add(spec.causal).Add(mask).Add(seed).Add(ramp);
    return key.Add(spec.dropout.p).Add(spec.dropout.key);
  }
  std::string Name() const {
    return fmt::format("{} B{} H{} T{} D{}{}{}{}", shared() ? "shared" : "separate", shape.B,
                       shape.H, shape.T, shape.D, spec.causal ? " causal" : "",
                       mask.empty() ? "" : " masked", spec.dropout.p > 0 ? " dropout" : "");
  }
};

inline Case MakeCase(Form form, idx_t T, bool causal, idx_t D = 5, idx_t B = 1, idx_t H = 1) {
  Case c;
  c.form = form;
  c.shape = {B, H, T, D};
  c.spec.causal = causal;
  return c;
}

// In the shared form q is x, and k is not used.
struct Inputs {
  explicit Inputs(const Case& c)
      : q(RandomNormal(c.seed, c.size())),
        k(RandomNormal(c.seed + 1000, c.size())),
        v(RandomNormal(c.seed + 2000, c.size())),
        dout(RandomNormal(c.seed + 3000, c.size())) {
    for (std::size_t i = 0; c.ramp != 0.0f && i < k.size(); ++i) {
      const auto t = static_cast<float>(static_cast<idx_t>(i) / c.shape.D % c.shape.T);
      q[i] += 1.0f;
      k[i] += c.ramp * t / static_cast<float>(c.shape.T);
    }
  }
  std::vector<float> q, k, v, dout;
};

// Separate form: lse. Shared form: max, sum, and dq is dqk. What a form lacks stays empty.
template <class T>
struct Outputs {
  explicit Outputs(const Case& c)
      : out(static_cast<std::size_t>(c.size())), dq(out.size()), dv(out.size()) {
    const auto rows = static_cast<std::size_t>(c.rows());
    if (c.shared()) {
      max.resize(rows);
      sum.resize(rows);
    } else {
      lse.resize(rows);
      dk.resize(out.size());
    }
  }
  std::vector<std::pair<const char*, const std::vector<T>*>> Parts() const {
    return {{"out", &out}, {"lse", &lse}, {"max", &max}, {"sum", &sum},
            {"dq", &dq},   {"dk", &dk},   {"dv", &dv}};
  }
  std::vector<std::vector<T>*> Lists() { return {&out, &lse, &max, &sum, &dq, &dk, &dv}; }
  std::vector<T> out, lse, max, sum, dq, dk, dv;
};

// Forward and backward on views that `view` makes of the arrays: (B, H, T, D) of any stride.
template <class MakeView>
void RunOnViews(Context& context, const Case& c, Inputs& x, Outputs<float>& y,
                const MakeView& view) {
  const std::array<idx_t, 3> rows = {c.shape.B, c.shape.H, c.shape.T};
  KeyMask mask;
  if (!c.mask.empty()) mask = {c.mask.data(), {c.shape.B, c.shape.T}};
  if (c.shared()) {
    const SharedQkv qkv{view(x.q), view(x.v)};
    const SharedSaved saved{view(y.out), {y.max.data(), rows}, {y.sum.data(), rows}};
    FullSharedForward(context, c.spec, qkv, mask, saved);
    FullSharedBackward(context, c.spec, qkv, mask, saved, view(x.dout), {view(y.dq), view(y.dv)});
  } else {
    const Qkv qkv{view(x.q), view(x.k), view(x.v)};
    const AttentionSaved saved{view(y.out), {y.lse.data(), rows}};
    FullForward(context, c.spec, qkv, mask, saved);
    FullBackward(context, c.spec, qkv, mask, saved, view(x.dout),
                 {view(y.dq), view(y.dk), view(y.dv)});
  }
}

inline Outputs<float> RunKernel(Context& context, const Case& c, Inputs x) {
  Outputs<float> y(c);
  RunOnViews(context, c, x, y,
             [&](std::vector<float>& a) { return View<float, 4>(a.data(), c.extents()); });
  return y;
}

template <class T>
Outputs<T> RunReference(const Case& c, const Inputs& x) {
  Outputs<T> y(c);
  const std::vector<T> q(x.q.begin(), x.q.end()), k(x.k.begin(), x.k.end());
  const std::vector<T> v(x.v.begin(), x.v.end()), dout(x.dout.begin(), x.dout.end());
  const auto at = [](std::vector<T>& values) { return values.empty() ? nullptr : values.data(); };
  const ref::FullWrites<T> writes{at(y.out),   at(y.lse), at(y.max), at(y.sum),
                                  dout.data(), at(y.dq),  at(y.dk),  at(y.dv)};
  if (c.shared()) {
    ref::FullSharedBoth<T>(c.spec, c.shape, q.data(), v.data(), c.mask, writes);
  } else {
    ref::FullBoth<T>(c.spec, c.shape, q.data(), k.data(), v.data(), c.mask, writes);
  }
  return y;
}

// The reference in double on the case's own inputs.
inline Outputs<double> OracleOf(const Case& c) {
  return RememberOutputs(c.KeyOf("full"), Outputs<double>(c),
                         [&] { return RunReference<double>(c, Inputs(c)); });
}

// kSelfScore as a maximum is exact or wrong: without those rows the others are not drowned by it.
template <class T>
std::vector<T> WithoutSelfScores(const std::vector<T>& values) {
  std::vector<T> rest;
  for (const T value : values) {
    if (value != T(kSelfScore)) rest.push_back(value);
  }
  return rest;
}

// The rule of derived tolerances for one set of inputs, of which `oracle` is the reference in
// double.
inline void RaiseTolerances(const Case& c, const Inputs& x, const Outputs<double>& oracle,
                            std::vector<Tolerance>* most) {
  const auto naive = RunReference<float>(c, x);
  for (std::size_t part = 0; part < most->size(); ++part) {
    const auto a = WithoutSelfScores(*naive.Parts()[part].second);
    const auto e = WithoutSelfScores(*oracle.Parts()[part].second);
    test::RaiseTolerance(a, e, part < 4 ? 2 : 3, &(*most)[part]);
  }
}

// The rule of derived tolerances, part by part. A small problem's naive error is a matter of luck,
// so it is the largest over some inputs of the same shape; a large one has enough elements.
// `oracle` is of the case's own inputs, the first of them.
inline std::vector<Tolerance> ComputeTolerances(const Case& c, const Outputs<double>& oracle) {
  std::vector<Tolerance> most(7);
  RaiseTolerances(c, Inputs(c), oracle, &most);
  const int inputs = c.size() > 5000 ? 1 : (c.size() > 500 ? 4 : 20);
  Case input = c;
  for (int i = 1; i < inputs; ++i) {
    ++input.seed;
    const Inputs x(input);
    RaiseTolerances(input, x, RunReference<double>(input, x), &most);
  }
  return most;
}
inline std::vector<Tolerance> ToleranceOf(const Case& c, const Outputs<double>& oracle) {
  return RememberTolerances(c.KeyOf("full tolerance"),
                            [&] { return ComputeTolerances(c, oracle); });
}
inline std::vector<Tolerance> ToleranceOf(const Case& c) { return ToleranceOf(c, OracleOf(c)); }

inline void ExpectOutputs(const Outputs<float>& y, const Outputs<double>& oracle,
                          const std::vector<Tolerance>& tolerance) {
  for (std::size_t part = 0; part < tolerance.size(); ++part) {
    const auto [name, all] = y.Parts()[part];
    const auto actual = WithoutSelfScores(*all);
    const auto expected = WithoutSelfScores(*oracle.Parts()[part].second);
    ASSERT_EQ(actual.size(), expected.size()) << name;
    if (tolerance[part].max_abs > 0.0) {
      const auto difference = Compare(std::span<const float>(actual), expected, tolerance[part]);
      EXPECT_TRUE(difference.ok) << name << ": " << difference.reason;
      continue;
    }
    // Where everything cancels (a query with one key has no gradient) rounding is all there is.
    for (const float value : actual) ASSERT_LE(std::abs(value), 3e-6f) << name;
  }
}

inline void CheckInputs(Context& context, const Case& c, const Inputs& x,
                        const Outputs<double>& oracle, const std::vector<Tolerance>& tolerance) {
  ExpectOutputs(RunKernel(context, c, x), oracle, tolerance);
}

inline void CheckCase(Context& context, const Case& c) {
  SCOPED_TRACE(c.Name());
  const auto oracle = OracleOf(c);
  CheckInputs(context, c, Inputs(c), oracle, ToleranceOf(c, oracle));
}

enum class Padding { kLeft, kRight, kHoles, kBlocks, kEverything };
inline constexpr Padding kPaddings[] = {Padding::kLeft, Padding::kRight, Padding::kHoles,
                                        Padding::kBlocks, Padding::kEverything};

inline Mask MakeMask(const Case& c, Padding padding) {
  Mask mask;
  const idx_t T = c.shape.T;
  for (idx_t b = 0; b < c.shape.B; ++b) {
    for (idx_t t = 0; t < T; ++t) {
      bool shown = false;
      if (padding == Padding::kLeft) shown = t >= T / 3 + b;
      if (padding == Padding::kRight) shown = t < T - T / 2 - b;
      if (padding == Padding::kHoles) shown = (t * 7 + b) % 5 > 1;
      if (padding == Padding::kBlocks) shown = t / 192 % 2 == 1;
      if (padding == Padding::kEverything) shown = b == 1;
      mask.push_back(shown ? 1 : 0);
    }
  }
  return mask;
}

}  // namespace longspan::test
