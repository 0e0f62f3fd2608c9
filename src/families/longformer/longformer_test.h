// What the tests of the Longformer share: random configs, and batches for every head.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "families/longformer/longformer.h"
#include "families/longformer/longformer_maps.h"
#include "families/longformer/longformer_ref.h"
#include "model/post_norm_test.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"

namespace longspan {

inline LongformerConfig SmallLongformer(HeadKind head) {
  LongformerConfig c;
  c.head = head;
  c.attention_window = {4, 6};
  c.vocab_size = 29;
  c.hidden_size = 12;
  c.heads = 3;
  c.feed_forward_size = 20;
  c.max_positions = 64;
  c.token_types = 2;
  c.layer_norm_eps = 1e-5;
  c.initializer_range = 0.3;
  c.hidden_dropout = c.attention_dropout = 0.0;
  if (head == HeadKind::kSequence || head == HeadKind::kToken) {
    c.labels = {"red", "green", "blue"};
  }
  return c;
}

// Everything that a seed can vary.
inline LongformerConfig RandomLongformer(HeadKind head, std::uint64_t seed) {
  Rng rng(DeriveKey(seed, 1));
  LongformerConfig c = SmallLongformer(head);
  const idx_t windows[] = {2, 4, 6, 10, 64};
  for (idx_t& window : c.attention_window) window = windows[rng.Below(5)];
  c.heads = 1 + rng.Below(3);
  c.hidden_size = c.heads * (2 + rng.Below(6));
  c.feed_forward_size = 5 + rng.Below(20);
  const char* activations[] = {"gelu", "gelu_new",   "silu",    "tanh",
                               "mish", "quick_gelu", "laplace", "gelu_10"};
  c.activation = activations[rng.Below(8)];
  c.pad_token = rng.Below(4);
  c.token_types = 1 + rng.Below(3);
  if (head == HeadKind::kSequence) {
    const ProblemType problems[] = {ProblemType::kInferred, ProblemType::kRegression,
                                    ProblemType::kSingleLabel, ProblemType::kMultiLabel};
    c.problem = problems[rng.Below(4)];
    if (rng.Below(3) == 0 && c.problem != ProblemType::kSingleLabel) c.labels.resize(1);
  }
  if (head == HeadKind::kMaskedLm) c.tied = rng.Below(2) == 0;
  return c;
}

using LongformerData = PostNormData;

inline std::span<const float> Values(const Tensor& tensor) {
  return {tensor.data<float>(), static_cast<std::size_t>(tensor.size())};
}

// The plain implementation with the parameters of `model`.
template <class T, class Round = ref::Exact>
ref::LongformerReference<T, Round> ReferenceOf(const Longformer& model) {
  std::map<std::string, std::vector<T>> parameters;
  for (const ParameterInfo& info : model.parameters().list()) {
    const View<const float, 1> values = model.parameters().vector(info.name);
    parameters[info.name].assign(values.data, values.data + values.size());
  }
  return {model.config(), std::move(parameters)};
}

// The lookup of padding has no gradient, though the loss depends on those rows. In the masked LM
// the word table is also the decoder, whose gradient such a row keeps.
inline bool IsPaddingRow(const LongformerConfig& config, const ParameterInfo& info, idx_t element) {
  const bool table = info.name.find("word_embeddings") != info.name.npos ||
                     info.name.find("position_embeddings") != info.name.npos;
  return table && element / config.hidden_size == config.pad_token;
}

inline LongformerConfig WithDropout(HeadKind head) {
  LongformerConfig config = SmallLongformer(head);
  config.hidden_dropout = 0.2;
  config.attention_dropout = 0.3;
  return config;
}

// What the maps of a layer say, put together: (B H, T, T), query by key. Hidden rows are zero.
inline Tensor DenseMaps(Context& context, const LongformerAttentionTensors& t) {
  const Tensor local = LocalProbabilities(context, t);
  const Tensor global = GlobalProbabilities(context, t, t.tokens);
  const auto near = local.view<4>(), far = global.view<4>();
  Tensor out({t.rows * t.heads, t.tokens, t.tokens});
  const View<float, 3> p = out.view<3>();
  const auto role = [&t](idx_t b, idx_t i) {
    return t.roles.empty() ? std::uint8_t{kLocalToken} : t.roles(b, i);
  };
  for (idx_t b = 0; b < t.rows; ++b) {
    std::vector<idx_t> globals;
    for (idx_t i = 0; i < t.tokens; ++i) {
      if (role(b, i) == kGlobalToken) globals.push_back(i);
    }
    for (idx_t h = 0; h < t.heads; ++h) {
      for (idx_t i = 0, rank = 0; i < t.tokens; ++i) {
        const idx_t map = b * t.heads + h;
        if (role(b, i) == kHiddenToken) continue;
        if (role(b, i) == kGlobalToken) {
          for (idx_t j = 0; j < t.tokens; ++j) p(map, i, j) = far(b, h, j, rank);
          ++rank;
          continue;
        }
        for (idx_t g = 0; g < std::ssize(globals); ++g) {
          p(map, i, globals[static_cast<std::size_t>(g)]) += near(b, h, i, g);
        }
        for (idx_t n = -t.spec.left; n <= t.spec.right; ++n) {
          const float probability = near(b, h, i, t.globals->most + t.spec.left + n);
          if (i + n >= 0 && i + n < t.tokens) {
            p(map, i, i + n) += probability;
          } else {
            EXPECT_EQ(probability, 0.0f);
          }
        }
      }
    }
  }
  return out;
}

}  // namespace longspan
