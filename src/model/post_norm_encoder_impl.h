// The definitions of PostNormEncoder, for the source that instantiates it.
#pragma once

#include <algorithm>
#include <utility>

#include "base/arena.h"
#include "base/errors.h"
#include "model/heads_exchange.h"
#include "model/hidden_rows.h"
#include "model/layer_stack.h"
#include "model/post_norm_encoder.h"
#include "model/row_slab.h"
#include "model/rows.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace longspan {

// ---- parameters ---------------------------------------------------------------------------------

template <class Kind>
PostNormEncoder<Kind>::PostNormEncoder(Config config, ParameterMemory memory)
    : config_(std::move(config)),
      prefix_(config_.head == HeadKind::kNone ? "" : Kind::Prefix(config_)) {
  const idx_t channels = config_.hidden_size;
  embeddings_.emplace(config_, prefix_ + "embeddings.", parameters_);
  for (std::size_t i = 0; i < config_.layers(); ++i) {
    parameters_.BeginStage();
    layers_.emplace_back(config_, i, prefix_ + "encoder.layer." + std::to_string(i) + ".",
                         parameters_);
  }
  parameters_.BeginStage();
  if (config_.head == HeadKind::kNone && config_.has_pooler()) {
    pooler_.emplace("pooler.dense.", channels, channels, parameters_);
  }
  head_ = Kind::MakeHead(config_, prefix_, parameters_);
  if (memory == ParameterMemory::kOwn) parameters_.Allocate();
}

template <class Kind>
void PostNormEncoder<Kind>::Initialise(std::uint64_t seed,
                                       const std::function<bool(std::string_view name)>& which) {
  parameters_.Draw(seed, config_.initializer_range, config_.initializer_range, which);
  embeddings_->ZeroPadding(parameters_, which);
}

template <class Kind>
const HeadLayer& PostNormEncoder<Kind>::Head() const {
  Check(head_ != nullptr, ErrorCode::kUsage,
        "model: a bare {} has no head, so no logits and no loss",
        Kind::Class(config_, HeadKind::kNone));
  return *head_;
}

// ---- evaluation ---------------------------------------------------------------------------------

template <class Kind>
void PostNormEncoder<Kind>::ComputeIn(DType dtype, LayerCopies copies) {
  Check(dtype == DType::kF32 || dtype == DType::kBF16, ErrorCode::kUsage,
        "model: computing in {} is not there; use F32 or BF16", DTypeName(dtype));
  if (dtype == computes_in() && (bf16_ == nullptr || bf16_->copies() == copies)) return;
  bf16_.reset();
  if (dtype == DType::kF32) return;
  const ParameterId tall = head_ == nullptr ? kNoParameter : head_->TallMatrix();
  bf16_ = EncoderBf16Weights(parameters_, copies, prefix_ + "encoder.layer.", tall);
}

template <class Kind>
const Bf16Weights* PostNormEncoder<Kind>::FreshBf16(Context& context) const {
  if (bf16_ != nullptr) bf16_->Refresh(context, parameters_);
  return bf16_.get();
}

template <class Kind>
void PostNormEncoder<Kind>::EnterLayer(Context& context, std::size_t i) const {
  if (bf16_ != nullptr) bf16_->Enter(context, parameters_, i);
}

template <class Kind>
Dropout PostNormEncoder<Kind>::EmbeddingSite(const StepDropout& dropout) const {
  return SiteOf(dropout, config_.hidden_dropout, kEmbeddings);
}

template <class Kind>
typename PostNormEncoder<Kind>::Call PostNormEncoder<Kind>::CallOf(Context& context,
                                                                   const Texts& texts,
                                                                   const StepDropout& dropout,
                                                                   std::size_t layer, bool backward,
                                                                   const LastRows& last) const {
  Call call{parameters_, bf16_.get(), texts, dropout};
  call.dropout.key = DeriveKey(dropout.key, kFirstLayer + layer);
  call.backward = backward;
  call.layer = layer;
  call.group = context.row_group();
  if (!last.all() && layer + 1 == layers_.size()) call.last = &last;
  return call;
}

template <class Kind>
void PostNormEncoder<Kind>::Encode(Context& context, const BatchView& batch,
                                   const View<float, 2>& hidden, const Shown& shown,
                                   const StepDropout& dropout) const {
  embeddings_->CheckBatch(batch);
  if (shown.attention != nullptr || shown.hidden_states != nullptr) CheckNotSplit(context);
  const TokenSlab own = OwnTokens(context, batch.rows * batch.tokens);
  EncodeOwn(context, batch, hidden.Rows(own.begin, own.size()), shown, dropout, {});
  GatherRowsOfAll(context, hidden);
}

template <class Kind>
void PostNormEncoder<Kind>::EncodeOwn(Context& context, const BatchView& batch,
                                      const View<float, 2>& hidden, const Shown& shown,
                                      const StepDropout& dropout, const LastRows& last) const {
  if (FreshBf16(context) == nullptr) {
    return EncodeIn<float>(context, batch, hidden, shown, dropout, last);
  }
  EncodeIn<bfloat16>(context, batch, hidden, shown, dropout, last);
}

template <class Kind>
template <class T>
void PostNormEncoder<Kind>::EncodeIn(Context& context, const BatchView& batch,
                                     const View<float, 2>& hidden, const Shown& shown,
                                     const StepDropout& dropout, const LastRows& last) const {
  Check(shown.attention == nullptr || batch.documents.empty(), ErrorCode::kUsage,
        "batch: attention is shown of whole rows, not of documents side by side in them");
  CheckHeadsForRows(context.row_group(), config_.heads);
  const Texts texts(config_, batch, dropout.active, context.row_group());
  const auto show = [&](std::size_t) {
    if (shown.hidden_states != nullptr) shown.hidden_states->push_back(CopyOf(context, hidden));
  };
  const LayerStack stack(
      context, layers_,
      [&](std::size_t i) {
        Call call = CallOf(context, texts, dropout, i, false, last);
        call.observer = shown.attention;
        return call;
      },
      [&](std::size_t i) { EnterLayer(context, i); });
  embeddings_->Forward(context, parameters_, batch, EmbeddingSite(dropout), hidden);
  stack.template Encode<T>(hidden, show);
  show(layers_.size());
}

template <class Kind>
void PostNormEncoder<Kind>::Pool(Context& context, const BatchView& batch,
                                 const View<const float, 2>& hidden,
                                 const View<float, 2>& pooled) const {
  const Linear* pooler = pooler_ ? &*pooler_ : head_ == nullptr ? nullptr : head_->pooler();
  Check(pooler != nullptr, ErrorCode::kUsage, "model: this {} has no pooler",
        Kind::Class(config_, config_.head));
  PoolFirstTokens(context, parameters_, *pooler, batch, hidden, pooled);
}

template <class Kind>
Tensor PostNormEncoder<Kind>::Logits(Context& context, const BatchView& batch,
                                     const View<const float, 2>& hidden) const {
  return LogitsOf(context, Head(), parameters_, FreshBf16(context), batch, hidden);
}

template <class Kind>
Tensor PostNormEncoder<Kind>::LogitsOfTexts(Context& context, const BatchView& batch,
                                            const StepDropout& dropout) const {
  embeddings_->CheckBatch(batch);
  const idx_t n = OwnTokens(context, batch.rows * batch.tokens).size();
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(n * config_.hidden_size));
  const View<float, 2> hidden = TakeRows(frame, n, config_.hidden_size);
  const HeadReads reads = Head().reads();
  const LastRows last = ReadsTexts(reads) ? RowsOfHead(context, reads, batch) : LastRows();
  EncodeOwn(context, batch, hidden, {}, dropout, last);
  return LogitsOf(context, Head(), parameters_, FreshBf16(context), batch, last.Of(hidden),
                  dropout);
}

template <class Kind>
HeadLoss PostNormEncoder<Kind>::Loss(Context& context, const BatchView& batch) const {
  embeddings_->CheckBatch(batch);
  Head().CheckTargets(batch);
  const idx_t n = OwnTokens(context, batch.rows * batch.tokens).size();
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(n * config_.hidden_size));
  const View<float, 2> hidden = TakeRows(frame, n, config_.hidden_size);
  const LastRows last = RowsOfHead(context, Head().reads(), batch);
  EncodeOwn(context, batch, hidden, {}, {}, last);
  return LossOfHidden(context, Head(), {parameters_, FreshBf16(context), batch}, last.Of(hidden),
                      {}, false);
}

// ---- training -----------------------------------------------------------------------------------

// Forward, the head's gradient, backward: what every training loss has in common.
template <class Kind>
void PostNormEncoder<Kind>::Differentiate(Context& context, const BatchView& batch,
                                          const EncoderStep& step, const LastRows& last,
                                          const HeadGradient& head_gradient) {
  const std::size_t layers = layers_.size();
  Check(step.recompute.empty() || step.recompute.size() == layers, ErrorCode::kUsage,
        "step: {} choices of what to recompute for {} layers", step.recompute.size(), layers);
  if (FreshBf16(context) == nullptr) {
    return DifferentiateIn<float>(context, batch, step, last, head_gradient);
  }
  DifferentiateIn<bfloat16>(context, batch, step, last, head_gradient);
}

template <class Kind>
template <class T>
void PostNormEncoder<Kind>::DifferentiateIn(Context& context, const BatchView& batch,
                                            const EncoderStep& step, const LastRows& last,
                                            const HeadGradient& head_gradient) {
  CheckHeadsForRows(context.row_group(), config_.heads);
  const Texts texts(config_, batch, true, context.row_group());
  const Dropout site = EmbeddingSite(step.dropout);
  const LayerStack stack(
      context, layers_,
      [&](std::size_t i) {
        return CallOf(context, texts, step.dropout, i,
                      i >= FirstTrainedLayer(parameters_.first_stage()), last);
      },
      [&](std::size_t i) { EnterLayer(context, i); });
  stack.template Differentiate<T>(
      {OwnTokens(context, texts.n()).size(), config_.hidden_size}, step.recompute, parameters_,
      [&](const View<float, 2>& stream) {
        embeddings_->Forward(context, parameters_, batch, site, stream);
      },
      [&](const View<float, 2>& stream, const View<float, 2>& d) {
        head_gradient(last.Of(stream), last.Of(d));
      },
      [&](const View<float, 2>& d) {
        embeddings_->Backward(context, parameters_, batch, site, d);
      });
}

template <class Kind>
HeadLoss PostNormEncoder<Kind>::LossAndGradients(Context& context, const BatchView& batch,
                                                 const EncoderStep& step) {
  embeddings_->CheckBatch(batch);
  Head().CheckTargets(batch);
  HeadLoss loss;
  Differentiate(context, batch, step, RowsOfHead(context, Head().reads(), batch),
                [&](const View<float, 2>& hidden, const View<float, 2>& dhidden) {
                  loss = LossOfHidden(context, Head(),
                                      {parameters_, bf16_.get(), batch, step.scale, step.dropout},
                                      hidden, dhidden, true);
                });
  return loss;
}

template <class Kind>
double PostNormEncoder<Kind>::CotangentGradients(Context& context, const BatchView& batch,
                                                 const View<const float, 2>& cotangent,
                                                 const EncoderStep& step) {
  embeddings_->CheckBatch(batch);
  const TokenSlab own = OwnTokens(context, batch.rows * batch.tokens);
  const View<const float, 2> part = cotangent.Rows(own.begin, own.size());
  double total = 0.0;
  Differentiate(context, batch, step, {},
                [&](const View<float, 2>& hidden, const View<float, 2>& dhidden) {
                  CopyRows(context, part, dhidden);
                  if (context.rehearsal()) return;
                  for (idx_t t = 0; t < hidden.extent[0]; ++t) {
                    for (idx_t c = 0; c < hidden.extent[1]; ++c) {
                      total += static_cast<double>(hidden(t, c)) * static_cast<double>(part(t, c));
                    }
                  }
                });
  return total;
}

// ---- work ---------------------------------------------------------------------------------------

// With the backward of the layers from `backward_from` on, and of the head where `head_backward`
// says so.
template <class Kind>
double PostNormEncoder<Kind>::Gflop(const BatchView& batch, std::size_t backward_from,
                                    bool head_backward) const {
  const auto n = static_cast<double>(batch.rows * batch.tokens);
  const auto c = static_cast<double>(config_.hidden_size);
  const auto f = static_cast<double>(config_.feed_forward_size);
  const auto passes = static_cast<double>(layers_.size() + 2 * (layers_.size() - backward_from));
  double flop = 2.0 * n * passes * (4.0 * c * c + 2.0 * c * f);
  for (std::size_t i = backward_from; i < layers_.size(); ++i) {
    flop -= 2.0 * n * static_cast<double>(layers_[i].FrozenNumbers(parameters_));
  }
  if (head_ != nullptr) {
    const bool backward = backward_from < layers_.size();
    flop -= LeftOutFlop(head_->reads(), batch, c * c + 2.0 * c * f,
                        backward ? layers_.back().FrozenOutputNumbers(parameters_) : 0, backward);
    idx_t counted = batch.rows * batch.tokens;
    counted -= std::count(batch.labels.begin(), batch.labels.end(), kIgnoreLabel);
    flop += (head_backward ? 3.0 : 1.0) * head_->ForwardFlop(TextCount(batch), counted);
  }
  return (flop + Kind::AttentionFlop(config_, batch, backward_from)) * 1e-9;
}

template <class Kind>
double PostNormEncoder<Kind>::ForwardGflop(const BatchView& batch) const {
  return Gflop(batch, layers_.size(), false);
}

template <class Kind>
double PostNormEncoder<Kind>::StepGflop(const BatchView& batch) const {
  return Gflop(batch, FirstTrainedLayer(parameters_.first_stage()), true);
}

}  // namespace longspan
