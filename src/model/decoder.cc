#include "model/decoder.h"

#include <algorithm>
#include <type_traits>

#include "base/arena.h"
#include "base/errors.h"
#include "base/math.h"
#include "gemm/gemm.h"
#include "model/attention_layer.h"
#include "model/feed_forward_layer.h"
#include "ops/chunked_attention/chunked_decode.h"
#include "ops/dropout/dropout.h"
#include "ops/lsh_attention/lsh_decode.h"

namespace longspan {

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
  chunked_ = LocalSpec(config);
  shared_ = SharedSpec(config, capacity);
  if (config.attention == AttentionChoice::kFull) {  // one chunk holds the whole text
    chunked_.chunk = shared_.chunk = capacity;
  }
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    LayerCache cache;
    cache.rows = Tensor({capacity, 2 * config.width()});
    if (config.layers[i] == LayerKind::kLsh && shared_.Hashes(capacity)) {
      cache.buckets.resize(static_cast<std::size_t>(config.heads * shared_.rounds * capacity));
      cache.rotations = model.Rotations(i, shared_);
    }
    caches_.push_back(std::move(cache));
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

// y1 += attention(x2); what the new tokens are to later ones joins the cache.
void ReformerDecoder::AttentionLayer(Context& context, std::size_t layer,
                                     const View<const float, 2>& x2, const View<float, 2>& y1) {
  const ReformerConfig& config = model_.config();
  const idx_t n = x2.extent[0], width = config.width();
  const LayerKind kind = config.layers[layer];
  const AttentionWeights w = AttentionLayerWeights(
      config, kind, model_.LayerPrefix(layer) + "attention.", model_.parameters());
  Arena::Frame frame(context.arena(),
                     2 * Arena::Bytes<float>(x2.size()) + Arena::Bytes<float>(n * width));
  const View<float, 2> normed(frame.Take<float>(x2.size()), x2.extent);
  const View<float, 2> mixed(frame.Take<float>(x2.size()), x2.extent);
  const View<float, 2> out(frame.Take<float>(n * width), {n, width});
  LayerNormForward(context, w.norm, x2, normed);
  // The cache holds the last two projections: key and value, or query-key and value.
  const idx_t kept = w.projections.extent[0] - 2 * width;
  gemm::Forward(context, normed, w.projections.Rows(kept, 2 * width), nullptr,
                caches_[layer].rows.view<2>().Rows(position_, n));
  if (kind == LayerKind::kLocal) {
    LocalLayer(context, caches_[layer], w, normed, out);
  } else {
    SharedLayer(context, caches_[layer], out);
  }
  gemm::Forward(context, out, w.output, nullptr, mixed);
  AddDropout(context, {}, mixed, y1);
}

// Rows of (n, stride) as heads: (1, H, n, D).
template <class T>
View<T, 4> ReformerDecoder::Heads(T* data, idx_t n, idx_t stride) const {
  const idx_t size = model_.config().head_size;
  return {data, {1, model_.config().heads, n, size}, {n * stride, size, stride, 1}};
}

// Part 0 or 1 of a layer's cache: (H, capacity, D).
View<const float, 3> ReformerDecoder::Cached(const LayerCache& cache, idx_t part) const {
  const ReformerConfig& config = model_.config();
  return {cache.rows.data<float>() + part * config.width(),
          {config.heads, capacity_, config.head_size},
          {config.head_size, 2 * config.width(), 1}};
}

// out (n, A) of a local layer.
void ReformerDecoder::LocalLayer(Context& context, const LayerCache& cache,
                                 const AttentionWeights& w, const View<const float, 2>& normed,
                                 const View<float, 2>& out) const {
  const idx_t n = out.extent[0], width = out.extent[1], heads = model_.config().heads;
  Arena::Frame frame(context.arena(),
                     Arena::Bytes<float>(n * width) + Arena::Bytes<float>(n * heads));
  const View<float, 2> q(frame.Take<float>(n * width), {n, width});
  gemm::Forward(context, normed, w.projections.Rows(0, width), nullptr, q);
  if (position_ > 0) {
    const idx_t size = model_.config().head_size;
    ChunkedDecode(context, chunked_, position_, {q.data, {heads, size}}, Cached(cache, 0),
                  Cached(cache, 1), {out.data, {heads, size}});
    return;
  }
  // A short text's window would wrap onto its own chunks and count them twice, and not any more
  // once the text has grown: here every token sees what it will see in the long text.
  ChunkedSpec spec = chunked_;
  spec.before = std::min(spec.before, CeilDiv(n, spec.chunk) - 1);
  const float* rows = cache.rows.data<float>();
  ChunkedForward(context, spec,
                 {Heads<const float>(q.data, n, width), Heads<const float>(rows, n, 2 * width),
                  Heads<const float>(rows + width, n, 2 * width)},
                 {}, {Heads(out.data, n, width), {frame.Take<float>(n * heads), {1, heads, n}}});
}

// out (n, A) of an LSH layer, buckets of the new tokens joining the cache.
void ReformerDecoder::SharedLayer(Context& context, LayerCache& cache,
                                  const View<float, 2>& out) const {
  const ReformerConfig& config = model_.config();
  const idx_t n = out.extent[0], width = config.width(), heads = config.heads;
  const idx_t rounds = shared_.rounds;
  const float* rows = cache.rows.data<float>() + position_ * 2 * width;
  const auto qk = Heads<const float>(rows, n, 2 * width);
  const View<std::uint16_t, 4> buckets(
      cache.buckets.data() + position_, {1, heads, rounds, n},
      {heads * rounds * capacity_, rounds * capacity_, capacity_, 1});
  if (!cache.rotations.empty()) {
    LshHash(context, shared_, qk, {}, cache.rotations.view<4>(), buckets);
  }  // else the buckets stay 0: chunks of the text, or all of it
  if (position_ > 0) {
    LshDecode(context, shared_, position_, Cached(cache, 0), Cached(cache, 1),
              {cache.buckets.data(), {heads, rounds, capacity_}},
              {out.data, {heads, config.head_size}});
    return;
  }
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(n * heads));
  const View<float, 3> max(frame.Take<float>(n * heads), {1, heads, n});
  const View<float, 3> sum(frame.Take<float>(n * heads), {1, heads, n});
  LshForward(context, shared_, {qk, Heads<const float>(rows + width, n, 2 * width)}, {},
             View<const std::uint16_t, 4>(buckets), {Heads(out.data, n, width), max, sum});
}

}  // namespace longspan
