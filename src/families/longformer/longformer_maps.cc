#include "families/longformer/longformer_maps.h"

#include <algorithm>

#include "model/attention_maps.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

int RoleOf(const LongformerAttentionTensors& t, idx_t b, idx_t i) {
  return t.roles.empty() ? kLocalToken : t.roles(b, i);
}

float Probability(const LongformerAttentionTensors& t, const float* q, const float* k, float lse) {
  return AttentionProbability(q, k, t.head_size, lse);
}

// The positions of a row's global tokens.
std::vector<idx_t> GlobalsOf(const LongformerAttentionTensors& t, idx_t b) {
  std::vector<idx_t> globals;
  for (idx_t i = 0; i < t.tokens; ++i) {
    if (RoleOf(t, b, i) == kGlobalToken) globals.push_back(i);
  }
  return globals;
}

// Calls task(b, h) for every head, in parallel.
template <class Task>
void ForHeads(Context& context, const LongformerAttentionTensors& t, const Task& task) {
  ParallelFor(context, t.rows * t.heads, [&](idx_t i, int) { task(i / t.heads, i % t.heads); });
}

// Calls see(key, probability) for the keys of local query i of one head, global ones first.
template <class See>
void LocalRow(const LongformerAttentionTensors& t, const std::vector<idx_t>& globals, idx_t b,
              idx_t h, idx_t i, const See& see) {
  const float* q = &t.qkv.q(b, h, i, 0);
  const float lse = t.lse(b, h, i);
  for (const idx_t j : globals) see(j, Probability(t, q, &t.qkv.k(b, h, j, 0), lse));
  const idx_t first = std::max<idx_t>(0, i - t.spec.left);
  const idx_t last = std::min(t.tokens - 1, i + t.spec.right);
  for (idx_t j = first; j <= last; ++j) {
    const int role = RoleOf(t, b, j);
    if (role == kHiddenToken || role == kGlobalToken) continue;
    see(j, Probability(t, q, &t.qkv.k(b, h, j, 0), lse));
  }
}

// The same for the g-th global query, which is at position i.
template <class See>
void GlobalRow(const LongformerAttentionTensors& t, idx_t b, idx_t h, idx_t g, idx_t i,
               const See& see) {
  const float* q = &t.global.qg(b, h, g, 0);
  for (idx_t j = 0; j < t.tokens; ++j) {
    if (RoleOf(t, b, j) == kHiddenToken) continue;
    see(j, Probability(t, q, &t.global.kg(b, h, j, 0), t.lse(b, h, i)));
  }
}

}  // namespace

Tensor LocalProbabilities(Context& context, const LongformerAttentionTensors& t) {
  const idx_t most = t.globals->most, slots = most + t.spec.left + 1 + t.spec.right;
  Tensor out({t.rows, t.heads, t.tokens, slots});
  const View<float, 4> p = out.view<4>();
  ForHeads(context, t, [&](idx_t b, idx_t h) {
    const std::vector<idx_t> globals = GlobalsOf(t, b);
    for (idx_t i = 0; i < t.tokens; ++i) {
      const int role = RoleOf(t, b, i);
      if (role == kHiddenToken || role == kGlobalToken) continue;
      std::size_t rank = 0;
      LocalRow(t, globals, b, h, i, [&](idx_t j, float probability) {
        const bool global = rank < globals.size();
        p(b, h, i, global ? static_cast<idx_t>(rank++) : most + t.spec.left + j - i) = probability;
      });
    }
  });
  return out;
}

Tensor GlobalProbabilities(Context& context, const LongformerAttentionTensors& t, idx_t padded) {
  const idx_t most = t.globals->most;
  Tensor out({t.rows, t.heads, padded, most});
  const View<float, 4> p = out.view<4>();
  ForHeads(context, t, [&](idx_t b, idx_t h) {
    const std::vector<idx_t> globals = GlobalsOf(t, b);
    for (idx_t g = 0; g < most; ++g) {
      if (g < static_cast<idx_t>(globals.size())) {
        GlobalRow(t, b, h, g, globals[static_cast<std::size_t>(g)],
                  [&](idx_t j, float probability) { p(b, h, j, g) = probability; });
        continue;
      }
      for (idx_t j = 0; j < padded; ++j) p(b, h, j, g) = 1.0f / static_cast<float>(padded);
    }
  });
  return out;
}

}  // namespace longspan
