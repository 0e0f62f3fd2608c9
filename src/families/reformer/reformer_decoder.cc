#include "families/reformer/reformer_decoder.h"

#include <algorithm>
#include <cmath>

#include "base/arena.h"
#include "base/errors.h"
#include "base/math.h"
#include "families/reformer/attention_kinds.h"
#include "families/reformer/shared_mechanism.h"
#include "gemm/few_rows.h"
#include "gemm/gemm.h"
#include "ops/cached_attention/cached_attention.h"
#include "ops/dropout/dropout.h"
#include "parallel/parallel_for.h"

namespace longspan {

ReformerDecoder::ReformerDecoder(const Reformer& model) : model_(model) {
  const ReformerConfig& config = model.config();
  model.CheckContinues();
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    const LayerKind kind = config.layers[i];
    const std::string prefix = model.LayerPrefix(i);
    layers_.push_back(
        {model.Mechanism(i).Decoding(),
         AttentionKindOf(kind).shares_keys,
         AttentionLayerWeights(config, kind, prefix + "attention.", model.parameters()),
         FeedForwardLayer(config, prefix + "feed_forward.", model.parameters()),
         {}});
  }
}

// ---- texts --------------------------------------------------------------------------------------

void ReformerDecoder::Add(Context& context, std::span<const std::int32_t> ids, idx_t capacity) {
  texts_.push_back(Begin(context, ids, capacity));
}

void ReformerDecoder::Replace(Context& context, idx_t text, std::span<const std::int32_t> ids) {
  texts_[static_cast<std::size_t>(text)] = Begin(context, ids, At(text).capacity);
}

void ReformerDecoder::Select(std::span<const idx_t> from) {
  std::vector<idx_t> uses(texts_.size(), 0);
  for (const idx_t text : from) {
    Check(text >= 0 && text < texts(), ErrorCode::kUsage, "generate: text {} of {} does not exist",
          text, texts());
    ++uses[static_cast<std::size_t>(text)];
  }
  std::vector<CachedText> selected;
  for (const idx_t text : from) {
    const auto i = static_cast<std::size_t>(text);
    // The last to use a text takes it, earlier ones copy.
    selected.push_back(--uses[i] == 0 ? std::move(texts_[i]) : texts_[i]);
  }
  texts_ = std::move(selected);
}

std::size_t ReformerDecoder::CacheBytes() const {
  std::size_t bytes = 0;
  for (const CachedText& text : texts_) bytes += text.Bytes();
  return bytes;
}

CachedText ReformerDecoder::Begin(Context& context, std::span<const std::int32_t> ids,
                                  idx_t capacity) {
  const ReformerConfig& config = model_.config();
  CheckRoom(config, ids.size(), capacity);
  CachedText text;
  text.capacity = capacity;
  text.logits.resize(static_cast<std::size_t>(config.vocab_size));
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    CachedLayer cache;
    cache.cells = CachedCells(2 * config.width());
    if (layers_[i].rule.hashes && capacity > layers_[i].rule.chunk) {
      cache.hash = HashOf(i, capacity);
      const LshSpec& spec = cache.hash->spec();
      cache.order = LshOrder(config.heads * spec.rounds, spec.BucketCount());
    }
    text.layers.push_back(std::move(cache));
  }
  const auto whole = static_cast<std::size_t>(WholeForward(static_cast<idx_t>(ids.size())));
  Prefill(context, ids.first(whole), &text);
  CachedText* const one[] = {&text};
  for (std::size_t i = whole; i < ids.size(); ++i) Grow(context, one, ids.subspan(i, 1));
  return text;
}

std::size_t Reformer::CacheBytes(idx_t tokens) const {
  const LshSpec spec = SharedSpec(config_, tokens);
  const idx_t lists = config_.heads * spec.rounds;
  const auto cells = static_cast<std::size_t>(RoundUp(tokens, CachedCells::kPageTokens)) *
                     static_cast<std::size_t>(2 * config_.width()) * sizeof(float);
  // Sorted rounds: 4 bytes a token and a bucket of each, and the last tokens with their buckets.
  const auto order =
      static_cast<std::size_t>(lists) *
      static_cast<std::size_t>(4 * (tokens + spec.BucketCount() + 1) + 6 * LshOrder::kTailLimit);
  std::size_t bytes = static_cast<std::size_t>(config_.vocab_size) * sizeof(float);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    bytes += cells + (config_.layers[i] == LayerKind::kLsh ? order : 0);
  }
  return bytes;
}

// The rotations of a layer for texts of that capacity: made once, then found again.
std::shared_ptr<const LshTokenHash> ReformerDecoder::HashOf(std::size_t layer, idx_t capacity) {
  const LshSpec spec = SharedSpec(model_.config(), capacity);
  auto& hash = layers_[layer].hash[spec.buckets];
  if (hash == nullptr) {
    const Tensor rotations = model_.Rotations(layer, spec);
    hash = std::make_shared<const LshTokenHash>(spec, rotations.view<4>());
  }
  return hash;
}

// ---- the prompt ---------------------------------------------------------------------------------

// Number of a prompt's tokens that run as one forward pass. All of them, unless the windows of a
// text of few chunks would wrap onto themselves and count chunks twice, which ends when the text
// has grown. Then one chunk, and the other tokens run one by one.
idx_t ReformerDecoder::WholeForward(idx_t tokens) const {
  idx_t whole = tokens;
  for (const Layer& layer : layers_) {
    const DecodingRule& rule = layer.rule;
    if (rule.hashes || rule.chunk == 0 || tokens <= rule.chunk) continue;
    if (CeilDiv(tokens, rule.chunk) <= rule.before) whole = std::min(whole, rule.chunk);
  }
  return whole;
}

void ReformerDecoder::Prefill(Context& context, std::span<const std::int32_t> ids,
                              CachedText* text) {
  const auto n = static_cast<idx_t>(ids.size());
  const idx_t channels = model_.config().hidden_size;
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(n * channels));
  const View<float, 2> y1(frame.Take<float>(n * channels), {n, channels});
  const View<float, 2> y2(frame.Take<float>(n * channels), {n, channels});
  const AttentionObserver keep = [&](std::size_t layer, const AttentionTensors& tensors) {
    KeepLayer(context, layer, tensors, text);
  };
  text->tokens = n;
  model_.Encode(context, {1, n, ids, {}, {}}, y1, y2, nullptr, &keep);
  CachedText* const one[] = {text};
  Predict(context, y1.Rows(n - 1, 1), y2.Rows(n - 1, 1), one);
}

// Adds a layer's projections of the forward pass to the cache.
void ReformerDecoder::KeepLayer(Context& context, std::size_t layer,
                                const AttentionTensors& tensors, CachedText* text) const {
  const Layer& l = layers_[layer];
  CachedLayer& cache = text->layers[layer];
  const idx_t n = text->tokens, heads = tensors.heads;  // a pass may have padded behind them
  const idx_t begin = cache.cells.StartAt(l.rule.FirstSeen(n));
  cache.cells.Extend(n - begin);
  constexpr idx_t kTokens = 64;  // of a task
  ParallelFor(context, CeilDiv(n - begin, kTokens), [&](idx_t task, int) {
    const idx_t first = begin + task * kTokens;
    for (idx_t t = first; t < std::min(n, first + kTokens); ++t) {
      for (idx_t h = 0; h < heads; ++h) {
        WriteCell(l, &tensors.projected(t, 0), h, cache.cells.NewCell(t));
      }
    }
  });
  cache.hashed = l.rule.hashes && n > l.rule.chunk;
  if (cache.hash == nullptr) return;
  const LshSpec& spec = cache.hash->spec();
  std::vector<std::uint16_t> buckets(static_cast<std::size_t>(heads * spec.rounds * n));
  View<const float, 4> qk = tensors.Input(0);
  qk.extent[2] = n;
  LshHash(context, spec, qk, {}, cache.hash->rotations(),
          {buckets.data(), {1, heads, spec.rounds, n}});
  cache.order.Assign(context, {buckets.data(), {heads * spec.rounds, n}});
}

// Key and value of head h from a token's projections (P A), into its cells (H, 2, D).
void ReformerDecoder::WriteCell(const Layer& layer, const float* projected, idx_t h,
                                float* cells) const {
  const idx_t size = model_.config().head_size, width = model_.config().width();
  float* cell = cells + h * 2 * size;
  const float* head = projected + h * size;
  if (layer.shares_keys) {
    SharedKey(head, size, cell);
    std::copy_n(head + width, size, cell + size);
  } else {
    std::copy_n(head + width, size, cell);
    std::copy_n(head + 2 * width, size, cell + size);
  }
}

// ---- one more token -----------------------------------------------------------------------------

void ReformerDecoder::Step(Context& context, std::span<const idx_t> texts,
                           std::span<const std::int32_t> ids) {
  Check(texts.size() == ids.size(), ErrorCode::kUsage, "generate: {} tokens for {} texts",
        ids.size(), texts.size());
  std::vector<bool> named(texts_.size(), false);
  std::vector<CachedText*> rows;
  for (const idx_t text : texts) {
    Check(text >= 0 && text < this->texts() && !named[static_cast<std::size_t>(text)],
          ErrorCode::kUsage, "generate: text {} of {} does not exist or is named twice", text,
          this->texts());
    named[static_cast<std::size_t>(text)] = true;
    rows.push_back(&texts_[static_cast<std::size_t>(text)]);
    CheckRoom(model_.config(), static_cast<std::size_t>(rows.back()->tokens + 1),
              rows.back()->capacity);
  }
  // Products of up to kFewRows rows give a row the same bits whatever stands beside it.
  for (std::size_t begin = 0; begin < rows.size(); begin += gemm::kFewRows) {
    const std::size_t count = std::min<std::size_t>(gemm::kFewRows, rows.size() - begin);
    Grow(context, Texts(rows).subspan(begin, count), ids.subspan(begin, count));
  }
}

void ReformerDecoder::Grow(Context& context, Texts texts, std::span<const std::int32_t> ids) {
  const auto n = static_cast<idx_t>(texts.size());
  const idx_t channels = model_.config().hidden_size;
  Arena::Frame frame(context.arena(), 3 * Arena::Bytes<float>(n * channels));
  const View<float, 2> y1(frame.Take<float>(n * channels), {n, channels});
  const View<float, 2> y2(frame.Take<float>(n * channels), {n, channels});
  const View<float, 2> normed(frame.Take<float>(n * channels), {n, channels});
  for (idx_t i = 0; i < n; ++i) {
    const auto row = static_cast<std::size_t>(i);
    model_.EmbedAt(context, ids.subspan(row, 1), texts[row]->tokens, y1.Rows(i, 1));
  }
  std::copy_n(y1.data, y1.size(), y2.data);
  FeedForwardSpec spec;
  spec.activation = ParseActivation(model_.config().activation);
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    Attend(context, layer, texts, y2, y1);
    const FeedForwardLayerWeights& w = layers_[layer].feed_forward;
    LayerNormForward(context, w.norm, y1, normed);
    FeedForwardForward(context, spec, w.block, normed, y2);
  }
  for (CachedText* text : texts) ++text->tokens;
  Predict(context, y1, y2, texts);
}

// y1 += attention(x2) of one new token of each text; what it is to later ones joins the cache.
void ReformerDecoder::Attend(Context& context, std::size_t layer, Texts texts,
                             const View<const float, 2>& x2, const View<float, 2>& y1) {
  const Layer& l = layers_[layer];
  const ReformerConfig& config = model_.config();
  const idx_t n = x2.extent[0], width = config.width(), heads = config.heads;
  const idx_t columns = l.attention.projections.extent[0], most = MostSeen(layer, texts);
  idx_t hash_floats = 0;
  for (CachedText* text : texts) {
    CachedLayer& cache = text->layers[layer];
    cache.cells.Extend(1);
    cache.cells.DropBefore(l.rule.FirstSeen(text->tokens));
    if (cache.hash == nullptr) continue;
    cache.order.Grow(context);
    hash_floats = std::max(hash_floats, cache.hash->scratch_floats());
  }
  const idx_t threads = context.threads(), rounds = config.num_hashes;
  Arena::Frame frame(
      context.arena(),
      2 * Arena::Bytes<float>(x2.size()) + Arena::Bytes<float>(n * columns) +
          Arena::Bytes<float>(n * width) +
          static_cast<std::size_t>(threads) *
              (Arena::Bytes<std::int32_t>(most) + Arena::Bytes<const float*>(most) +
               Arena::Bytes<float>(CachedWeights(most)) + Arena::Bytes<float>(hash_floats) +
               Arena::Bytes<std::uint16_t>(rounds)));
  const View<float, 2> normed(frame.Take<float>(x2.size()), x2.extent);
  const View<float, 2> mixed(frame.Take<float>(x2.size()), x2.extent);
  const View<float, 2> projected(frame.Take<float>(n * columns), {n, columns});
  const View<float, 2> out(frame.Take<float>(n * width), {n, width});
  std::vector<Scratch> scratch;
  for (idx_t i = 0; i < threads; ++i) {
    scratch.push_back({frame.Take<std::int32_t>(most), frame.Take<const float*>(most),
                       frame.Take<float>(CachedWeights(most)), frame.Take<float>(hash_floats),
                       frame.Take<std::uint16_t>(rounds)});
  }
  LayerNormForward(context, l.attention.norm, x2, normed);
  gemm::Forward(context, normed, l.attention.projections, nullptr, projected);
  ParallelFor(context, n * heads, [&](idx_t task, int thread) {
    const idx_t row = task / heads, h = task % heads;
    CachedText& text = *texts[static_cast<std::size_t>(row)];
    AttendHead(l, text.layers[layer], text.tokens, h, &projected(row, 0),
               scratch[static_cast<std::size_t>(thread)], &out(row, h * config.head_size));
  });
  for (CachedText* text : texts) {
    CachedLayer& cache = text->layers[layer];
    cache.hashed = cache.hashed || (cache.hash != nullptr && text->tokens + 1 >= l.rule.chunk);
  }
  gemm::Forward(context, out, l.attention.output, nullptr, mixed);
  AddDropout(context, {}, mixed, y1);
}

// The most cells that a head of one of the new tokens sees.
idx_t ReformerDecoder::MostSeen(std::size_t layer, Texts texts) const {
  const Layer& l = layers_[layer];
  idx_t most = 1;
  for (const CachedText* text : texts) {
    const CachedLayer& cache = text->layers[layer];
    const idx_t run = text->tokens + 1 - l.rule.FirstSeen(text->tokens);
    most = std::max(
        most, cache.hashed ? cache.hash->spec().rounds * cache.hash->spec().WindowSlots() : run);
  }
  return most;
}

// out (D) of one head of the token at `position`, whose cell and place in the sort are made.
void ReformerDecoder::AttendHead(const Layer& layer, CachedLayer& cache, idx_t position, idx_t h,
                                 const float* projected, const Scratch& scratch, float* out) const {
  const idx_t size = model_.config().head_size;
  const float* query = projected + h * size;
  WriteCell(layer, projected, h, cache.cells.NewCell(position));
  CachedQuery q;
  q.query = query;
  q.size = size;
  q.count = ListCells(layer, cache, position, h, query, scratch);
  q.cells = scratch.cells;
  q.weights = scratch.weights;
  q.out = out;
  if (layer.shares_keys) {  // keys have their scale, and a token looks at itself last
    q.self = cache.cells.Cell(position) + h * 2 * size;
  } else {
    q.scale = 1.0f / std::sqrt(static_cast<float>(size));
  }
  AttendCached(q);
}

// Lists in scratch.cells what head h of the token at `position`, whose query is x, sees; returns
// how many. Where the layer hashes, the token joins the sorted rounds of the head.
idx_t ReformerDecoder::ListCells(const Layer& layer, CachedLayer& cache, idx_t position, idx_t h,
                                 const float* x, const Scratch& scratch) const {
  const idx_t offset = h * 2 * model_.config().head_size;
  const auto list_run = [&](idx_t first) {
    for (idx_t t = first; t <= position; ++t) {
      scratch.cells[t - first] = cache.cells.Cell(t) + offset;
    }
    return position + 1 - first;
  };
  if (cache.hash == nullptr) return list_run(layer.rule.FirstSeen(position));
  const LshSpec& spec = cache.hash->spec();
  const idx_t window = spec.WindowSlots();
  cache.hash->Hash(h, x, scratch.projections, scratch.buckets);
  idx_t count = 0;
  for (idx_t r = 0; r < spec.rounds; ++r) {
    const idx_t list = h * spec.rounds + r, rank = cache.order.Place(list, scratch.buckets[r]);
    if (!cache.hashed) continue;
    cache.order.Window(list, (rank / spec.chunk - spec.before) * spec.chunk,
                       {scratch.tokens + count, static_cast<std::size_t>(window)});
    count += window;
  }
  if (!cache.hashed) return list_run(0);
  for (idx_t i = 0; i < count; ++i) {
    scratch.cells[i] = cache.cells.Cell(scratch.tokens[i]) + offset;
  }
  return count;
}

// The logits of each text from the last layer's streams (n, C).
void ReformerDecoder::Predict(Context& context, const View<float, 2>& y1, const View<float, 2>& y2,
                              Texts texts) {
  const idx_t n = y1.extent[0], width = 2 * y1.extent[1], vocabulary = model_.config().vocab_size;
  Arena::Frame frame(context.arena(),
                     Arena::Bytes<float>(n * width) + Arena::Bytes<float>(n * vocabulary));
  const View<float, 2> h(frame.Take<float>(n * width), {n, width});
  const View<float, 2> logits(frame.Take<float>(n * vocabulary), {n, vocabulary});
  model_.Normalise(context, y1, y2, h);
  model_.Logits(context, h, logits);
  for (idx_t i = 0; i < n; ++i) {
    std::copy_n(&logits(i, 0), vocabulary, texts[static_cast<std::size_t>(i)]->logits.data());
  }
}

}  // namespace longspan
