#include "model/hidden_rows.h"

#include <algorithm>
#include <span>
#include <utility>

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

// This rank's tokens of [begin, begin + length), as rows of its hidden states.
TokenSlab RowsOfText(const TokenSlab& slab, idx_t begin, idx_t length) {
  const idx_t from = std::max(begin, slab.begin);
  return {from - slab.begin, std::max(from, std::min(begin + length, slab.end)) - slab.begin};
}

// sums (texts, W): of this rank's tokens.
void SumOfTexts(Context& context, const BatchView& batch, const TokenSlab& slab,
                const View<const float, 2>& hidden, double* sums) {
  const idx_t width = hidden.extent[1];
  ForTextColumns(context, batch, width,
                 [&](idx_t text, idx_t begin, idx_t length, idx_t column, idx_t count) {
                   double* sum = sums + text * width + column;
                   std::fill_n(sum, count, 0.0);
                   const TokenSlab own = RowsOfText(slab, begin, length);
                   for (idx_t t = own.begin; t < own.end; ++t) {
                     if (!Counts(batch, slab.begin + t)) continue;
                     const float* row = &hidden(t, column);
                     for (idx_t c = 0; c < count; ++c) sum[c] += static_cast<double>(row[c]);
                   }
                 });
}

void MeanOfTexts(Context& context, const BatchView& batch, const View<const float, 2>& hidden,
                 const View<float, 2>& mean) {
  const TokenSlab slab = OwnTokens(context, batch.rows * batch.tokens);
  Arena::Frame frame(context.arena(), Arena::Bytes<double>(mean.size()));
  double* sums = frame.Take<double>(mean.size());
  SumOfTexts(context, batch, slab, hidden, sums);
  if (RowGroup* group = context.row_group(); group != nullptr && !context.rehearsal()) {
    group->Sum(std::span<double>(sums, static_cast<std::size_t>(mean.size())));
  }
  ForTextColumns(context, batch, hidden.extent[1],
                 [&](idx_t text, idx_t begin, idx_t length, idx_t column, idx_t count) {
                   const auto n = static_cast<double>(CountedTokens(batch, begin, length));
                   for (idx_t c = column; c < column + count; ++c) {
                     mean(text, c) = static_cast<float>(sums[text * mean.extent[1] + c] / n);
                   }
                 });
}

void SpreadMean(Context& context, const BatchView& batch, const View<const float, 2>& dmean,
                const View<float, 2>& dhidden) {
  const TokenSlab slab = OwnTokens(context, batch.rows * batch.tokens);
  ForTextColumns(context, batch, dhidden.extent[1],
                 [&](idx_t text, idx_t begin, idx_t length, idx_t column, idx_t count) {
                   const auto n = static_cast<float>(CountedTokens(batch, begin, length));
                   const TokenSlab own = RowsOfText(slab, begin, length);
                   for (idx_t t = own.begin; t < own.end; ++t) {
                     float* row = &dhidden(t, column);
                     const bool counted = Counts(batch, slab.begin + t);
                     for (idx_t c = 0; c < count; ++c) {
                       row[c] = counted ? dmean(text, column + c) / n : 0.0f;
                     }
                   }
                 });
}

// Of the tokens that a head reads one by one, those of this rank.
LastRows OwnReads(const Context& context, HeadReads reads, const BatchView& batch) {
  return {TokensRead(reads, batch), OwnTokens(context, batch.rows * batch.tokens)};
}

// Whether `hidden` has the rows alone that are read.
bool HasThemAlone(const LastRows& own, const View<const float, 2>& hidden) {
  return hidden.extent[0] == own.count();
}

// to (R, W) = the rows of hidden, or of a gradient, that are read.
void TakeReads(Context& context, const LastRows& own, const View<const float, 2>& hidden,
               const View<float, 2>& to) {
  if (HasThemAlone(own, hidden)) return CopyRows(context, hidden, to);
  EmbeddingForward(context, own.rows(), hidden, to);
}

// dhidden = dh (R, W) in the rows that are read, else 0.
void SpreadReads(Context& context, const LastRows& own, const View<const float, 2>& dh,
                 const View<float, 2>& dhidden) {
  if (HasThemAlone(own, dhidden)) return CopyRows(context, dh, dhidden);
  ZeroRows(context, dhidden);
  if (own.count() > 0) EmbeddingBackward(context, own.rows(), dh, dhidden);
}

// The vectors of texts, of which the group's first rank has the head.
class TextRows final : public HeadRows {
 public:
  TextRows(const View<float, 2>& h, const View<float, 2>& dh) : h_(h), dh_(dh) {}
  idx_t count() const override { return h_.extent[0]; }
  void Read(const Look& look) override { look(0, h_); }
  void Differentiate(const Gradient& gradient) override { gradient(0, h_, dh_); }

 private:
  const View<float, 2> h_, dh_;
};

HeadLoss LossOfTexts(Context& context, RowGroup& group, const HeadLayer& head, const HeadCall& call,
                     const View<float, 2>& hidden, const View<float, 2>& dhidden, bool backward) {
  const idx_t count = TextCount(call.batch), width = hidden.extent[1];
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(count * width));
  const View<float, 2> h = TakeRows(frame, count, width), dh = TakeRows(frame, count, width);
  ReadHidden(context, head.reads(), call.batch, hidden, h);
  HeadLoss loss;
  if (group.is_first() || context.rehearsal()) {
    TextRows rows(h, dh);
    loss = head.Loss(context, call, rows, backward);
  }
  if (!context.rehearsal()) {
    group.Broadcast(&loss, sizeof(loss));
    if (backward) group.Broadcast(dh.data, static_cast<std::size_t>(dh.size()) * sizeof(float));
  }
  if (backward) SpreadHidden(context, head.reads(), call.batch, dh, dhidden);
  return loss;
}

}  // namespace

LastRows RowsOfHead(const Context& context, HeadReads reads, const BatchView& batch) {
  if (reads == HeadReads::kEveryToken || reads == HeadReads::kMeanTokens) return {};
  LastRows own = OwnReads(context, reads, batch);
  const bool every = own.count() == OwnTokens(context, batch.rows * batch.tokens).size();
  return every ? LastRows() : own;
}

double LeftOutFlop(HeadReads reads, const BatchView& batch, double numbers, idx_t frozen,
                   bool backward) {
  if (reads == HeadReads::kEveryToken || reads == HeadReads::kMeanTokens) return 0.0;
  // Without labels there is no loss, but logits of all tokens.
  if (reads == HeadReads::kLabelledTokens && batch.labels.empty()) return 0.0;
  const idx_t others = batch.rows * batch.tokens - std::ssize(TokensRead(reads, batch));
  const double passed = (backward ? 3.0 : 1.0) * numbers - static_cast<double>(frozen);
  return 2.0 * static_cast<double>(others) * passed;
}

void ReadHidden(Context& context, HeadReads reads, const BatchView& batch,
                const View<const float, 2>& hidden, const View<float, 2>& h) {
  if (reads == HeadReads::kMeanTokens) return MeanOfTexts(context, batch, hidden, h);
  const LastRows own = OwnReads(context, reads, batch);
  RowGroup* group = context.row_group();
  if (group == nullptr) return TakeReads(context, own, hidden, h);
  // The vectors of other ranks' tokens: nothing is added to them but zeros.
  ZeroRows(context, h);
  if (own.count() > 0) TakeReads(context, own, hidden, h.Rows(own.first(), own.count()));
  if (context.rehearsal()) return;
  group->Sum(std::span<float>(h.data, static_cast<std::size_t>(h.size())));
}

void SpreadHidden(Context& context, HeadReads reads, const BatchView& batch,
                  const View<const float, 2>& dh, const View<float, 2>& dhidden) {
  if (reads == HeadReads::kMeanTokens) return SpreadMean(context, batch, dh, dhidden);
  const LastRows own = OwnReads(context, reads, batch);
  SpreadReads(context, own, dh.Rows(own.first(), own.count()), dhidden);
}

HeadLoss LossOfHidden(Context& context, const HeadLayer& head, const HeadCall& call,
                      const View<float, 2>& hidden, const View<float, 2>& dhidden, bool backward) {
  RowGroup* group = context.row_group();
  if (group != nullptr && ReadsTexts(head.reads())) {
    return LossOfTexts(context, *group, head, call, hidden, dhidden, backward);
  }
  HiddenRows rows(context, head.reads(), call.batch, hidden, dhidden);
  const HeadLoss loss = head.Loss(context, call, rows, backward);
  return head.joins_tokens() ? loss : SumOverRows(context, loss);
}

HiddenRows::HiddenRows(Context& context, HeadReads reads, const BatchView& batch,
                       const View<float, 2>& hidden, const View<float, 2>& dhidden)
    : context_(context),
      reads_(reads),
      batch_(batch),
      own_(OwnReads(context, reads, batch)),
      in_place_(reads == HeadReads::kEveryToken ||
                (reads != HeadReads::kMeanTokens && HasThemAlone(own_, hidden))),
      first_(reads == HeadReads::kEveryToken ? OwnTokens(context, batch.rows * batch.tokens).begin
                                             : own_.first()),
      hidden_(hidden),
      dhidden_(dhidden) {}

idx_t HiddenRows::count() const {
  if (reads_ == HeadReads::kEveryToken) return hidden_.extent[0];
  if (reads_ == HeadReads::kMeanTokens) return TextCount(batch_);
  return own_.count();
}

void HiddenRows::Read(const Look& look) {
  if (in_place_) return look(first_, hidden_);
  const idx_t width = hidden_.extent[1];
  Arena::Frame frame(context_.arena(), Arena::Bytes<float>(count() * width));
  const View<float, 2> h = TakeRows(frame, count(), width);
  Gather(h);
  look(first_, h);
}

void HiddenRows::Gather(const View<float, 2>& h) {
  if (reads_ == HeadReads::kMeanTokens) return ReadHidden(context_, reads_, batch_, hidden_, h);
  TakeReads(context_, own_, hidden_, h);
}

void HiddenRows::Differentiate(const Gradient& gradient) {
  if (in_place_) return gradient(first_, hidden_, dhidden_);
  const idx_t width = hidden_.extent[1];
  Arena::Frame frame(context_.arena(), 2 * Arena::Bytes<float>(count() * width));
  const View<float, 2> h = TakeRows(frame, count(), width), dh = TakeRows(frame, count(), width);
  Gather(h);
  gradient(first_, h, dh);
  if (reads_ == HeadReads::kMeanTokens) {
    return SpreadHidden(context_, reads_, batch_, dh, dhidden_);
  }
  SpreadReads(context_, own_, dh, dhidden_);
}

Tensor LogitsOf(Context& context, const HeadLayer& head, const ParameterTable& parameters,
                const Bf16Weights* bf16, const BatchView& batch, const View<const float, 2>& hidden,
                const StepDropout& dropout) {
  const bool texts = ReadsTexts(head.reads());
  if (dropout.active && !texts) RefuseTextLogits();
  const idx_t tokens =
      context.row_group() == nullptr ? hidden.extent[0] : batch.rows * batch.tokens;
  const idx_t count = texts ? TextCount(batch) : tokens, width = hidden.extent[1];
  Tensor logits(head.LogitsShape(batch, count));
  const View<float, 2> rows(logits.data<float>(), {count, head.outputs()});
  if (!texts) {
    const TokenSlab slab = OwnTokens(context, tokens);
    head.Logits(context, parameters, bf16, hidden, rows.Rows(slab.begin, slab.size()));
    GatherRowsOfAll(context, rows);
    return logits;
  }
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(count * width));
  const View<float, 2> h = TakeRows(frame, count, width);
  ReadHidden(context, head.reads(), batch, hidden, h);
  if (dropout.active) {
    head.LogitsInStep(context, parameters, dropout, h, rows);
  } else {
    head.Logits(context, parameters, bf16, h, rows);
  }
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
