#include "model/hidden_rows.h"

#include <algorithm>
#include <array>

#include "base/arena.h"
#include "base/math.h"
#include "model/rows.h"
#include "ops/embedding/embedding.h"
#include "ops/feed_forward/feed_forward.h"
#include "parallel/parallel_for.h"

namespace longspan {

namespace {

constexpr idx_t kMeanColumns = 64;  // of a task

// Calls part(begin, length, columns, count) for the columns of each text, in parallel. A token of a
// text that is hidden, as the roles say, has no part in its mean.
template <class Part>
void ForTextColumns(Context& context, const BatchView& batch, idx_t width, const Part& part) {
  const std::vector<idx_t> borders = TextBorders(batch);
  const idx_t blocks = CeilDiv(width, kMeanColumns);
  ParallelFor(context, TextCount(batch) * blocks, [&](idx_t task, int) {
    const auto b = static_cast<std::size_t>(task / blocks);
    const idx_t column = task % blocks * kMeanColumns;
    part(task / blocks, borders[b], borders[b + 1] - borders[b], column,
         std::min(kMeanColumns, width - column));
  });
}

bool Counts(const BatchView& batch, idx_t t) {
  return batch.roles.empty() || batch.roles(t / batch.tokens, t % batch.tokens) != kHiddenToken;
}

idx_t CountedTokens(const BatchView& batch, idx_t begin, idx_t length) {
  idx_t counted = 0;
  for (idx_t t = begin; t < begin + length; ++t) counted += Counts(batch, t) ? 1 : 0;
  return std::max<idx_t>(1, counted);
}

void MeanOfTexts(Context& context, const BatchView& batch, const View<const float, 2>& hidden,
                 const View<float, 2>& mean) {
  ForTextColumns(context, batch, hidden.extent[1],
                 [&](idx_t text, idx_t begin, idx_t length, idx_t column, idx_t count) {
                   std::array<double, kMeanColumns> sums{};
                   for (idx_t t = begin; t < begin + length; ++t) {
                     if (!Counts(batch, t)) continue;
                     const float* row = &hidden(t, column);
                     for (idx_t c = 0; c < count; ++c) {
                       sums[static_cast<std::size_t>(c)] += static_cast<double>(row[c]);
                     }
                   }
                   const auto n = static_cast<double>(CountedTokens(batch, begin, length));
                   for (idx_t c = 0; c < count; ++c) {
                     mean(text, column + c) =
                         static_cast<float>(sums[static_cast<std::size_t>(c)] / n);
                   }
                 });
}

void SpreadMean(Context& context, const BatchView& batch, const View<const float, 2>& dmean,
                const View<float, 2>& dhidden) {
  ForTextColumns(context, batch, dhidden.extent[1],
                 [&](idx_t text, idx_t begin, idx_t length, idx_t column, idx_t count) {
                   const auto n = static_cast<float>(CountedTokens(batch, begin, length));
                   for (idx_t t = begin; t < begin + length; ++t) {
                     float* row = &dhidden(t, column);
                     const bool counted = Counts(batch, t);
                     for (idx_t c = 0; c < count; ++c) {
                       row[c] = counted ? dmean(text, column + c) / n : 0.0f;
                     }
                   }
                 });
}

}  // namespace

void ReadHidden(Context& context, HeadReads reads, const BatchView& batch,
                const View<const float, 2>& hidden, const View<float, 2>& h) {
  if (reads == HeadReads::kMeanTokens) return MeanOfTexts(context, batch, hidden, h);
  EmbeddingForward(context, TokensRead(reads, batch), hidden, h);
}

void SpreadHidden(Context& context, HeadReads reads, const BatchView& batch,
                  const View<const float, 2>& dh, const View<float, 2>& dhidden) {
  if (reads == HeadReads::kMeanTokens) return SpreadMean(context, batch, dh, dhidden);
  ZeroRows(context, dhidden);
  EmbeddingBackward(context, TokensRead(reads, batch), dh, dhidden);
}

HiddenRows::HiddenRows(Context& context, HeadReads reads, const BatchView& batch,
                       const View<float, 2>& hidden, const View<float, 2>& dhidden)
    : context_(context),
      reads_(reads),
      batch_(batch),
      tokens_(TokensRead(reads, batch)),
      hidden_(hidden),
      dhidden_(dhidden) {}

idx_t HiddenRows::count() const {
  if (reads_ == HeadReads::kEveryToken) return hidden_.extent[0];
  if (reads_ == HeadReads::kMeanTokens) return TextCount(batch_);
  return static_cast<idx_t>(tokens_.size());
}

void HiddenRows::Read(const Look& look) {
  if (reads_ == HeadReads::kEveryToken) return look(0, hidden_);
  const idx_t width = hidden_.extent[1];
  Arena::Frame frame(context_.arena(), Arena::Bytes<float>(count() * width));
  const View<float, 2> h = TakeRows(frame, count(), width);
  ReadHidden(context_, reads_, batch_, hidden_, h);
  look(0, h);
}

void HiddenRows::Differentiate(const Gradient& gradient) {
  if (reads_ == HeadReads::kEveryToken) return gradient(0, hidden_, dhidden_);
  const idx_t width = hidden_.extent[1];
  Arena::Frame frame(context_.arena(), 2 * Arena::Bytes<float>(count() * width));
  const View<float, 2> h = TakeRows(frame, count(), width), dh = TakeRows(frame, count(), width);
  ReadHidden(context_, reads_, batch_, hidden_, h);
  gradient(0, h, dh);
  SpreadHidden(context_, reads_, batch_, dh, dhidden_);
}

Tensor LogitsOf(Context& context, const HeadLayer& head, const ParameterTable& parameters,
                const Bf16Weights* bf16, const BatchView& batch,
                const View<const float, 2>& hidden) {
  const bool texts =
      head.reads() == HeadReads::kFirstTokens || head.reads() == HeadReads::kMeanTokens;
  const idx_t count = texts ? TextCount(batch) : hidden.extent[0], width = hidden.extent[1];
  Tensor logits(head.LogitsShape(batch, count));
  const View<float, 2> rows(logits.data<float>(), {count, head.outputs()});
  if (!texts) {
    head.Logits(context, parameters, bf16, hidden, rows);
    return logits;
  }
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(count * width));
  const View<float, 2> h = TakeRows(frame, count, width);
  ReadHidden(context, head.reads(), batch, hidden, h);
  head.Logits(context, parameters, bf16, h, rows);
  return logits;
}

void PoolFirstTokens(Context& context, const ParameterTable& parameters, const Linear& pooler,
                     const BatchView& batch, const View<const float, 2>& hidden,
                     const View<float, 2>& pooled) {
  const idx_t channels = hidden.extent[1];
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(TextCount(batch) * channels));
  const View<float, 2> h = TakeRows(frame, TextCount(batch), channels);
  EmbeddingForward(context, TokensRead(HeadReads::kFirstTokens, batch), hidden, h);
  pooler.Forward(context, parameters, h, pooled);
  Activate(context, Activation::kTanh, pooled);
}

}  // namespace longspan
