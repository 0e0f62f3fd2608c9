// Small ModernBERTs and random batches for their tests.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "families/modernbert/modernbert.h"
#include "families/modernbert/modernbert_ref.h"
#include "model/encoder_test.h"

namespace longspan {

inline constexpr HeadKind kModernHeads[] = {HeadKind::kNone,     HeadKind::kMaskedLm,
                                            HeadKind::kSequence, HeadKind::kToken,
                                            HeadKind::kQuestion, HeadKind::kChoice};

inline ModernBertConfig SmallModernBert(HeadKind head) {
  ModernBertConfig c;
  c.head = head;
  c.full = {true, false, false};
  c.vocab_size = 29;
  c.hidden_size = 12;
  c.heads = 3;
  c.feed_forward_size = 10;
  c.max_positions = 64;
  c.local_attention = 6;
  c.initializer_range = 0.3;
  c.pad_token = 3;
  c.bos_token = c.cls_token = 1;
  c.eos_token = c.sep_token = 2;
  if (head == HeadKind::kSequence || head == HeadKind::kToken) c.labels = {"red", "green", "blue"};
  return c;
}

// Everything that a seed can vary.
inline ModernBertConfig RandomModernBert(HeadKind head, std::uint64_t seed) {
  Rng rng(DeriveKey(seed, 1));
  const auto coin = [&] { return rng.Below(2) == 0; };
  ModernBertConfig c = SmallModernBert(head);
  c.full = {coin(), coin(), coin()};
  c.local_attention = rng.Below(12);
  c.heads = 1 + rng.Below(3);
  c.hidden_size = c.heads * 2 * (1 + rng.Below(4));
  c.feed_forward_size = 3 + rng.Below(12);
  const char* activations[] = {"gelu", "gelu_new", "silu", "tanh", "mish", "quick_gelu"};
  c.activation = activations[rng.Below(6)];
  c.classifier_activation = activations[rng.Below(6)];
  c.norm_bias = coin();
  c.attention_bias = coin();
  c.feed_forward_bias = coin();
  c.classifier_bias = coin();
  c.decoder_bias = coin();
  c.mean_pooling = coin();
  c.full_rotary.theta = 100.0;
  if (coin()) c.window_rotary.theta = c.full_rotary.theta;
  if (coin()) c.pad_token.reset();
  if (head == HeadKind::kMaskedLm) c.tied = coin();
  if (head == HeadKind::kSequence && rng.Below(4) == 0) c.labels.resize(1);
  return c;
}

inline ModernBertConfig WithModernDropout(HeadKind head) {
  ModernBertConfig config = SmallModernBert(head);
  config.embedding_dropout = config.attention_dropout = 0.2;
  config.feed_forward_dropout = config.classifier_dropout = 0.3;
  return config;
}

// A batch that owns its memory: padding on either side, holes, targets for the head. Multiple
// choice needs an even number of rows.
struct ModernBertData {
  std::vector<std::int32_t> ids, labels, starts, ends;
  std::vector<float> values;
  std::vector<std::uint8_t> roles;
  BatchView batch;

  ModernBertData(const ModernBertConfig& c, idx_t rows, idx_t tokens, std::uint64_t seed)
      : rng_(DeriveKey(seed, 2)) {
    batch.rows = rows;
    batch.tokens = tokens;
    for (idx_t b = 0; b < rows; ++b) Row(c, tokens, b == 0 ? 0 : rng_.Below(4));
    Targets(c, rows, tokens);
    batch.ids = ids;
    batch.roles = {roles.data(), {rows, tokens}};
    batch.labels = labels;
    batch.values = values;
    batch.starts = starts;
    batch.ends = ends;
  }
  ModernBertData(const ModernBertData&) = delete;
  ModernBertData& operator=(const ModernBertData&) = delete;

 private:
  std::int32_t Below(idx_t n) { return static_cast<std::int32_t>(rng_.Below(n)); }

  // padding 0: none, 1: right, 2: left, 3: holes in the mask, but where answers are found.
  void Row(const ModernBertConfig& c, idx_t tokens, idx_t padding) {
    const idx_t pads = rng_.Below(tokens);
    if (c.head == HeadKind::kQuestion && padding == 3) padding = 1;
    for (idx_t t = 0; t < tokens; ++t) {
      const bool pad = (padding == 1 && t >= tokens - pads) || (padding == 2 && t < pads);
      const bool hidden = pad || (padding == 3 && rng_.Below(3) == 0);
      ids.push_back(Below(c.vocab_size));
      roles.push_back(hidden ? kHiddenToken : kLocalToken);
    }
    if (padding == 3) roles[roles.size() - 1] = kLocalToken;  // at least one is seen
  }

  void Targets(const ModernBertConfig& c, idx_t rows, idx_t tokens) {
    const bool lm = c.head == HeadKind::kMaskedLm;
    if (c.head == HeadKind::kChoice) batch.choices = 2;
    for (idx_t n = 0; (lm || c.head == HeadKind::kToken) && n < rows * tokens; ++n) {
      const bool seen = roles[static_cast<std::size_t>(n)] != kHiddenToken;
      const bool labelled = seen && (n == 3 || rng_.Below(4) == 0);
      labels.push_back(labelled ? Below(lm ? c.vocab_size : c.label_count()) : -100);
    }
    for (idx_t q = 0; c.head == HeadKind::kChoice && q < rows / 2; ++q) labels.push_back(Below(2));
    if (c.head == HeadKind::kSequence) {
      const bool classes = c.label_count() > 1 && rng_.Below(2) == 0;
      for (idx_t b = 0; classes && b < rows; ++b) labels.push_back(Below(c.label_count()));
      for (idx_t n = 0; !classes && n < rows * c.label_count(); ++n) {
        values.push_back(static_cast<float>(rng_.Below(2)));
      }
    }
    for (idx_t b = 0; c.head == HeadKind::kQuestion && b < rows; ++b) {
      starts.push_back(b == 0 ? Below(tokens) : Below(tokens + 4) - 1);
      ends.push_back(b == 0 ? Below(tokens) : Below(tokens + 4) - 1);
    }
  }

  Rng rng_;
};

// The plain implementation with the parameters of `model`.
template <class T>
ref::ModernBertReference<T> ReferenceOf(const ModernBert& model) {
  std::map<std::string, std::vector<T>> parameters;
  for (const ParameterInfo& info : model.parameters().list()) {
    const View<const float, 1> values = model.parameters().vector(info.name);
    parameters[info.name].assign(values.data, values.data + values.size());
  }
  return {model.config(), std::move(parameters)};
}

}  // namespace longspan
