#include "model/generation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/arena.h"
#include "base/errors.h"
#include "base/math.h"
#include "gemm/gemm.h"
#include "model/feed_forward_layer.h"
#include "model/local_attention.h"
#include "ops/chunked_attention/chunked_decode.h"
#include "ops/dropout/dropout.h"

namespace longspan {

// ---- decoder ------------------------------------------------------------------------------------

ReformerDecoder::ReformerDecoder(Reformer& model, idx_t capacity)
    : model_(model),
      capacity_(capacity),
      vocabulary_(static_cast<std::size_t>(model.config().vocab_size)),
      logits_({model.config().vocab_size}) {
  const ReformerConfig& config = model.config();
  Check(config.head == ReformerHead::kLanguageModel, ErrorCode::kUsage,
        "generate: needs a language model (ReformerModelWithLMHead)");
  Check(capacity >= 1 && capacity <= config.longest(), ErrorCode::kUsage,
        "generate: context {} is not from 1 to the model's {} positions", capacity,
        config.longest());
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    caches_.emplace_back(std::vector<idx_t>{capacity, 2 * config.width()});
  }
}

void ReformerDecoder::Feed(Context& context, std::span<const std::int32_t> ids) {
  Check(position_ + static_cast<idx_t>(ids.size()) <= capacity_, ErrorCode::kUsage,
        "generate: {} tokens behind {} exceed the context of {}", ids.size(), position_, capacity_);
  if (position_ == 0 && !ids.empty()) return FeedBlock(context, ids);
  for (std::size_t i = 0; i < ids.size(); ++i) FeedBlock(context, ids.subspan(i, 1));
}

// Either the beginning of the text or one token.
void ReformerDecoder::FeedBlock(Context& context, std::span<const std::int32_t> ids) {
  const ReformerConfig& config = model_.config();
  const idx_t n = static_cast<idx_t>(ids.size()), channels = config.hidden_size;
  Arena::Frame frame(context.arena(),
                     3 * Arena::Bytes<float>(n * channels) + Arena::Bytes<float>(2 * channels));
  const View<float, 2> y1(frame.Take<float>(n * channels), {n, channels});
  const View<float, 2> y2(frame.Take<float>(n * channels), {n, channels});
  const View<float, 2> normed(frame.Take<float>(n * channels), {n, channels});
  const View<float, 2> h(frame.Take<float>(2 * channels), {1, 2 * channels});
  model_.EmbedAt(context, ids, position_, y1);
  std::copy_n(y1.data, y1.size(), y2.data);
  for (std::size_t i = 0; i < caches_.size(); ++i) {
    AttentionLayer(context, i, y2, y1);
    const FeedForwardLayerWeights w =
        FeedForwardLayer(config, model_.LayerPrefix(i) + "feed_forward.", model_.parameters());
    FeedForwardSpec spec;
    spec.activation = ParseActivation(config.activation);
    LayerNormForward(context, w.norm, y1, normed);
    FeedForwardForward(context, spec, w.block, normed, y2);
  }
  position_ += n;
  model_.Normalise(context, y1.Rows(n - 1, 1), y2.Rows(n - 1, 1), h);
  model_.Logits(context, h, {logits_.data<float>(), {1, config.vocab_size}});
}

// y1 += attention(x2), keys and values of the new tokens joining the cache.
void ReformerDecoder::AttentionLayer(Context& context, std::size_t layer,
                                     const View<const float, 2>& x2, const View<float, 2>& y1) {
  const ReformerConfig& config = model_.config();
  const idx_t n = x2.extent[0], width = config.width(), heads = config.heads;
  const idx_t size = config.head_size;
  const LocalAttentionWeights w =
      LocalWeights(config, model_.LayerPrefix(layer) + "attention.", model_.parameters());
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(x2.size()) +
                                          2 * Arena::Bytes<float>(n * width) +
                                          Arena::Bytes<float>(n * heads));
  const View<float, 2> normed(frame.Take<float>(x2.size()), x2.extent);
  const View<float, 2> projected(frame.Take<float>(x2.size()), x2.extent);
  const View<float, 2> q(frame.Take<float>(n * width), {n, width});
  const View<float, 2> out(frame.Take<float>(n * width), {n, width});
  const View<float, 3> lse(frame.Take<float>(n * heads), {1, heads, n});
  const View<float, 2> cache = caches_[layer].view<2>();

  LayerNormForward(context, w.norm, x2, normed);
  gemm::Forward(context, normed, w.qkv.Rows(0, width), nullptr, q);
  gemm::Forward(context, normed, w.qkv.Rows(width, 2 * width), nullptr, cache.Rows(position_, n));
  ChunkedSpec spec = LocalSpec(config);
  if (position_ == 0) {
    // A short text's window would wrap onto its own chunks and count them twice, and not any more
    // once the text has grown: here every token sees what it will see in the long text.
    spec.before = std::min(spec.before, CeilDiv(n, spec.chunk) - 1);
    const auto as_heads = [&](auto* data, idx_t stride) {
      return View<std::remove_pointer_t<decltype(data)>, 4>(data, {1, heads, n, size},
                                                            {n * stride, size, stride, 1});
    };
    const float *key = cache.data, *value = cache.data + width;
    ChunkedForward(context, spec,
                   {as_heads(static_cast<const float*>(q.data), width), as_heads(key, 2 * width),
                    as_heads(value, 2 * width)},
                   {}, {as_heads(out.data, width), lse});
  } else {
    const auto cached = [&](const float* data) {
      return View<const float, 3>(data, {heads, capacity_, size}, {size, 2 * width, 1});
    };
    ChunkedDecode(context, spec, position_, {q.data, {heads, size}}, cached(cache.data),
                  cached(cache.data + width), {out.data, {heads, size}});
  }
  gemm::Forward(context, out, w.output, nullptr, projected);
  AddDropout(context, {}, projected, y1);
}

// ---- sampling -----------------------------------------------------------------------------------

void CheckSampling(const SamplingOptions& options) {
  Check(options.temperature >= 0.0 && options.temperature <= 1e6, ErrorCode::kUsage,
        "temperature: {} is not from 0 to 1e6", options.temperature);
  Check(options.top_k >= 0, ErrorCode::kUsage, "top-k: {} is negative", options.top_k);
  Check(options.top_p > 0.0 && options.top_p <= 1.0, ErrorCode::kUsage,
        "top-p: {} is not above 0 and at most 1", options.top_p);
}

std::int32_t SampleToken(std::span<const float> logits, const SamplingOptions& options, Rng& rng) {
  CheckSampling(options);
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  const auto logit = [&](std::int32_t id) {
    return static_cast<double>(logits[static_cast<std::size_t>(id)]);
  };
  for (const float value : logits) {
    Check(!std::isnan(value) && value != INFINITY, ErrorCode::kNumeric,
          "generate: a logit is {}, not a finite number", value);
  }
  if (options.temperature == 0.0) return order.front();
  if (options.top_k > 0 && static_cast<std::size_t>(options.top_k) < order.size()) {
    order.resize(static_cast<std::size_t>(options.top_k));
  }
  std::vector<double> weights;
  double sum = 0.0;
  for (const std::int32_t id : order) {
    weights.push_back(std::exp((logit(id) - logit(order.front())) / options.temperature));
    sum += weights.back();
  }
  // The shortest head of the list that holds top_p of the mass; at least one token.
  double mass = 0.0;
  std::size_t kept = 0;
  while (kept < weights.size() && (kept == 0 || mass < options.top_p * sum)) {
    mass += weights[kept++];
  }
  double draw = rng.Uniform() * mass;
  for (std::size_t i = 0; i < kept; ++i) {
    draw -= weights[i];
    if (draw < 0.0) return order[i];
  }
  return order[kept - 1];
}

// ---- the loop -----------------------------------------------------------------------------------

idx_t Generate(Context& context, Reformer& model, std::span<const std::int32_t> prompt,
               const GenerateOptions& options, const std::function<bool(std::int32_t)>& on_token) {
  Check(!prompt.empty(), ErrorCode::kUsage, "generate: the prompt is empty, need at least 1 token");
  Check(options.tokens >= 0, ErrorCode::kUsage, "tokens: {} is negative", options.tokens);
  CheckSampling(options.sampling);
  const idx_t longest = model.config().longest();
  const idx_t limit = options.context > 0 ? options.context : longest;
  const auto prompt_size = static_cast<idx_t>(prompt.size());
  // No more room than this text can need.
  ReformerDecoder decoder(model, std::min(limit, prompt_size + options.tokens));
  const auto half = static_cast<std::size_t>(std::max<idx_t>(1, decoder.capacity() / 2));
  std::vector<std::int32_t> text(prompt.begin(), prompt.end());
  const auto last = [&](std::size_t count) {
    return std::span<const std::int32_t>(text).last(std::min(count, text.size()));
  };
  decoder.Feed(context, prompt_size <= decoder.capacity()
                            ? std::span<const std::int32_t>(text)
                            : last(static_cast<std::size_t>(decoder.capacity())));
  Rng rng(DeriveKey(options.sampling.seed, 0));
  std::vector<float> logits;
  for (idx_t written = 0; written < options.tokens; ++written) {
    logits.assign(decoder.logits().begin(), decoder.logits().end());
    for (const std::int32_t id : options.banned) {
      if (id >= 0 && static_cast<std::size_t>(id) < logits.size()) {
        logits[static_cast<std::size_t>(id)] = -INFINITY;
      }
    }
    const std::int32_t id = SampleToken(logits, options.sampling, rng);
    if (id == model.config().eos_token) return written;
    text.push_back(id);
    if (!on_token(id)) return written + 1;
    if (decoder.position() == decoder.capacity()) {
      decoder.Reset();
      decoder.Feed(context, last(half));
    } else {
      decoder.Feed(context, last(1));
    }
  }
  return options.tokens;
}

}  // namespace longspan
