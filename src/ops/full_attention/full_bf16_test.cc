// Full attention on bf16 inputs, on every path that bf16 products can take.
#include <gtest/gtest.h>

#include <vector>

#include "longspan/attention.h"
#include "ops/full_attention/full_amx.h"
#include "tests/support/bf16_shared.h"
#include "tests/support/tiles.h"

namespace longspan::test {
namespace {

// hidden(t): the key mask, which leaves each query something.
void CheckFull(idx_t T, idx_t D, bool causal, idx_t hidden_from, idx_t B = 1, idx_t H = 1) {
  FullSpec spec;
  spec.causal = causal;
  std::vector<std::uint8_t> mask;
  const auto shown = [&](idx_t t) { return t < hidden_from || t % 5 == 0; };
  for (idx_t t = 0; t < B * T; ++t) mask.push_back(shown(t % T) ? 1 : 0);
  const Bf16Problem p{B, H, T, D,
                      [&](idx_t, idx_t i, idx_t j) { return shown(j) && (!causal || j <= i); }};
  CheckBf16(p, [&](Context& context, Bf16Tensors& x) {
    const KeyMask keys = hidden_from >= T ? KeyMask() : KeyMask(mask.data(), {B, T});
    FullForward(context, spec, x.Qkv(), keys, x.Saved());
    FullBackward(context, spec, x.Qkv(), keys, x.Saved(), x.Dout(), x.Gradients());
  });
}

TEST(FullBf16, LengthsAndHeadSizes) {
  for (const bool causal : {false, true}) {
    for (const idx_t T : {1, 2, 13, 47, 193, 210}) {
      for (const idx_t D : {1, 7, 64}) CheckFull(T, D, causal, T);
    }
    CheckFull(100, 128, causal, 100);
  }
}

TEST(FullBf16, MasksAndHeads) {
  for (const bool causal : {false, true}) {
    CheckFull(70, 12, causal, 40, 2, 2);
    CheckFull(211, 20, causal, 1);
  }
}

// ---- the shared form ----------------------------------------------------------------------------

// q is qk, dq dqk; lse is max + log(sum), or the sum of a token that sees itself alone.
void RunShared(const FullSpec& spec, const std::vector<std::uint8_t>& mask, Bf16Tensors& x,
               int threads = 2) {
  Context context(threads);
  const std::array<idx_t, 3> rows = {x.shape[0], x.shape[1], x.shape[2]};
  std::vector<float> max(x.lse.size()), sum(max.size());
  const KeyMask keys = mask.empty() ? KeyMask() : KeyMask(mask.data(), {x.shape[0], x.shape[2]});
  const Bf16SharedQkv qkv{x.In(x.q), x.In(x.v)};
  const Bf16SharedSaved saved{{x.out.data(), x.shape}, {max.data(), rows}, {sum.data(), rows}};
  FullSharedForward(context, spec, qkv, keys, saved);
  FullSharedBackward(context, spec, qkv, keys, saved, x.Dout(),
                     {x.Gradients().dq, x.Gradients().dv});
  x.dk = x.dq;  // one array in this form
  for (std::size_t i = 0; i < max.size(); ++i) {
    x.lse[i] = max[i] == kSelfScore ? sum[i] : max[i] + std::log(sum[i]);
  }
}

std::vector<std::uint8_t> SomeShown(idx_t tokens) {
  std::vector<std::uint8_t> mask;
  for (idx_t t = 0; t < tokens; ++t) mask.push_back(t > 3 && t % 5 != 2 ? 1 : 0);
  return mask;
}

// FlashAttention's rule, and the same bits for any number of threads.
void CheckShared(idx_t T, idx_t D, bool causal, bool masked) {
  SCOPED_TRACE(testing::Message() << "T " << T << " D " << D << (causal ? " causal" : ""));
  FullSpec spec;
  spec.causal = causal;
  const std::vector<std::uint8_t> mask = masked ? SomeShown(T) : std::vector<std::uint8_t>();
  std::vector<idx_t> count;
  for (idx_t i = 0; i < T; ++i) {
    for (idx_t j = 0; j < T; ++j) {
      const bool shown = mask.empty() || mask[static_cast<std::size_t>(j)] != 0;
      count.push_back((shown && (!causal || j <= i)) || i == j ? 1 : 0);
    }
  }
  const auto dense = [&](const Bf16Tensors& x, auto zero, const auto& round) {
    using Real = decltype(zero);
    SharedParts<Real> y;
    DenseShared<Real, std::decay_t<decltype(round)>>(T, D, x.q.data(), x.v.data(), x.dout.data(),
                                                     count, round)
        .Append(y);
    return y;
  };
  std::vector<Tolerance> most(3);
  Bf16Problem p{1, 1, T, D, {}};
  for (int i = 0; i < (T * D > 5000 ? 1 : 6); ++i, ++p.seed) {
    const Bf16Tensors x(p);
    const auto naive = dense(x, 0.0f, [](float v) { return ToFloat(ToBfloat16(v)); });
    const auto oracle = dense(x, 0.0, [](double v) { return v; });
    RaiseTolerance(naive.out, oracle.out, 2, &most[0]);
    RaiseTolerance(naive.dqk, oracle.dqk, 3, &most[1]);
    RaiseTolerance(naive.dv, oracle.dv, 3, &most[2]);
  }
  p.seed = 1;
  const auto oracle = dense(Bf16Tensors(p), 0.0, [](double v) { return v; });
  ForEachBf16Path([&] {
    Bf16Tensors x(p), five(p);
    RunShared(spec, mask, x, 1);
    RunShared(spec, mask, five, 5);
    EXPECT_MATCHES(x.Result().out, oracle.out, most[0]);
    EXPECT_MATCHES(x.dq, oracle.dqk, most[1]);
    EXPECT_MATCHES(x.dv, oracle.dv, most[2]);
    EXPECT_SAME_BITS(five.Result().out, x.Result().out);
    EXPECT_SAME_BITS(five.dq, x.dq);
    EXPECT_SAME_BITS(five.dv, x.dv);
  });
}

TEST(FullBf16, SharedForm) {
  for (const bool causal : {false, true}) {
    for (const idx_t T : {31, 64, 100}) CheckShared(T, 64, causal, false);
    CheckShared(65, 20, causal, true);
    CheckShared(90, 128, causal, true);
  }
}

TEST(FullBf16, SharedFormOnTilesMatchesTheWidenedOne) {
  const auto check = [](idx_t T, idx_t D, const FullSpec& spec,
                        const std::vector<std::uint8_t>& mask, float factor,
                        bool gradients = true) {
    Bf16Tensors given(Bf16Problem{1, 2, T, D, {}});
    for (bfloat16& q : given.q) q = ToBfloat16(ToFloat(q) * factor);
    ExpectTilesMatchWidened(
        given, [&](Bf16Tensors& x) { RunShared(spec, mask, x); }, gradients);
  };
  FullSpec spec;
  const std::vector<idx_t> starts = {0, 50, 51, 110};
  for (const bool causal : {false, true}) {
    spec.causal = causal;
    check(1, 16, spec, {}, 1.0f, false);  // it sees itself alone
    for (const float factor : {1.0f, 8.0f, 64.0f}) check(110, 16, spec, SomeShown(110), factor);
    FullSpec texts = spec;
    texts.starts = starts;
    check(110, 16, texts, {}, 1.0f);
    FullSpec drops = spec;
    drops.dropout = {0.3f, 5};
    check(110, 16, drops, SomeShown(110), 1.0f);
  }
  if (ActiveIsa() < Isa::kAvx2) return;
  check(800, 250, spec, {}, 1.0f);  // keys that pass by, several groups in the backward
}

}  // namespace
}  // namespace longspan::test
