#include "model/hidden_rows.h"

#include "base/arena.h"
#include "model/rows.h"
#include "ops/embedding/embedding.h"
#include "ops/feed_forward/feed_forward.h"

namespace longspan {

HiddenRows::HiddenRows(Context& context, HeadReads reads, const BatchView& batch,
                       const View<float, 2>& hidden, const View<float, 2>& dhidden)
    : context_(context),
      all_(reads == HeadReads::kEveryToken),
      tokens_(TokensRead(reads, batch)),
      hidden_(hidden),
      dhidden_(dhidden) {}

idx_t HiddenRows::count() const {
  return all_ ? hidden_.extent[0] : static_cast<idx_t>(tokens_.size());
}

void HiddenRows::Read(const Look& look) {
  if (all_) return look(0, hidden_);
  const idx_t width = hidden_.extent[1];
  Arena::Frame frame(context_.arena(), Arena::Bytes<float>(count() * width));
  const View<float, 2> h = TakeRows(frame, count(), width);
  EmbeddingForward(context_, tokens_, hidden_, h);
  look(0, h);
}

void HiddenRows::Differentiate(const Gradient& gradient) {
  if (all_) return gradient(0, hidden_, dhidden_);
  const idx_t width = hidden_.extent[1];
  Arena::Frame frame(context_.arena(), 2 * Arena::Bytes<float>(count() * width));
  const View<float, 2> h = TakeRows(frame, count(), width), dh = TakeRows(frame, count(), width);
  EmbeddingForward(context_, tokens_, hidden_, h);
  gradient(0, h, dh);
  ZeroRows(context_, dhidden_);
  EmbeddingBackward(context_, tokens_, dh, dhidden_);
}

Tensor LogitsOf(Context& context, const HeadLayer& head, const ParameterTable& parameters,
                const Bf16Weights* bf16, const BatchView& batch,
                const View<const float, 2>& hidden) {
  const bool first = head.reads() == HeadReads::kFirstTokens;
  const idx_t count = first ? batch.rows : hidden.extent[0], width = hidden.extent[1];
  Tensor logits(head.LogitsShape(batch, count));
  const View<float, 2> rows(logits.data<float>(), {count, head.outputs()});
  if (!first) {
    head.Logits(context, parameters, bf16, hidden, rows);
    return logits;
  }
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(count * width));
  const View<float, 2> h = TakeRows(frame, count, width);
  EmbeddingForward(context, TokensRead(head.reads(), batch), hidden, h);
  head.Logits(context, parameters, bf16, h, rows);
  return logits;
}

void PoolFirstTokens(Context& context, const ParameterTable& parameters, const Linear& pooler,
                     const BatchView& batch, const View<const float, 2>& hidden,
                     const View<float, 2>& pooled) {
  const idx_t channels = hidden.extent[1];
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(batch.rows * channels));
  const View<float, 2> h = TakeRows(frame, batch.rows, channels);
  EmbeddingForward(context, TokensRead(HeadReads::kFirstTokens, batch), hidden, h);
  pooler.Forward(context, parameters, h, pooled);
  Activate(context, Activation::kTanh, pooled);
}

}  // namespace longspan
