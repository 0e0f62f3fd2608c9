// What a Reformer's head reads of the streams, its logits and its loss.
#include "base/arena.h"
#include "base/errors.h"
#include "families/reformer/reformer.h"
#include "families/reformer/reformer_head_rows.h"
#include "families/reformer/reformer_sites.h"
#include "model/row_slab.h"
#include "ops/layer_norm/layer_norm.h"

namespace longspan {

const HeadLayer& Reformer::Head() const {
  Check(head_ != nullptr, ErrorCode::kUsage,
        "model: a bare ReformerModel has no head, so no logits and no loss");
  return *head_;
}

void Reformer::Normalise(Context& context, const View<float, 2>& y1, const View<float, 2>& y2,
                         const View<float, 2>& h) const {
  JoinRows(context, y1, y2, h);
  LayerNormForward(context, norm_->Weights(parameters_), h, h);
}

void Reformer::Logits(Context& context, const View<const float, 2>& h,
                      const View<float, 2>& logits) const {
  Check(config_.head == HeadKind::kCausalLm || config_.head == HeadKind::kMaskedLm,
        ErrorCode::kUsage, "model: a {} has no logits of tokens", ReformerClass(config_.head));
  head_->Logits(context, parameters_, nullptr, h, logits);
}

std::unique_ptr<HeadRows> Reformer::RowsOf(Context& context, const BatchView& batch,
                                           const StreamPair& streams,
                                           const StepDropout& dropout) const {
  const TokenSlab own = OwnTokens(context, batch.rows * batch.tokens);
  FinalNorm norm{norm_->Weights(parameters_), {}, SiteOf(dropout, config_.hidden_dropout, kFinal)};
  if (!streams.dy1.empty()) norm.gradients = norm_->Gradients(parameters_);
  if (head_ != nullptr && head_->reads() == HeadReads::kFirstTokens) {
    return std::make_unique<FirstTokenRows>(context, norm, streams,
                                            TokensRead(HeadReads::kFirstTokens, batch), own);
  }
  return std::make_unique<StreamRows>(context, norm, streams, own.begin);
}

HeadLoss Reformer::HeadLossOf(Context& context, const HeadCall& call, HeadRows& rows,
                              bool backward) const {
  const RowGroup* const ranks = context.row_group();
  if (ranks == nullptr) return head_->Loss(context, call, rows, backward);
  if (!ReadsTexts(head_->reads())) {
    const HeadLoss loss = head_->Loss(context, call, rows, backward);
    return head_->joins_tokens() ? loss : SumOverRows(context, loss);
  }
  // All ranks read the same rows: the first one computes the loss and its gradient.
  HeadLoss loss;
  if (ranks->is_first() || context.rehearsal()) {
    loss = head_->Loss(context, call, rows, backward);
  } else if (backward) {
    rows.Differentiate({});
  }
  if (!context.rehearsal()) context.row_group()->Broadcast(&loss, sizeof(loss));
  return loss;
}

Tensor Reformer::HeadLogits(Context& context, idx_t rows, const View<float, 2>& y1,
                            const View<float, 2>& y2) const {
  const HeadLayer& head = Head();
  BatchView whole;
  whole.rows = rows;
  whole.tokens = y1.extent[0] / rows;
  const auto read = RowsOf(context, whole, {y1, y2}, {});
  Tensor logits({read->count(), head.outputs()});
  read->Read([&](idx_t begin, const View<const float, 2>& h) {
    head.Logits(context, parameters_, nullptr, h, logits.view<2>().Rows(begin, h.extent[0]));
  });
  return logits;
}

Tensor Reformer::LogitsOfTexts(Context& context, const ReformerBatch& batch) const {
  CheckBatch(batch, Pass::kEvaluation);
  CheckShared(context, batch);
  const HeadLayer& head = Head();
  const idx_t n = batch.rows * batch.tokens, own = OwnTokens(context, n).size();
  const idx_t channels = config_.hidden_size;
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(own * channels));
  const View<float, 2> y1(frame.Take<float>(own * channels), {own, channels});
  const View<float, 2> y2(frame.Take<float>(own * channels), {own, channels});
  ForwardThroughLayers(context, batch, {}, false, y1, y2, {});
  const auto read = RowsOf(context, batch, {y1, y2}, {});
  const bool texts = ReadsTexts(head.reads());
  Tensor logits({texts ? read->count() : n, head.outputs()});
  read->Read([&](idx_t begin, const View<const float, 2>& h) {
    head.Logits(context, parameters_, nullptr, h, logits.view<2>().Rows(begin, h.extent[0]));
  });
  if (!texts) GatherRowsOfAll(context, logits.view<2>());
  return logits;
}

void Reformer::EncodeTexts(Context& context, const ReformerBatch& batch,
                           const View<float, 2>& h) const {
  CheckBatch(batch, Pass::kEvaluation);
  CheckShared(context, batch);
  const TokenSlab own = OwnTokens(context, batch.rows * batch.tokens);
  const idx_t n = own.size(), channels = config_.hidden_size;
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(n * channels));
  const View<float, 2> y1(frame.Take<float>(n * channels), {n, channels});
  const View<float, 2> y2(frame.Take<float>(n * channels), {n, channels});
  ForwardOwn(context, batch, y1, y2);
  Normalise(context, y1, y2, h.Rows(own.begin, n));
  GatherRowsOfAll(context, h);
}

void Reformer::ForwardOwn(Context& context, const ReformerBatch& batch, const View<float, 2>& y1,
                          const View<float, 2>& y2) const {
  if (context.row_group() == nullptr) return Encode(context, batch, y1, y2);
  CheckBatch(batch, Pass::kEvaluation);
  ForwardThroughLayers(context, batch, {}, false, y1, y2, {});
}

Tensor Reformer::LogitsOfRows(Context& context, const View<const float, 2>& h) const {
  Tensor logits({h.extent[0], Head().outputs()});
  Head().Logits(context, parameters_, nullptr, h, logits.view<2>());
  return logits;
}

HeadLoss Reformer::Loss(Context& context, const ReformerBatch& batch) const {
  Head().CheckTargets(batch);
  CheckShared(context, batch);
  const idx_t n = OwnTokens(context, batch.rows * batch.tokens).size();
  const idx_t channels = config_.hidden_size;
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(n * channels));
  const View<float, 2> y1(frame.Take<float>(n * channels), {n, channels});
  const View<float, 2> y2(frame.Take<float>(n * channels), {n, channels});
  ForwardOwn(context, batch, y1, y2);
  const auto rows = RowsOf(context, batch, {y1, y2}, {});
  return HeadLossOf(context, {parameters_, nullptr, batch}, *rows, false);
}

}  // namespace longspan
