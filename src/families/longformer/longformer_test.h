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
#include "families/longformer/longformer_ref.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"

namespace longspan {

inline constexpr HeadKind kTestedHeads[] = {HeadKind::kNone,     HeadKind::kMaskedLm,
                                            HeadKind::kSequence, HeadKind::kToken,
                                            HeadKind::kQuestion, HeadKind::kChoice};

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

// A batch that owns its memory: padding on either side, holes, any global tokens, targets for the
// head. Multiple choice needs an even number of rows.
struct LongformerData {
  std::vector<std::int32_t> ids, types, labels, starts, ends;
  std::vector<float> values;
  std::vector<std::uint8_t> roles;
  BatchView batch;

  LongformerData(const LongformerConfig& c, idx_t rows, idx_t tokens, std::uint64_t seed)
      : rng_(DeriveKey(seed, 2)) {
    batch.rows = rows;
    batch.tokens = tokens;
    const idx_t often = rng_.Below(4);  // of global tokens: none, some, all
    for (idx_t b = 0; b < rows; ++b) Row(c, tokens, b == 0 ? 0 : rng_.Below(4), often);
    Targets(c, rows, tokens);
    batch.ids = ids;
    batch.roles = {roles.data(), {rows, tokens}};
    if (rng_.Below(3) != 0) batch.token_types = types;
  }
  LongformerData(const LongformerData&) = delete;
  LongformerData& operator=(const LongformerData&) = delete;

 private:
  std::int32_t Below(idx_t n) { return static_cast<std::int32_t>(rng_.Below(n)); }

  // padding 0: none, 1: right, 2: left, 3: holes in the mask.
  void Row(const LongformerConfig& c, idx_t tokens, idx_t padding, idx_t often) {
    const idx_t pads = rng_.Below(tokens);
    for (idx_t t = 0; t < tokens; ++t) {
      const bool pad = (padding == 1 && t >= tokens - pads) || (padding == 2 && t < pads);
      const bool hidden = pad || (padding == 3 && rng_.Below(3) == 0);
      const bool global = often == 3 || (often > 0 && rng_.Below(6) < often);
      std::int32_t id = Below(c.vocab_size);
      if (id == c.pad_token) id = (id + 1) % static_cast<std::int32_t>(c.vocab_size);
      ids.push_back(pad ? static_cast<std::int32_t>(c.pad_token) : id);
      types.push_back(Below(c.token_types));
      roles.push_back(hidden ? kHiddenToken : (global ? kGlobalToken : kLocalToken));
    }
  }

  void Targets(const LongformerConfig& c, idx_t rows, idx_t tokens) {
    const bool lm = c.head == HeadKind::kMaskedLm;
    if (c.head == HeadKind::kChoice) batch.choices = 2;
    if (lm || c.head == HeadKind::kToken) {
      for (idx_t n = 0; n < rows * tokens; ++n) {
        const bool labelled = n == 3 || rng_.Below(4) == 0;
        labels.push_back(labelled ? Below(lm ? c.vocab_size : c.label_count()) : -100);
      }
    } else if (c.head == HeadKind::kChoice) {
      for (idx_t q = 0; q < rows / 2; ++q) labels.push_back(Below(2));
    } else if (c.head == HeadKind::kSequence) {
      const bool classes =
          c.problem == ProblemType::kSingleLabel ||
          (c.problem == ProblemType::kInferred && c.label_count() > 1 && rng_.Below(2) == 0);
      for (idx_t b = 0; classes && b < rows; ++b) labels.push_back(Below(c.label_count()));
      for (idx_t n = 0; !classes && n < rows * c.label_count(); ++n) {
        values.push_back(static_cast<float>(rng_.Below(2)));
      }
    }
    for (idx_t b = 0; c.head == HeadKind::kQuestion && b < rows; ++b) {
      // -1 counts as 0, tokens and beyond as outside; at least one counts.
      starts.push_back(b == 0 ? Below(tokens) : Below(tokens + 4) - 1);
      ends.push_back(b == 0 ? Below(tokens) : Below(tokens + 4) - 1);
    }
    batch.labels = labels;
    batch.values = values;
    batch.starts = starts;
    batch.ends = ends;
  }

  Rng rng_;
};

inline std::vector<float> CopiedView(const View<const float, 1>& view) {
  return {view.data, view.data + view.size()};
}

// Adds normal numbers to all weights: a mistake shows, for no bias and no norm stays as it began.
inline void Perturb(Longformer& model, std::uint64_t seed, float deviation) {
  for (const ParameterInfo& info : model.parameters().list()) {
    const View<float, 1> values = model.parameters().Write().vector(info.name);
    const auto noise = test::RandomNormal(++seed, info.size, deviation);
    for (idx_t i = 0; i < info.size; ++i) values(i) += noise[static_cast<std::size_t>(i)];
  }
}

inline std::span<const float> Values(const Tensor& tensor) {
  return {tensor.data<float>(), static_cast<std::size_t>(tensor.size())};
}

inline double Length(std::span<const float> v) {
  double squares = 0.0;
  for (const float x : v) squares += static_cast<double>(x) * static_cast<double>(x);
  return std::sqrt(squares);
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

// Loss and all gradients of a step, one behind the other.
inline std::vector<float> Step(Context& context, Longformer& model, const BatchView& batch,
                               const LongformerStep& step) {
  model.parameters().AllocateGradients();
  const View<float, 1> gradients = model.parameters().gradients();
  std::fill_n(gradients.data, gradients.size(), 0.0f);
  const HeadLoss loss = model.LossAndGradients(context, batch, step);
  std::vector<float> all = CopiedView(gradients);
  all.push_back(static_cast<float>(loss.mean));
  return all;
}

inline LongformerConfig WithDropout(HeadKind head) {
  LongformerConfig config = SmallLongformer(head);
  config.hidden_dropout = 0.2;
  config.attention_dropout = 0.3;
  return config;
}

// What a layer computes again has the forward's bits, dropout included.
inline void ExpectRecomputationKeepsBits(Longformer& model, const LongformerData& data) {
  Context context(2);
  const auto kept = Step(context, model, data.batch, {{true, 11}, {}, {}});
  for (const std::vector<bool>& recompute :
       {std::vector<bool>{true, true}, std::vector<bool>{false, true},
        std::vector<bool>{true, false}}) {
    const auto again = Step(context, model, data.batch, {{true, 11}, {}, recompute});
    EXPECT_SAME_BITS(again, kept);
  }
}

}  // namespace longspan
