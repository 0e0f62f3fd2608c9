// A problem of window attention with global tokens, for its tests: inputs, what the kernels and the
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
#include "ops/window_attention/window_attention_ref.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"
#include "tests/support/remember.h"

namespace longspan::test {

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Case {
  ref::WindowShape shape;
  WindowSpec spec;
  ref::Roles roles;  // (B, T) or empty
  std::uint64_t seed = 1;
  float middle = 1.0f;  // factor of the keys in the middle third: scores too large to go unscaled

  idx_t rows() const { return shape.B * shape.H * shape.T; }
  idx_t size() const { return rows() * shape.D; }
  idx_t global_size() const { return shape.B * shape.H * shape.G * shape.D; }
  std::array<idx_t, 4> extents() const { return {shape.B, shape.H, shape.T, shape.D}; }
  std::array<idx_t, 4> global_extents() const { return {shape.B, shape.H, shape.G, shape.D}; }
  TokenRoles Roles() const {
    return roles.empty() ? TokenRoles() : TokenRoles(roles.data(), {shape.B, shape.T});
  }
  void SetRoles(ref::Roles r) {
    roles = std::move(r);
    shape.G = LargestGlobalCount(Roles());
  }
  Key KeyOf(std::string_view function) const {
    Key key(function);
    for (const idx_t n : {shape.B, shape.H, shape.T, shape.D, shape.G, spec.left, spec.right}) {
      key.Add(n);
    }
    key.Add(spec.dilation).Add(spec.scale).Add(spec.causal).Add(roles).Add(seed).Add(middle);
    key.Add(spec.dropout.first_head).Add(spec.dropout.layer_heads);
    return key.Add(spec.dropout.p).Add(spec.dropout.key);
  }
  std::string Name() const {
    return fmt::format("B{} H{} T{} D{} G{} left {} right {} dilation [{}]{}{}{}", shape.B, shape.H,
                       shape.T, shape.D, shape.G, spec.left, spec.right,
                       fmt::join(spec.dilation, " "), spec.causal ? " causal" : "",
                       roles.empty() ? "" : " roles", spec.dropout.p > 0 ? " dropout" : "");
  }
};

inline Case MakeCase(idx_t T, idx_t left, idx_t right, idx_t D = 5, idx_t B = 1, idx_t H = 1) {
  Case c;
  c.shape = {B, H, T, D, 0};
  c.spec.left = left;
  c.spec.right = right;
  return c;
}

struct Inputs {
  explicit Inputs(const Case& c)
      : q(RandomNormal(c.seed, c.size())),
        k(RandomNormal(c.seed + 1000, c.size())),
        v(RandomNormal(c.seed + 2000, c.size())),
        dout(RandomNormal(c.seed + 3000, c.size())),
        qg(RandomNormal(c.seed + 4000, c.global_size())),
        kg(RandomNormal(c.seed + 5000, c.size())),
        vg(RandomNormal(c.seed + 6000, c.size())) {
    for (idx_t i = 0; i < c.size(); ++i) {
      const idx_t t = i / c.shape.D % c.shape.T;
      const bool middle = t >= c.shape.T / 3 && t < c.shape.T - c.shape.T / 3;
      if (middle) k[static_cast<std::size_t>(i)] *= c.middle;
    }
  }
  std::vector<float> q, k, v, dout, qg, kg, vg;
};

template <class T>
struct Outputs {
  explicit Outputs(const Case& c)
      : out(static_cast<std::size_t>(c.size())),
        lse(static_cast<std::size_t>(c.rows())),
        dq(out.size()),
        dk(out.size()),
        dv(out.size()),
        dqg(static_cast<std::size_t>(c.global_size())),
        dkg(out.size()),
        dvg(out.size()) {}
  std::vector<std::pair<const char*, const std::vector<T>*>> Parts() const {
    return {{"out", &out}, {"lse", &lse}, {"dq", &dq},   {"dk", &dk},
            {"dv", &dv},   {"dqg", &dqg}, {"dkg", &dkg}, {"dvg", &dvg}};
  }
  std::vector<T> All() const {
    std::vector<T> all;
    for (const auto& [name, part] : Parts()) all.insert(all.end(), part->begin(), part->end());
    return all;
  }
  std::vector<std::vector<T>*> Lists() { return {&out, &lse, &dq, &dk, &dv, &dqg, &dkg, &dvg}; }
  std::vector<T> out, lse, dq, dk, dv, dqg, dkg, dvg;
};

// Forward and backward on views that `view` makes of the (B, H, T, D) arrays, of any stride.
template <class MakeView>
void RunOnViews(Context& context, const Case& c, Inputs& x, Outputs<float>& y,
                const MakeView& view) {
  const TokenRoles roles = c.Roles();
  const Qkv qkv{view(x.q), view(x.k), view(x.v)};
  const AttentionSaved saved{view(y.out), {y.lse.data(), {c.shape.B, c.shape.H, c.shape.T}}};
  const View<const float, 4> dout = view(x.dout);
  const auto local = [&] { WindowForward(context, c.spec, qkv, roles, saved); };
  const auto global = [&] {
    const View<const float, 4> qg(x.qg.data(), c.global_extents());
    GlobalForward(context, c.spec, {qg, view(x.kg), view(x.vg)}, roles, saved);
  };
  // Neither touches what the other writes: the order must not matter.
  c.seed % 2 == 0 ? local() : global();
  c.seed % 2 == 0 ? global() : local();
  WindowBackward(context, c.spec, qkv, roles, saved, dout, {view(y.dq), view(y.dk), view(y.dv)});
  GlobalBackward(context, c.spec,
                 {View<const float, 4>(x.qg.data(), c.global_extents()), view(x.kg), view(x.vg)},
                 roles, saved, dout,
                 {View<float, 4>(y.dqg.data(), c.global_extents()), view(y.dkg), view(y.dvg)});
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
  const auto as = [](const std::vector<float>& a) { return std::vector<T>(a.begin(), a.end()); };
  const auto q = as(x.q), k = as(x.k), v = as(x.v), dout = as(x.dout);
  const auto qg = as(x.qg), kg = as(x.kg), vg = as(x.vg);
  ref::WindowBoth<T>(
      c.spec, c.shape, q.data(), k.data(), v.data(), c.roles,
      {y.out.data(), y.lse.data(), dout.data(), y.dq.data(), y.dk.data(), y.dv.data()});
  ref::GlobalBoth<T>(
      c.spec, c.shape, qg.data(), kg.data(), vg.data(), c.roles,
      {y.out.data(), y.lse.data(), dout.data(), y.dqg.data(), y.dkg.data(), y.dvg.data()});
  return y;
}

// The reference in double on the case's own inputs.
inline Outputs<double> OracleOf(const Case& c) {
  return RememberOutputs(c.KeyOf("window"), Outputs<double>(c),
                         [&] { return RunReference<double>(c, Inputs(c)); });
}

// Hidden rows have lse -inf, exact or wrong.
template <class T>
std::vector<T> Finite(const std::vector<T>& values) {
  std::vector<T> rest;
  for (const T value : values) {
    if (value != -std::numeric_limits<T>::infinity()) rest.push_back(value);
  }
  return rest;
}

inline constexpr std::size_t kOutputParts = 2;  // out and lse; the others are gradients

// The rule of derived tolerances for one set of inputs, of which `oracle` is the reference in
// double.
inline void RaiseTolerances(const Case& c, const Inputs& x, const Outputs<double>& oracle,
                            std::vector<Tolerance>* most) {
  const auto naive = RunReference<float>(c, x);
  for (std::size_t part = 0; part < most->size(); ++part) {
    const auto a = Finite(*naive.Parts()[part].second);
    const auto e = Finite(*oracle.Parts()[part].second);
    test::RaiseTolerance(a, e, part < kOutputParts ? 2 : 3, &(*most)[part]);
  }
}

// The rule of derived tolerances, part by part. A small problem's naive error is a matter of luck,
// so it is the largest over some inputs of the same shape; a large one has enough elements.
// `oracle` is of the case's own inputs, the first of them.
inline std::vector<Tolerance> ComputeTolerances(const Case& c, const Outputs<double>& oracle) {
  std::vector<Tolerance> most(8);
  RaiseTolerances(c, Inputs(c), oracle, &most);
  const idx_t least = c.shape.G > 0 ? std::min(c.size(), c.global_size()) : c.size();
  const int inputs = c.size() > 5000 ? 1 : (least > 2000 ? 3 : 8);
  Case input = c;
  for (int i = 1; i < inputs; ++i) {
    ++input.seed;
    const Inputs x(input);
    RaiseTolerances(input, x, RunReference<double>(input, x), &most);
  }
  return most;
}
inline std::vector<Tolerance> ToleranceOf(const Case& c, const Outputs<double>& oracle) {
  return RememberTolerances(c.KeyOf("window tolerance"),
                            [&] { return ComputeTolerances(c, oracle); });
}

// A row that sees a single key (the first one, when causal) has no gradient because
// p (dp - dout . out) = dp - dp. Kernels round the two differently: some roundings of a dp of size
// 1 reach dq of the row and dk of its key. Loops that sum both alike do not show this error.
inline Tolerance WithLoneRows(const Case& c, const Tolerance& tolerance, std::size_t part,
                              const std::vector<double>& expected) {
  const bool keys = part == 2 || part == 3 || part == 5 || part == 6;  // dq, dk, dqg, dkg
  if (!c.spec.causal || !keys || tolerance.max_abs == 0.0) return tolerance;
  double norm = 0.0;
  for (const double e : expected) norm += e * e;
  const double noise = 0x1p-21 / (1.0 - static_cast<double>(c.spec.dropout.p));
  const auto elements = static_cast<double>(c.shape.B * c.shape.H * c.shape.D);
  return {std::max(tolerance.max_abs, noise),
          tolerance.rel_l2 + noise * std::sqrt(elements / std::max(norm, 1e-20))};
}

inline void ExpectOutputs(const Case& c, const Outputs<float>& y, const Outputs<double>& oracle,
                          const std::vector<Tolerance>& tolerance) {
  for (std::size_t part = 0; part < tolerance.size(); ++part) {
    const auto [name, all] = y.Parts()[part];
    const auto actual = Finite(*all);
    const auto expected = Finite(*oracle.Parts()[part].second);
    ASSERT_EQ(actual.size(), expected.size()) << name;
    if (tolerance[part].max_abs > 0.0) {
      const auto difference = Compare(std::span<const float>(actual), expected,
                                      WithLoneRows(c, tolerance[part], part, expected));
      EXPECT_TRUE(difference.ok) << name << ": " << difference.reason;
      continue;
    }
    // Where everything cancels (a query with one key has no gradient) rounding is all there is.
    for (const float value : actual) ASSERT_LE(std::abs(value), 3e-6f) << name;
  }
}

inline void CheckCase(Context& context, const Case& c) {
  SCOPED_TRACE(c.Name());
  const auto oracle = OracleOf(c);
  ExpectOutputs(c, RunKernel(context, c, Inputs(c)), oracle, ToleranceOf(c, oracle));
}

// Layouts of roles, different in each row of the batch.
enum class Layout {
  kFirst,     // the first token global
  kEnds,      // the first and the last global
  kTogether,  // neighbours in the middle
  kMany,      // every third global
  kPadded,    // first token global, the end hidden
  kHoles,     // hidden, local and global mixed
  kAllGlobal,
  kAllHidden,
  kRagged,  // one row without globals, one with many
};
inline constexpr Layout kLayouts[] = {Layout::kFirst,     Layout::kEnds,      Layout::kTogether,
                                      Layout::kMany,      Layout::kPadded,    Layout::kHoles,
                                      Layout::kAllGlobal, Layout::kAllHidden, Layout::kRagged};

inline std::uint8_t RoleAt(Layout layout, idx_t T, idx_t b, idx_t t) {
  switch (layout) {
    case Layout::kFirst:
      return t == 0 ? 2 : 1;
    case Layout::kEnds:
      return t == 0 || t == T - 1 ? 2 : 1;
    case Layout::kTogether:
      return t >= T / 2 && t < T / 2 + 3 + b ? 2 : 1;
    case Layout::kMany:
      return (t + b) % 3 == 0 ? 2 : 1;
    case Layout::kPadded:
      return t == 0 ? 2 : (t < T - T / 3 - b ? 1 : 0);
    case Layout::kHoles:
      return static_cast<std::uint8_t>((t * 7 + b + t / 5) % 11 == 0 ? 2 : (t * 3 + b) % 5 > 1);
    case Layout::kAllGlobal:
      return 2;
    case Layout::kAllHidden:
      return 0;
    case Layout::kRagged:
      return b == 0 ? 1 : (t % 4 == 1 ? 2 : 1);
  }
  return 1;
}

inline ref::Roles MakeRoles(const Case& c, Layout layout) {
  ref::Roles roles;
  for (idx_t b = 0; b < c.shape.B; ++b) {
    for (idx_t t = 0; t < c.shape.T; ++t) roles.push_back(RoleAt(layout, c.shape.T, b, t));
  }
  return roles;
}

}  // namespace longspan::test
