#include "model/longformer_heads.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "base/arena.h"
#include "base/errors.h"
#include "model/dense_classifier.h"
#include "model/head_losses.h"
#include "model/linear.h"
#include "model/norm_layer.h"
#include "model/rows.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/dropout/dropout.h"
#include "ops/embedding/embedding.h"
#include "ops/feed_forward/feed_forward.h"
#include "ops/layer_norm/layer_norm.h"

namespace longspan {
namespace {

// Dropout sites of the head, below the step's key; layers own the sites from 16 on.
enum LongformerHeadSite : std::uint64_t { kBeforeDense = 1, kBeforeLogits = 2 };

Dropout HeadSite(const HeadCall& call, double p, std::uint64_t site) {
  return SiteOf(call.step.dropout, p, site);
}

float ScaleOf(const HeadCall& call, idx_t counted) { return LossScale(call.step.scale, counted); }

// The rows of hidden states that start a text: 0, T, 2 T, ...
std::vector<std::int32_t> FirstTokens(idx_t rows, idx_t tokens) {
  std::vector<std::int32_t> first;
  for (idx_t b = 0; b < rows; ++b) first.push_back(static_cast<std::int32_t>(b * tokens));
  return first;
}

void CheckCount(const char* what, std::size_t given, idx_t needed, const LongformerBatch& batch) {
  Check(static_cast<idx_t>(given) == needed, ErrorCode::kUsage,
        "batch: {} {} for {} rows of {} tokens, need {}", given, what, batch.rows, batch.tokens,
        needed);
}

// ---- masked LM ----------------------------------------------------------------------------------

// logits = LayerNorm(gelu(dense h)) decoder^T + bias; the decoder is the word table, if tied.
class MaskedLmHead final : public LongformerHeadLayer {
 public:
  MaskedLmHead(const LongformerConfig& config, const std::string& prefix, ParameterTable& p)
      : channels_(config.hidden_size),
        vocabulary_(config.vocab_size),
        dense_("lm_head.dense.", channels_, channels_, p),
        norm_("lm_head.layer_norm.", channels_, config.layer_norm_eps, p),
        bias_(p.Add(config.tied ? "lm_head.bias" : "lm_head.decoder.bias", {vocabulary_},
                    ParameterKind::kBias)),
        decoder_(config.tied ? p.Find(prefix + "embeddings.word_embeddings.weight")
                             : p.Add("lm_head.decoder.weight", {vocabulary_, channels_},
                                     ParameterKind::kMatrix)) {}

  Tensor Logits(Context& context, const HeadCall& call,
                const View<const float, 2>& hidden) const override {
    Tensor logits({hidden.extent[0], vocabulary_});
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(hidden.size()));
    const View<float, 2> u = TakeRows(frame, hidden.extent[0], channels_);
    Transform(context, call, hidden, u, {});
    LayerNormForward(context, norm_.Weights(call.parameters), u, u);
    Arena::Frame rounded(context.arena(), Arena::Bytes<bfloat16>(call.bf16 ? u.size() : 0));
    WithDecoder(call, [&](const auto& decoder) {
      if constexpr (sizeof(*decoder.w.data) == 2) {
        const View<bfloat16, 2> in_bf16(rounded.Take<bfloat16>(u.size()), u.extent);
        gemm::Round(context, u, in_bf16);
        gemm::Forward(context, in_bf16, decoder.w, decoder.b.data, logits.view<2>());
      } else {
        gemm::Forward(context, u, decoder.w, decoder.b.data, logits.view<2>());
      }
    });
    return logits;
  }

  LongformerLoss Loss(Context& context, const HeadCall& call, const View<const float, 2>& hidden,
                      const View<float, 2>& dhidden) const override {
    std::vector<std::int32_t> tokens, labels;
    for (std::size_t t = 0; t < call.batch.labels.size(); ++t) {
      if (call.batch.labels[t] == kIgnoreLabel) continue;
      tokens.push_back(static_cast<std::int32_t>(t));
      labels.push_back(call.batch.labels[t]);
    }
    if (!dhidden.empty()) ZeroRows(context, dhidden);
    const auto n = static_cast<idx_t>(tokens.size());
    if (n == 0) return FromCrossEntropy({});
    Arena::Frame frame(context.arena(), 5 * Arena::Bytes<float>(n * channels_));
    std::array<View<float, 2>, 5> rows;
    for (View<float, 2>& view : rows) view = TakeRows(frame, n, channels_);
    const auto& [h, u, slope, v, du] = rows;
    EmbeddingForward(context, tokens, hidden, h);
    Transform(context, call, h, u, slope);
    LayerNormForward(context, norm_.Weights(call.parameters), u, v);
    const ParameterTable& p = call.parameters;
    CrossEntropyResult result;
    WithDecoder(call, [&, &v = v](const auto& decoder) {
      if (dhidden.empty()) {
        result = CrossEntropyForward(context, decoder, v, labels);
        return;
      }
      result = CrossEntropyForwardBackward(context, decoder, v, labels, ScaleOf(call, n), v,
                                           {p.matrix_gradient(decoder_), p.vector_gradient(bias_)});
    });
    if (dhidden.empty()) return FromCrossEntropy(result);
    ZeroRows(context, du);
    LayerNormBackward(context, norm_.Weights(p), u, v, du, norm_.Gradients(p));
    MultiplyBySlope(context, slope, du);
    dense_.Backward(context, p, h, du, u);
    EmbeddingBackward(context, tokens, u, dhidden);
    return FromCrossEntropy(result);
  }

  void CheckTargets(const LongformerBatch& batch) const override {
    CheckCount("labels", batch.labels.size(), batch.rows * batch.tokens, batch);
  }
  double ForwardFlop(idx_t, idx_t counted) const override {
    return 2.0 * static_cast<double>(counted * channels_) *
           static_cast<double>(channels_ + vocabulary_);
  }
  ParameterId TallMatrix() const override { return decoder_; }

 private:
  // u = gelu(dense h); slope: what the backward needs, or empty.
  void Transform(Context& context, const HeadCall& call, const View<const float, 2>& h,
                 const View<float, 2>& u, const View<float, 2>& slope) const {
    dense_.Forward(context, call.parameters, h, u);
    Activate(context, Activation::kGelu, u, slope);
  }
  // Calls run(decoder) with the matrix in fp32 or bf16.
  template <class Run>
  void WithDecoder(const HeadCall& call, const Run& run) const {
    const View<const float, 1> bias = call.parameters.vector(bias_);
    if (call.bf16 != nullptr) return run(Bf16ClassifierWeights{call.bf16->matrix(decoder_), bias});
    run(ClassifierWeights{call.parameters.matrix(decoder_), bias});
  }

  // In the order in which they are added; an own decoder comes last.
  idx_t channels_, vocabulary_;
  Linear dense_;
  NormLayer norm_;
  ParameterId bias_, decoder_;
};

// ---- classes of tokens --------------------------------------------------------------------------

class TokenHead final : public LongformerHeadLayer {
 public:
  TokenHead(const LongformerConfig& config, ParameterTable& p)
      : channels_(config.hidden_size),
        labels_(config.label_count()),
        dropout_(config.hidden_dropout),
        classifier_("classifier.", labels_, channels_, p) {}

  Tensor Logits(Context& context, const HeadCall& call,
                const View<const float, 2>& hidden) const override {
    Tensor logits({hidden.extent[0], labels_});
    classifier_.Forward(context, call.parameters, hidden, logits.view<2>());
    return logits;
  }

  LongformerLoss Loss(Context& context, const HeadCall& call, const View<const float, 2>& hidden,
                      const View<float, 2>& dhidden) const override {
    const ParameterTable& p = call.parameters;
    const ClassifierWeights weights{p.matrix(classifier_.weight()), p.vector(classifier_.bias())};
    if (dhidden.empty()) {
      return FromCrossEntropy(CrossEntropyForward(context, weights, hidden, call.batch.labels));
    }
    const auto counted =
        static_cast<idx_t>(call.batch.labels.size() -
                           static_cast<std::size_t>(std::count(
                               call.batch.labels.begin(), call.batch.labels.end(), kIgnoreLabel)));
    const Dropout site = HeadSite(call, dropout_, kBeforeLogits);
    CopyRows(context, hidden, dhidden);
    ApplyDropout(context, site, dhidden);
    const CrossEntropyResult result = CrossEntropyForwardBackward(
        context, weights, dhidden, call.batch.labels, ScaleOf(call, counted), dhidden,
        {p.matrix_gradient(classifier_.weight()), p.vector_gradient(classifier_.bias())});
    ApplyDropout(context, site, dhidden);
    return FromCrossEntropy(result);
  }

  void CheckTargets(const LongformerBatch& batch) const override {
    CheckCount("labels", batch.labels.size(), batch.rows * batch.tokens, batch);
  }
  double ForwardFlop(idx_t, idx_t counted) const override {
    return 2.0 * static_cast<double>(counted * channels_ * labels_);
  }

 private:
  idx_t channels_, labels_;
  double dropout_;
  Linear classifier_;
};

// ---- question answering -------------------------------------------------------------------------

// Two logits for each token: that the answer starts there, that it ends there.
class QuestionHead final : public LongformerHeadLayer {
 public:
  QuestionHead(const LongformerConfig& config, ParameterTable& p)
      : channels_(config.hidden_size), outputs_("qa_outputs.", 2, channels_, p) {}

  Tensor Logits(Context& context, const HeadCall& call,
                const View<const float, 2>& hidden) const override {
    Tensor logits({hidden.extent[0], 2});
    outputs_.Forward(context, call.parameters, hidden, logits.view<2>());
    return logits;
  }

  LongformerLoss Loss(Context& context, const HeadCall& call, const View<const float, 2>& hidden,
                      const View<float, 2>& dhidden) const override {
    const LongformerBatch& batch = call.batch;
    const idx_t n = hidden.extent[0], tokens = batch.tokens;
    Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(n * 2));
    const View<float, 2> logits = TakeRows(frame, n, 2), dlogits = TakeRows(frame, n, 2);
    outputs_.Forward(context, call.parameters, hidden, logits);
    if (!dhidden.empty()) ZeroRows(context, dlogits);
    const LongformerLoss loss = AnswerLoss({batch.starts, batch.ends}, call.step.scale, tokens,
                                           logits, dhidden.empty() ? nullptr : dlogits.data);
    if (!dhidden.empty()) outputs_.Backward(context, call.parameters, hidden, dlogits, dhidden);
    return loss;
  }

  void CheckTargets(const LongformerBatch& batch) const override {
    CheckCount("start positions", batch.starts.size(), batch.rows, batch);
    CheckCount("end positions", batch.ends.size(), batch.rows, batch);
  }
  double ForwardFlop(idx_t, idx_t counted) const override {
    return 4.0 * static_cast<double>(counted * channels_);
  }

 private:
  idx_t channels_;
  Linear outputs_;
};

// ---- one vector for each row --------------------------------------------------------------------

// A dense classifier of the first token's vector: sequence classification, and multiple choice,
// whose dense layer is the pooler and has no dropout before it.
class FirstTokenHead : public LongformerHeadLayer {
 public:
  FirstTokenHead(const LongformerConfig& config, const std::string& dense, const std::string& out,
                 idx_t outputs, bool dropout_before, ParameterTable& p)
      : channels_(config.hidden_size),
        outputs_(outputs),
        before_(dropout_before ? config.hidden_dropout : 0.0),
        after_(config.hidden_dropout),
        classifier_(dense, out, channels_, channels_, outputs, p) {}

  LongformerLoss Loss(Context& context, const HeadCall& call, const View<const float, 2>& hidden,
                      const View<float, 2>& dhidden) const override {
    const idx_t rows = call.batch.rows;
    const auto first = FirstTokens(rows, call.batch.tokens);
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(rows * channels_));
    const View<float, 2> h = TakeRows(frame, rows, channels_);
    EmbeddingForward(context, first, hidden, h);
    const auto loss_of = [&](const View<const float, 2>& logits, float* dlogits) {
      return LossOf(call, logits, dlogits);
    };
    if (dhidden.empty()) return classifier_.Loss(context, call.parameters, h, loss_of);
    const LongformerLoss loss = classifier_.LossAndGradients(
        context, call.parameters,
        {HeadSite(call, before_, kBeforeDense), HeadSite(call, after_, kBeforeLogits)}, h, loss_of);
    ZeroRows(context, dhidden);
    EmbeddingBackward(context, first, h, dhidden);
    return loss;
  }

  double ForwardFlop(idx_t rows, idx_t) const override { return classifier_.ForwardFlop(rows); }

 protected:
  // The loss of logits (B, outputs); dlogits (B, outputs) is zero, or null.
  virtual LongformerLoss LossOf(const HeadCall& call, const View<const float, 2>& logits,
                                float* dlogits) const = 0;

  Tensor RowLogits(Context& context, const HeadCall& call, const View<const float, 2>& hidden,
                   std::vector<idx_t> shape) const {
    const idx_t rows = call.batch.rows;
    Tensor logits(std::move(shape));
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(rows * channels_));
    const View<float, 2> h = TakeRows(frame, rows, channels_);
    EmbeddingForward(context, FirstTokens(rows, call.batch.tokens), hidden, h);
    classifier_.Logits(context, call.parameters, h, {logits.data<float>(), {rows, outputs_}});
    return logits;
  }

  const Linear& dense() const { return classifier_.dense(); }

  idx_t channels_, outputs_;

 private:
  double before_, after_;
  DenseClassifier classifier_;
};

class SequenceHead final : public FirstTokenHead {
 public:
  SequenceHead(const LongformerConfig& config, ParameterTable& p)
      : FirstTokenHead(config, "classifier.dense.", "classifier.out_proj.", config.label_count(),
                       true, p),
        problem_(config.problem) {}

  Tensor Logits(Context& context, const HeadCall& call,
                const View<const float, 2>& hidden) const override {
    return RowLogits(context, call, hidden, {call.batch.rows, outputs_});
  }

  void CheckTargets(const LongformerBatch& batch) const override {
    CheckSequenceTargets(Targets(batch), batch.rows, outputs_);
  }

 private:
  SequenceTargets Targets(const LongformerBatch& batch) const {
    return {problem_, batch.labels, batch.values};
  }
  LongformerLoss LossOf(const HeadCall& call, const View<const float, 2>& logits,
                        float* dlogits) const override {
    return SequenceLoss(Targets(call.batch), call.step.scale, logits, dlogits);
  }

  ProblemType problem_;
};

class ChoiceHead final : public FirstTokenHead {
 public:
  ChoiceHead(const LongformerConfig& config, const std::string& prefix, ParameterTable& p)
      : FirstTokenHead(config, prefix + "pooler.dense.", "classifier.", 1, false, p) {}

  const Linear* pooler() const override { return &dense(); }

  Tensor Logits(Context& context, const HeadCall& call,
                const View<const float, 2>& hidden) const override {
    const idx_t choices = call.batch.choices;
    CheckChoices(call.batch);
    return RowLogits(context, call, hidden, {call.batch.rows / choices, choices});
  }

  void CheckTargets(const LongformerBatch& batch) const override {
    CheckChoices(batch);
    CheckCount("labels", batch.labels.size(), batch.rows / batch.choices, batch);
    for (const std::int32_t label : batch.labels) {
      Check(label == kIgnoreLabel || (label >= 0 && label < batch.choices), ErrorCode::kUsage,
            "batch: label {} is not one of {} choices", label, batch.choices);
    }
  }

 private:
  static void CheckChoices(const LongformerBatch& batch) {
    Check(batch.choices >= 1 && batch.rows % batch.choices == 0, ErrorCode::kUsage,
          "batch: {} rows do not divide into questions of {} choices", batch.rows, batch.choices);
  }

  LongformerLoss LossOf(const HeadCall& call, const View<const float, 2>& logits,
                        float* dlogits) const override {
    const auto& labels = call.batch.labels;
    const idx_t choices = call.batch.choices;
    LongformerLoss loss;
    for (const std::int32_t label : labels) loss.counted += label != kIgnoreLabel;
    for (std::size_t q = 0; q < labels.size(); ++q) {
      if (labels[q] == kIgnoreLabel) continue;
      const idx_t at = static_cast<idx_t>(q) * choices;
      const LogitRow row{logits.data + at, choices, 1};
      loss.sum += SoftmaxLoss(row, labels[q], ScaleOf(call, loss.counted),
                              dlogits == nullptr ? nullptr : dlogits + at);
      loss.correct += LargestLogit(row) == labels[q] ? 1 : 0;
    }
    loss.mean = MeanLoss(loss.sum, loss.counted);
    return loss;
  }
};

}  // namespace

void PoolFirstTokens(Context& context, const ParameterTable& parameters, const Linear& pooler,
                     idx_t rows, const View<const float, 2>& hidden, const View<float, 2>& pooled) {
  const idx_t channels = hidden.extent[1];
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(rows * channels));
  const View<float, 2> h = TakeRows(frame, rows, channels);
  EmbeddingForward(context, FirstTokens(rows, hidden.extent[0] / rows), hidden, h);
  pooler.Forward(context, parameters, h, pooled);
  Activate(context, Activation::kTanh, pooled);
}

std::unique_ptr<LongformerHeadLayer> MakeLongformerHead(const LongformerConfig& config,
                                                        const std::string& encoder_prefix,
                                                        ParameterTable& parameters) {
  switch (config.head) {
    case HeadKind::kNone:
      return nullptr;
    case HeadKind::kMaskedLm:
      return std::make_unique<MaskedLmHead>(config, encoder_prefix, parameters);
    case HeadKind::kSequence:
      return std::make_unique<SequenceHead>(config, parameters);
    case HeadKind::kToken:
      return std::make_unique<TokenHead>(config, parameters);
    case HeadKind::kQuestion:
      return std::make_unique<QuestionHead>(config, parameters);
    case HeadKind::kChoice:
      return std::make_unique<ChoiceHead>(config, encoder_prefix, parameters);
    case HeadKind::kCausalLm:
      break;  // a Longformer has none
  }
  return nullptr;
}

}  // namespace longspan
