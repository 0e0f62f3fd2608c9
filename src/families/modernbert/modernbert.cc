#include "families/modernbert/modernbert.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/arena.h"
#include "base/errors.h"
#include "families/modernbert/modernbert_heads.h"
#include "families/modernbert/rotary_tables.h"
#include "model/heads_exchange.h"
#include "model/hidden_rows.h"
#include "model/layer_stack.h"
#include "model/row_slab.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/dropout/dropout.h"
#include "ops/layer_norm/layer_norm.h"

namespace longspan {
namespace {

// Random sites of the model; the head owns 1, layer i derives its key from kFirstModernLayer + i.
enum ModernBertSite : std::uint64_t { kWords = 0, kFirstModernLayer = 16 };

}  // namespace

// ---- parameters ---------------------------------------------------------------------------------

ModernBert::ModernBert(ModernBertConfig config, ParameterMemory memory)
    : config_(std::move(config)), prefix_(config_.head == HeadKind::kNone ? "" : "model.") {
  const idx_t channels = config_.hidden_size;
  words_.emplace(prefix_ + "embeddings.tok_embeddings.weight", config_.vocab_size, channels,
                 parameters_);
  embedding_norm_.emplace(prefix_ + "embeddings.norm.", channels, config_.norm_eps, parameters_,
                          config_.norm_bias);
  for (std::size_t i = 0; i < config_.layers(); ++i) {
    parameters_.BeginStage();
    layers_.emplace_back(config_, i, prefix_ + "layers." + std::to_string(i) + ".", parameters_);
  }
  parameters_.BeginStage();
  final_norm_.emplace(prefix_ + "final_norm.", channels, config_.norm_eps, parameters_,
                      config_.norm_bias);
  head_ = MakeModernBertHead(config_, words_->id(), parameters_);
  if (memory == ParameterMemory::kOwn) parameters_.Allocate();
}

ModernBert::~ModernBert() = default;
ModernBert::ModernBert(ModernBert&&) noexcept = default;
ModernBert& ModernBert::operator=(ModernBert&&) noexcept = default;

// ModernBertPreTrainedModel._init_weights: matrices that write into the residual stream, and those
// of the masked LM's head, begin smaller in deeper models.
void ModernBert::Initialise(std::uint64_t seed,
                            const std::function<bool(std::string_view name)>& which) {
  const double outputs =
      config_.initializer_range / std::sqrt(2.0 * static_cast<double>(config_.layers()));
  parameters_.Draw(
      seed,
      [&](const ParameterInfo& info) {
        InitialDraw draw{config_.initializer_range, config_.initializer_cutoff.value_or(3.0)};
        const std::string& name = info.name;
        if (name.ends_with("Wo.weight") || name == "head.dense.weight" ||
            name == "decoder.weight") {
          draw.stddev = outputs;
        }
        if (name == "classifier.weight") {
          draw.stddev = 1.0 / std::sqrt(static_cast<double>(config_.hidden_size));
        }
        return draw;
      },
      which);
}

const HeadLayer& ModernBert::Head() const {
  Check(head_ != nullptr, ErrorCode::kUsage,
        "model: a bare ModernBertModel has no head, so no logits and no loss");
  return *head_;
}

VisibleBatch ModernBert::WithTargets(const BatchView& batch) const {
  CheckBatchShape(batch);
  Head().CheckTargets(batch);
  return Visible(batch);
}

VisibleBatch ModernBert::WithoutTargets(const BatchView& batch) const {
  CheckBatchShape(batch);
  BatchView tokens = batch;
  tokens.labels = tokens.starts = tokens.ends = {};
  tokens.values = {};
  return Visible(tokens);
}

VisibleBatch ModernBert::Visible(const BatchView& batch) const {
  const bool by_text = config_.head == HeadKind::kSequence || config_.head == HeadKind::kChoice ||
                       config_.head == HeadKind::kQuestion;
  return {batch, by_text, static_cast<std::int32_t>(config_.pad_token.value_or(-1))};
}

// ---- embeddings ---------------------------------------------------------------------------------

void ModernBert::Embed(Context& context, const VisibleBatch& texts, const StepDropout& dropout,
                       const View<float, 2>& x) const {
  const TokenSlab slab = OwnTokens(context, texts.n());
  words_->Forward(context, parameters_, PartOf(slab, texts.view().ids), x);
  LayerNormForward(context, embedding_norm_->Weights(parameters_), x, x);
  ApplyDropout(context, SiteOf(dropout, config_.embedding_dropout, kWords), x,
               slab.begin * config_.hidden_size);
}

// dx (N, C) is scratch afterwards. The row of padding gets nothing from the lookup (torch's
// padding_idx); the masked LM's decoder adds to the word table on its own.
void ModernBert::EmbedBackward(Context& context, const VisibleBatch& texts,
                               const StepDropout& dropout, const View<float, 2>& dx) {
  const TokenSlab slab = OwnTokens(context, texts.n());
  const std::span<const std::int32_t> ids = PartOf(slab, texts.view().ids);
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(dx.size()));
  const View<float, 2> words(frame.Take<float>(dx.size()), dx.extent);
  const View<float, 2> dwords(frame.Take<float>(dx.size()), dx.extent);
  ApplyDropout(context, SiteOf(dropout, config_.embedding_dropout, kWords), dx,
               slab.begin * config_.hidden_size);
  words_->Forward(context, parameters_, ids, words);
  ZeroRows(context, dwords);
  LayerNormBackward(context, embedding_norm_->Weights(parameters_), words, dx, dwords,
                    embedding_norm_->Gradients(parameters_));
  const auto pad = static_cast<std::int32_t>(config_.pad_token.value_or(-1));
  const auto bytes = static_cast<std::size_t>(config_.hidden_size) * sizeof(float);
  ForEachRow(context, dwords.extent[0], [&](idx_t t) {
    if (ids[static_cast<std::size_t>(t)] == pad) std::memset(&dwords(t, 0), 0, bytes);
  });
  words_->Backward(context, parameters_, ids, dwords);
}

// ---- evaluation ---------------------------------------------------------------------------------

void ModernBert::ComputeIn(DType dtype, LayerCopies copies) {
  Check(dtype == DType::kF32 || dtype == DType::kBF16, ErrorCode::kUsage,
        "model: computing in {} is not there; use F32 or BF16", DTypeName(dtype));
  if (dtype == computes_in() && (bf16_ == nullptr || bf16_->copies() == copies)) return;
  bf16_.reset();
  if (dtype == DType::kF32) return;
  const ParameterId tall = head_ == nullptr ? kNoParameter : head_->TallMatrix();
  bf16_ = EncoderBf16Weights(parameters_, copies, prefix_ + "layers.", tall);
}

const Bf16Weights* ModernBert::FreshBf16(Context& context) const {
  if (bf16_ != nullptr) bf16_->Refresh(context, parameters_);
  return bf16_.get();
}

ModernBertCall ModernBert::CallOf(Context& context, const VisibleBatch& texts,
                                  const RotaryTables& tables, const StepDropout& dropout,
                                  std::size_t layer, bool backward, const LastRows& last) const {
  ModernBertCall call{parameters_, bf16_.get(), texts, tables.full(), tables.window(), dropout};
  call.dropout.key = DeriveKey(dropout.key, kFirstModernLayer + layer);
  call.backward = backward;
  call.layer = layer;
  call.group = context.row_group();
  if (!last.all() && layer + 1 == layers_.size()) call.last = &last;
  return call;
}

void ModernBert::Encode(Context& context, const BatchView& batch, const View<float, 2>& hidden,
                        const ModernBertShown& shown, const StepDropout& dropout) const {
  if (shown.attention != nullptr || shown.hidden_states != nullptr) CheckNotSplit(context);
  const VisibleBatch texts = WithoutTargets(batch);
  const TokenSlab own = OwnTokens(context, texts.n());
  const idx_t channels = config_.hidden_size;
  const idx_t packed = texts.whole() ? 0 : texts.n() * channels;
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(packed));
  const View<float, 2> stream = texts.whole() ? hidden : TakeRows(frame, texts.n(), channels);
  EncodeVisible(context, texts, stream.Rows(own.begin, own.size()), shown, dropout, {});
  GatherRowsOfAll(context, stream);
  if (texts.whole()) return;
  texts.Scatter(context, stream, hidden);
  if (shown.hidden_states == nullptr) return;
  for (Tensor& state : *shown.hidden_states) {
    Tensor scattered({hidden.extent[0], channels});
    texts.Scatter(context, std::as_const(state).view<2>(), scattered.view<2>());
    state = std::move(scattered);
  }
}

void ModernBert::EncodeVisible(Context& context, const VisibleBatch& texts,
                               const View<float, 2>& stream, const ModernBertShown& shown,
                               const StepDropout& dropout, const LastRows& last) const {
  CheckHeadsForRows(context.row_group(), config_.heads);
  if (FreshBf16(context) == nullptr) {
    return EncodeIn<float>(context, texts, stream, shown, dropout, last);
  }
  EncodeIn<bfloat16>(context, texts, stream, shown, dropout, last);
}

template <class T>
void ModernBert::EncodeIn(Context& context, const VisibleBatch& texts, const View<float, 2>& stream,
                          const ModernBertShown& shown, const StepDropout& dropout,
                          const LastRows& last) const {
  const RotaryTables tables(context, config_, texts);
  const auto show = [&](std::size_t) {
    if (shown.hidden_states != nullptr) shown.hidden_states->push_back(CopyOf(context, stream));
  };
  const LayerStack stack(
      context, layers_,
      [&](std::size_t i) {
        ModernBertCall call = CallOf(context, texts, tables, dropout, i, false, last);
        call.observer = shown.attention;
        return call;
      },
      [&](std::size_t i) {
        if (bf16_ != nullptr) bf16_->Enter(context, parameters_, i);
      });
  Embed(context, texts, dropout, stream);
  stack.template Encode<T>(stream, show);
  const View<float, 2> z = last.Of(stream);
  LayerNormForward(context, final_norm_->Weights(parameters_), z, z);
  show(layers_.size());
}

Tensor ModernBert::Logits(Context& context, const BatchView& batch,
                          const View<const float, 2>& hidden) const {
  const VisibleBatch texts = WithoutTargets(batch);
  if (texts.whole()) return LogitsOfVisible(context, texts, hidden);
  const idx_t channels = config_.hidden_size;
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(texts.n() * channels));
  const View<float, 2> packed = TakeRows(frame, texts.n(), channels);
  texts.Gather(context, hidden, {0, texts.n()}, packed);
  return LogitsOfVisible(context, texts, packed);
}

Tensor ModernBert::LogitsOfTexts(Context& context, const BatchView& batch,
                                 const StepDropout& dropout) const {
  const VisibleBatch texts = WithoutTargets(batch);
  const idx_t n = OwnTokens(context, texts.n()).size();
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(n * config_.hidden_size));
  const View<float, 2> packed = TakeRows(frame, n, config_.hidden_size);
  const HeadReads reads = Head().reads();
  const LastRows last = ReadsTexts(reads) ? RowsOfHead(context, reads, texts.view()) : LastRows();
  EncodeVisible(context, texts, packed, {}, dropout, last);
  return LogitsOfVisible(context, texts, last.Of(packed), dropout);
}

Tensor ModernBert::LogitsOfVisible(Context& context, const VisibleBatch& texts,
                                   const View<const float, 2>& packed,
                                   const StepDropout& dropout) const {
  Tensor logits =
      LogitsOf(context, Head(), parameters_, FreshBf16(context), texts.view(), packed, dropout);
  if (texts.whole() || ReadsTexts(Head().reads())) return logits;
  Tensor all({texts.batch_tokens(), Head().outputs()});
  texts.Scatter(context, std::as_const(logits).view<2>(), all.view<2>());
  return all;
}

HeadLoss ModernBert::Loss(Context& context, const BatchView& batch) const {
  const VisibleBatch texts = WithTargets(batch);
  const idx_t n = OwnTokens(context, texts.n()).size(), channels = config_.hidden_size;
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(n * channels));
  const View<float, 2> hidden = TakeRows(frame, n, channels);
  const LastRows last = RowsOfHead(context, Head().reads(), texts.view());
  EncodeVisible(context, texts, hidden, {}, {}, last);
  return LossOfHidden(context, Head(), {parameters_, FreshBf16(context), texts.view()},
                      last.Of(hidden), {}, false);
}

// ---- training -----------------------------------------------------------------------------------

// Forward, the head's gradient, backward: what every training loss has in common.
void ModernBert::Differentiate(Context& context, const VisibleBatch& texts, const EncoderStep& step,
                               const LastRows& last, const HeadGradient& head_gradient) {
  Check(step.recompute.empty() || step.recompute.size() == layers_.size(), ErrorCode::kUsage,
        "step: {} choices of what to recompute for {} layers", step.recompute.size(),
        layers_.size());
  CheckHeadsForRows(context.row_group(), config_.heads);
  if (FreshBf16(context) == nullptr) {
    return DifferentiateIn<float>(context, texts, step, last, head_gradient);
  }
  DifferentiateIn<bfloat16>(context, texts, step, last, head_gradient);
}

template <class T>
void ModernBert::DifferentiateIn(Context& context, const VisibleBatch& texts,
                                 const EncoderStep& step, const LastRows& last,
                                 const HeadGradient& head_gradient) {
  const RotaryTables tables(context, config_, texts);
  const LayerStack stack(
      context, layers_,
      [&](std::size_t i) {
        return CallOf(context, texts, tables, step.dropout, i,
                      i >= FirstTrainedLayer(parameters_.first_stage()), last);
      },
      [&](std::size_t i) {
        if (bf16_ != nullptr) bf16_->Enter(context, parameters_, i);
      });
  stack.template Differentiate<T>(
      {OwnTokens(context, texts.n()).size(), config_.hidden_size}, step.recompute, parameters_,
      [&](const View<float, 2>& stream) { Embed(context, texts, step.dropout, stream); },
      [&](const View<float, 2>& stream, const View<float, 2>& d) {
        const View<float, 2> z = last.Of(stream), dz = last.Of(d);
        Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(z.size()));
        const View<float, 2> h(frame.Take<float>(z.size()), z.extent);
        const View<float, 2> dh(frame.Take<float>(z.size()), z.extent);
        LayerNormForward(context, final_norm_->Weights(parameters_), z, h);
        head_gradient(h, dh);
        ZeroRows(context, dz);
        LayerNormBackward(context, final_norm_->Weights(parameters_), z, dh, dz,
                          final_norm_->Gradients(parameters_));
      },
      [&](const View<float, 2>& d) { EmbedBackward(context, texts, step.dropout, d); });
}

HeadLoss ModernBert::LossAndGradients(Context& context, const BatchView& batch,
                                      const EncoderStep& step) {
  const VisibleBatch texts = WithTargets(batch);
  HeadLoss loss;
  const HeadCall call{parameters_, bf16_.get(), texts.view(), step.scale, step.dropout};
  Differentiate(context, texts, step, RowsOfHead(context, Head().reads(), texts.view()),
                [&](const View<float, 2>& h, const View<float, 2>& dh) {
                  loss = LossOfHidden(context, Head(), call, h, dh, true);
                });
  return loss;
}

double ModernBert::CotangentGradients(Context& context, const BatchView& batch,
                                      const View<const float, 2>& cotangent,
                                      const EncoderStep& step) {
  const VisibleBatch texts = WithoutTargets(batch);
  const TokenSlab own = OwnTokens(context, texts.n());
  double total = 0.0;
  Differentiate(context, texts, step, {}, [&](const View<float, 2>& h, const View<float, 2>& dh) {
    if (texts.whole()) {
      CopyRows(context, cotangent.Rows(own.begin, own.size()), dh);
    } else {
      texts.Gather(context, cotangent, own, dh);
    }
    if (context.rehearsal()) return;
    for (idx_t t = 0; t < h.extent[0]; ++t) {
      for (idx_t c = 0; c < h.extent[1]; ++c) {
        total += static_cast<double>(h(t, c)) * static_cast<double>(dh(t, c));
      }
    }
  });
  return total;
}

// ---- work ---------------------------------------------------------------------------------------

namespace {

// Pairs of a query and a key that it sees, over all texts; `window` negative: all.
double VisiblePairs(const VisibleBatch& texts, idx_t window) {
  const TokenRoles roles = texts.roles();
  std::vector<idx_t> seen(static_cast<std::size_t>(texts.n()) + 1, 0);  // before each token
  for (std::size_t t = 0; t + 1 < seen.size(); ++t) {
    const bool visible = roles.empty() || roles(0, static_cast<idx_t>(t)) != kHiddenToken;
    seen[t + 1] = seen[t] + (visible ? 1 : 0);
  }
  double pairs = 0.0;
  ForEachText(texts.view(), [&](idx_t, idx_t begin, idx_t length) {
    const idx_t end = begin + length;
    for (idx_t t = begin; t < end; ++t) {
      const idx_t first = window < 0 ? begin : std::max(begin, t - window);
      const idx_t last = window < 0 ? end : std::min(end, t + window + 1);
      pairs += static_cast<double>(seen[static_cast<std::size_t>(last)] -
                                   seen[static_cast<std::size_t>(first)]);
    }
  });
  return pairs;
}

}  // namespace

double ModernBert::Gflop(const BatchView& batch, std::size_t backward_from,
                         bool head_backward) const {
  CheckBatchShape(batch);
  const VisibleBatch texts = Visible(batch);
  const auto n = static_cast<double>(texts.n());
  const auto c = static_cast<double>(config_.hidden_size);
  const auto f = static_cast<double>(config_.feed_forward_size);
  const auto passes = static_cast<double>(layers_.size() + 2 * (layers_.size() - backward_from));
  double flop = 2.0 * n * passes * (4.0 * c * c + 3.0 * c * f);
  for (std::size_t i = backward_from; i < layers_.size(); ++i) {
    flop -= 2.0 * n * static_cast<double>(layers_[i].FrozenNumbers(parameters_));
  }
  if (head_ != nullptr) {
    const bool backward = backward_from < layers_.size();
    flop -= LeftOutFlop(head_->reads(), texts.view(), c * c + 3.0 * c * f,
                        backward ? layers_.back().FrozenOutputNumbers(parameters_) : 0, backward);
    const std::span<const std::int32_t> labels = texts.view().labels;
    idx_t counted = texts.n();
    counted -= std::count(labels.begin(), labels.end(), kIgnoreLabel);
    flop += (head_backward ? 3.0 : 1.0) * head_->ForwardFlop(TextCount(batch), counted);
  }
  const double full = VisiblePairs(texts, -1), window = VisiblePairs(texts, config_.window());
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const double each = i >= backward_from ? 14.0 : 4.0;  // times C, for a pair
    flop += each * c * (config_.windowed(i) ? window : full);
  }
  return flop * 1e-9;
}

double ModernBert::ForwardGflop(const BatchView& batch) const {
  return Gflop(batch, layers_.size(), false);
}

double ModernBert::StepGflop(const BatchView& batch) const {
  return Gflop(batch, FirstTrainedLayer(parameters_.first_stage()), true);
}

}  // namespace longspan
