#include "model/heads.h"

#include <algorithm>
#include <utility>

#include "base/arena.h"
#include "base/errors.h"
#include "gemm/gemm.h"
#include "model/dense_classifier.h"
#include "model/row_slab.h"
#include "model/rows.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/dropout/dropout.h"

namespace longspan {
namespace {

void CheckCount(const char* what, std::size_t given, idx_t needed, const BatchView& batch) {
  Check(static_cast<idx_t>(given) == needed, ErrorCode::kUsage,
        "batch: {} {} for {} rows of {} tokens, need {}", given, what, batch.rows, batch.tokens,
        needed);
}

idx_t CountLabels(std::span<const std::int32_t> labels) {
  return static_cast<idx_t>(labels.size()) - std::count(labels.begin(), labels.end(), kIgnoreLabel);
}

// The sum of the weights of the labels that count; no weights: 1 each.
double WeightOfLabels(std::span<const std::int32_t> labels, std::span<const float> weights) {
  if (weights.empty()) return static_cast<double>(CountLabels(labels));
  double sum = 0.0;
  for (const std::int32_t label : labels) {
    if (label == kIgnoreLabel) continue;
    const auto at = static_cast<std::size_t>(label);
    sum += at < weights.size() ? static_cast<double>(weights[at]) : 0.0;  // refused later
  }
  return sum;
}

template <class T>
std::span<const T> Cut(std::span<const T> values, idx_t begin, idx_t count) {
  if (values.empty()) return values;
  return values.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count));
}

// The sum of blocks, with its mean.
HeadLoss WithMean(HeadLoss total) {
  total.mean = MeanLoss(total.sum, total.counted);
  return total;
}

// ---- language models ----------------------------------------------------------------------------

class LanguageHead final : public HeadLayer {
 public:
  LanguageHead(const LanguageHeadNames& names, idx_t width, idx_t vocabulary, bool biased,
               ParameterTable& table)
      : width_(width),
        vocabulary_(vocabulary),
        biased_(biased),
        decoder_(table.Add(names.decoder, {vocabulary, width}, ParameterKind::kMatrix)),
        bias_(table.Add(names.bias, {vocabulary}, ParameterKind::kBias)) {}

  idx_t outputs() const override { return vocabulary_; }

  void Logits(Context& context, const ParameterTable& parameters, const Bf16Weights* /*bf16*/,
              const View<const float, 2>& h, const View<float, 2>& logits) const override {
    const ClassifierWeights decoder = Decoder(parameters);
    gemm::Forward(context, h, decoder.w, biased_ ? decoder.b.data : nullptr, logits);
  }

  HeadLoss Loss(Context& context, const HeadCall& call, HeadRows& rows,
                bool backward) const override {
    const ParameterTable& p = call.parameters;
    const std::span<const std::int32_t> labels = call.batch.labels;
    HeadLoss total;
    if (!backward) {
      rows.Read([&](idx_t begin, const View<const float, 2>& h) {
        total.Add(FromCrossEntropy(
            CrossEntropyForward(context, Decoder(p), h, Cut(labels, begin, h.extent[0]))));
      });
      return WithMean(total);
    }
    const float scale = call.scale ? *call.scale : LossScale({}, CountLabels(labels));
    const ClassifierGradients gradients = {p.trained_gradient(decoder_),
                                           biased_ ? p.vector_gradient(bias_) : View<float, 1>()};
    rows.Differentiate([&](idx_t begin, const View<float, 2>& h, const View<float, 2>& dh) {
      total.Add(FromCrossEntropy(CrossEntropyForwardBackward(
          context, Decoder(p), h, Cut(labels, begin, h.extent[0]), scale, dh, gradients)));
    });
    return WithMean(total);
  }

  void CheckTargets(const BatchView& batch) const override {
    Check(!batch.labels.empty(), ErrorCode::kUsage, "batch: a loss needs targets");
    CheckCount("targets", batch.labels.size(), batch.rows * batch.tokens, batch);
  }
  double ForwardFlop(idx_t /*rows*/, idx_t tokens) const override {
    return 2.0 * static_cast<double>(tokens) * static_cast<double>(vocabulary_ * width_);
  }

 private:
  ClassifierWeights Decoder(const ParameterTable& parameters) const {
    return {parameters.matrix(decoder_),
            biased_ ? parameters.vector(bias_) : View<const float, 1>()};
  }

  idx_t width_, vocabulary_;
  bool biased_;
  ParameterId decoder_, bias_;
};

class TransformedLanguageHead final : public HeadLayer {
 public:
  TransformedLanguageHead(const HeadTransformSpec& transform, const LanguageHeadNames& names,
                          idx_t width, idx_t vocabulary, ParameterId tied, ParameterTable& table)
      : width_(width),
        vocabulary_(vocabulary),
        transform_(transform, width, width, table),
        bias_(names.bias.empty() ? kNoParameter
                                 : table.Add(names.bias, {vocabulary}, ParameterKind::kBias)),
        decoder_(tied != kNoParameter
                     ? tied
                     : table.Add(names.decoder, {vocabulary, width}, ParameterKind::kMatrix)) {}

  HeadReads reads() const override { return HeadReads::kLabelledTokens; }
  idx_t outputs() const override { return vocabulary_; }
  ParameterId TallMatrix() const override { return decoder_; }

  void Logits(Context& context, const ParameterTable& parameters, const Bf16Weights* bf16,
              const View<const float, 2>& h, const View<float, 2>& logits) const override {
    Arena::Frame frame(context.arena(), Arena::Bytes<float>(h.size()));
    const View<float, 2> u = TakeRows(frame, h.extent[0], width_);
    transform_.Forward(context, parameters, h, u, {}, u);
    Arena::Frame rounded(context.arena(), Arena::Bytes<bfloat16>(bf16 != nullptr ? u.size() : 0));
    WithDecoder(parameters, bf16, [&](const auto& decoder) {
      if constexpr (sizeof(*decoder.w.data) == 2) {
        const View<bfloat16, 2> in_bf16(rounded.Take<bfloat16>(u.size()), u.extent);
        gemm::Round(context, u, in_bf16);
        gemm::Forward(context, in_bf16, decoder.w, decoder.b.data, logits);
      } else {
        gemm::Forward(context, u, decoder.w, decoder.b.data, logits);
      }
    });
  }

  HeadLoss Loss(Context& context, const HeadCall& call, HeadRows& rows,
                bool backward) const override {
    std::vector<std::int32_t> labels;
    std::copy_if(call.batch.labels.begin(), call.batch.labels.end(), std::back_inserter(labels),
                 [](std::int32_t label) { return label != kIgnoreLabel; });
    const std::span<const std::int32_t> all = labels;
    const float scale = LossScale(call.scale, static_cast<idx_t>(labels.size()));
    HeadLoss total;
    if (backward) {
      rows.Differentiate([&](idx_t begin, const View<float, 2>& h, const View<float, 2>& dh) {
        const auto part = Cut(all, begin, h.extent[0]);
        if (part.empty()) return;
        total.Add(FromCrossEntropy(LossAndGradients(context, call, part, scale, h, dh)));
      });
      return WithMean(total);
    }
    rows.Read([&](idx_t begin, const View<const float, 2>& h) {
      const auto part = Cut(all, begin, h.extent[0]);
      if (part.empty()) return;
      Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(h.size()));
      const View<float, 2> u = TakeRows(frame, h.extent[0], width_);
      const View<float, 2> v = TakeRows(frame, h.extent[0], width_);
      transform_.Forward(context, call.parameters, h, u, {}, v);
      WithDecoder(call.parameters, call.bf16, [&](const auto& decoder) {
        total.Add(FromCrossEntropy(CrossEntropyForward(context, decoder, v, part)));
      });
    });
    return WithMean(total);
  }

  void CheckTargets(const BatchView& batch) const override {
    CheckCount("labels", batch.labels.size(), batch.rows * batch.tokens, batch);
  }
  double ForwardFlop(idx_t /*rows*/, idx_t tokens) const override {
    return 2.0 * static_cast<double>(tokens * width_) * static_cast<double>(width_ + vocabulary_);
  }

 private:
  CrossEntropyResult LossAndGradients(Context& context, const HeadCall& call,
                                      std::span<const std::int32_t> labels, float scale,
                                      const View<const float, 2>& h,
                                      const View<float, 2>& dh) const {
    const ParameterTable& p = call.parameters;
    const idx_t n = h.extent[0];
    Arena::Frame frame(context.arena(), 3 * Arena::Bytes<float>(h.size()));
    const View<float, 2>& u = dh;  // until the dense layer's gradient, which does not read it
    const View<float, 2> slope = TakeRows(frame, n, width_);
    const View<float, 2> v = TakeRows(frame, n, width_), du = TakeRows(frame, n, width_);
    transform_.Forward(context, p, h, u, slope, v);
    const ClassifierGradients gradients = {
        p.trained_gradient(decoder_),
        bias_ != kNoParameter ? p.vector_gradient(bias_) : View<float, 1>()};
    CrossEntropyResult result;
    WithDecoder(call.parameters, call.bf16, [&](const auto& decoder) {
      result = CrossEntropyForwardBackward(context, decoder, v, labels, scale, v, gradients);
    });
    transform_.Backward(context, p, h, u, slope, v, du, dh);
    return result;
  }
  // Calls run(decoder) with the matrix in fp32 or bf16.
  template <class Run>
  void WithDecoder(const ParameterTable& parameters, const Bf16Weights* bf16,
                   const Run& run) const {
    View<const float, 1> bias;
    if (bias_ != kNoParameter) bias = parameters.vector(bias_);
    if (bf16 != nullptr) return run(Bf16ClassifierWeights{bf16->matrix(decoder_), bias});
    run(ClassifierWeights{parameters.matrix(decoder_), bias});
  }

  // In the order in which they are added; an own decoder comes last.
  idx_t width_, vocabulary_;
  HeadTransform transform_;
  ParameterId bias_, decoder_;
};

// ---- classes of tokens, answers -----------------------------------------------------------------

class TokenHead final : public HeadLayer {
 public:
  TokenHead(idx_t width, idx_t labels, const HeadDropout& dropout, ParameterTable& table)
      : width_(width),
        labels_(labels),
        dropout_(dropout),
        classifier_("classifier.", labels, width, table) {}

  idx_t outputs() const override { return labels_; }

  void Logits(Context& context, const ParameterTable& parameters, const Bf16Weights* /*bf16*/,
              const View<const float, 2>& h, const View<float, 2>& logits) const override {
    classifier_.Forward(context, parameters, h, logits);
  }

  HeadLoss Loss(Context& context, const HeadCall& call, HeadRows& rows,
                bool backward) const override {
    const ParameterTable& p = call.parameters;
    const ClassifierWeights weights{p.matrix(classifier_.weight()), p.vector(classifier_.bias())};
    const std::span<const std::int32_t> labels = call.batch.labels;
    const std::span<const float> of_labels = call.batch.class_weights;
    const double weight = WeightOfLabels(labels, of_labels);
    HeadLoss total;
    const auto with_mean = [&] {
      total = WithMean(total);
      if (!of_labels.empty() && total.counted > 0) total.mean = total.sum / weight;
      return total;
    };
    if (!backward) {
      rows.Read([&](idx_t begin, const View<const float, 2>& h) {
        total.Add(FromCrossEntropy(
            CrossEntropyForward(context, weights, h, Cut(labels, begin, h.extent[0]), of_labels)));
      });
      return with_mean();
    }
    const float scale = of_labels.empty() ? LossScale(call.scale, CountLabels(labels))
                                          : WeightScale(call.scale, weight);
    const Dropout site = SiteOf(call.dropout, dropout_.before_logits, dropout_.logits_site);
    rows.Differentiate([&](idx_t begin, const View<float, 2>& h, const View<float, 2>& dh) {
      CopyRows(context, h, dh);
      ApplyDropout(context, site, dh, begin * width_);
      total.Add(FromCrossEntropy(CrossEntropyForwardBackward(
          context, weights, dh, Cut(labels, begin, h.extent[0]), scale, dh,
          {p.trained_gradient(classifier_.weight()), p.vector_gradient(classifier_.bias())},
          of_labels)));
      ApplyDropout(context, site, dh, begin * width_);
    });
    return with_mean();
  }

  void CheckTargets(const BatchView& batch) const override {
    CheckCount("labels", batch.labels.size(), batch.rows * batch.tokens, batch);
  }
  double ForwardFlop(idx_t /*rows*/, idx_t tokens) const override {
    return 2.0 * static_cast<double>(tokens * width_ * labels_);
  }

 private:
  idx_t width_, labels_;
  HeadDropout dropout_;
  Linear classifier_;
};

class QuestionHead final : public HeadLayer {
 public:
  QuestionHead(const std::string& name, idx_t width, const HeadDropout& dropout,
               ParameterTable& table)
      : width_(width), dropout_(dropout), linear_(name, 2, width, table) {}

  idx_t outputs() const override { return 2; }
  bool joins_tokens() const override { return true; }

  void Logits(Context& context, const ParameterTable& parameters, const Bf16Weights* /*bf16*/,
              const View<const float, 2>& h, const View<float, 2>& logits) const override {
    linear_.Forward(context, parameters, h, logits);
  }

  // A place competes with every other one of its text: all logits come first, then the gradient.
  HeadLoss Loss(Context& context, const HeadCall& call, HeadRows& rows,
                bool backward) const override {
    const idx_t n = call.batch.rows * call.batch.tokens;
    Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(2 * n));
    const View<float, 2> logits = TakeRows(frame, n, 2), dlogits = TakeRows(frame, n, 2);
    Dropout site;
    if (backward) site = SiteOf(call.dropout, dropout_.before_logits, dropout_.logits_site);
    rows.Read([&](idx_t begin, const View<const float, 2>& h) {
      Arena::Frame room(context.arena(), Arena::Bytes<float>(site.active() ? h.size() : 0));
      View<const float, 2> kept = h;
      if (site.active()) {
        const View<float, 2> copy = TakeRows(room, h.extent[0], width_);
        CopyRows(context, h, copy);
        ApplyDropout(context, site, copy, begin * width_);
        kept = copy;
      }
      linear_.Forward(context, call.parameters, kept, logits.Rows(begin, h.extent[0]));
    });
    GatherRowsOfAll(context, logits);
    if (backward) ZeroRows(context, dlogits);
    const HeadLoss loss =
        AnswerLoss({call.batch.starts, call.batch.ends}, call.scale, TextLengths(call.batch),
                   logits, backward ? dlogits.data : nullptr);
    if (!backward) return loss;
    rows.Differentiate([&](idx_t begin, const View<float, 2>& h, const View<float, 2>& dh) {
      ApplyDropout(context, site, h, begin * width_);
      linear_.Backward(context, call.parameters, h, dlogits.Rows(begin, h.extent[0]), dh);
      ApplyDropout(context, site, dh, begin * width_);
    });
    return loss;
  }

  void CheckTargets(const BatchView& batch) const override {
    CheckCount("start positions", batch.starts.size(), TextCount(batch), batch);
    CheckCount("end positions", batch.ends.size(), TextCount(batch), batch);
  }
  double ForwardFlop(idx_t /*rows*/, idx_t tokens) const override {
    return 4.0 * static_cast<double>(tokens) * static_cast<double>(width_);
  }

 private:
  idx_t width_;
  HeadDropout dropout_;
  Linear linear_;
};

// ---- one vector for each row --------------------------------------------------------------------

// The parts of heads that read one vector of each text: that of its first token, or the mean.
class TextHead : public HeadLayer {
 public:
  TextHead(DenseClassifier classifier, const HeadDropout& dropout, HeadReads reads)
      : classifier_(std::move(classifier)), dropout_(dropout), reads_(reads) {}

  HeadReads reads() const final { return reads_; }
  idx_t outputs() const final { return classifier_.outputs(); }

  void Logits(Context& context, const ParameterTable& parameters, const Bf16Weights* /*bf16*/,
              const View<const float, 2>& h, const View<float, 2>& logits) const final {
    classifier_.Logits(context, parameters, h, logits);
  }
  void LogitsInStep(Context& context, const ParameterTable& parameters, const StepDropout& dropout,
                    const View<float, 2>& h, const View<float, 2>& logits) const final {
    classifier_.LogitsInStep(context, parameters, SitesOf(dropout), h, logits);
  }
  double ForwardFlop(idx_t rows, idx_t /*tokens*/) const final {
    return classifier_.ForwardFlop(rows);
  }

 protected:
  // The gradient of a block, from the loss of its logits.
  HeadRows::Gradient GradientBy(
      Context& context, const HeadCall& call,
      std::function<DenseClassifier::LossOf(idx_t begin)> loss_from) const {
    const DenseClassifier::Sites sites = SitesOf(call.dropout);
    return [&context, &call, this, sites, loss_from = std::move(loss_from)](
               idx_t begin, const View<float, 2>& h, const View<float, 2>& dh) {
      CopyRows(context, h, dh);
      classifier_.LossAndGradients(context, call.parameters, sites, dh, loss_from(begin));
    };
  }

  DenseClassifier classifier_;

 private:
  DenseClassifier::Sites SitesOf(const StepDropout& dropout) const {
    return {SiteOf(dropout, dropout_.before_dense, dropout_.dense_site),
            SiteOf(dropout, dropout_.before_logits, dropout_.logits_site)};
  }

  HeadDropout dropout_;
  HeadReads reads_;
};

class SequenceHead final : public TextHead {
 public:
  SequenceHead(DenseClassifier classifier, ProblemType problem, const HeadDropout& dropout,
               HeadReads reads)
      : TextHead(std::move(classifier), dropout, reads), problem_(problem) {}

  // Rows come in blocks, and each block's loss is a part of the sum: what they all share is the
  // scale.
  HeadLoss Loss(Context& context, const HeadCall& call, HeadRows& rows,
                bool backward) const override {
    const SequenceTargets all = Targets(call.batch);
    const double weight = LossWeight(all, rows.count(), outputs());
    const float scale = WeightScale(call.scale, weight);
    HeadLoss total;
    const auto loss_from = [&](idx_t begin) -> DenseClassifier::LossOf {
      return [&, begin](const View<const float, 2>& logits, float* dlogits) {
        const HeadLoss part =
            SequenceLoss(Part(all, begin, logits.extent[0]), scale, logits, dlogits);
        total.Add(part);
        return part;
      };
    };
    if (backward) {
      rows.Differentiate(GradientBy(context, call, loss_from));
    } else {
      rows.Read([&](idx_t begin, const View<const float, 2>& h) {
        classifier_.Loss(context, call.parameters, h, loss_from(begin));
      });
    }
    total = WithMean(total);
    if (!all.weights.empty() && total.counted > 0) total.mean = total.sum / weight;
    return total;
  }

  void CheckTargets(const BatchView& batch) const override {
    CheckSequenceTargets(Targets(batch), TextCount(batch), outputs());
  }

 private:
  SequenceTargets Targets(const BatchView& batch) const {
    return {ProblemOf(problem_, outputs(), !batch.labels.empty()),
            batch.labels,
            batch.values,
            batch.class_weights,
            batch.label_smoothing,
            batch.dlogits};
  }
  SequenceTargets Part(const SequenceTargets& all, idx_t begin, idx_t rows) const {
    return {all.problem,
            Cut(all.labels, begin, rows),
            Cut(all.values, begin * outputs(), rows * outputs()),
            all.weights,
            all.smoothing,
            Cut(all.dlogits, begin * outputs(), rows * outputs())};
  }

  ProblemType problem_;
};

class ChoiceHead final : public TextHead {
 public:
  using TextHead::TextHead;

  const Linear* pooler() const override { return &classifier_.dense(); }

  std::vector<idx_t> LogitsShape(const BatchView& batch, idx_t count) const override {
    CheckChoices(batch);
    return {count / batch.choices, batch.choices};
  }

  // The choices of a question compete, so all rows must come as one block.
  HeadLoss Loss(Context& context, const HeadCall& call, HeadRows& rows,
                bool backward) const override {
    HeadLoss loss;
    const auto loss_from = [&](idx_t) -> DenseClassifier::LossOf {
      return [&](const View<const float, 2>& logits, float* dlogits) {
        return loss = LossOf(call, logits, dlogits);
      };
    };
    if (backward) {
      rows.Differentiate(GradientBy(context, call, loss_from));
    } else {
      rows.Read([&](idx_t begin, const View<const float, 2>& h) {
        classifier_.Loss(context, call.parameters, h, loss_from(begin));
      });
    }
    return loss;
  }

  void CheckTargets(const BatchView& batch) const override {
    CheckChoices(batch);
    CheckCount("labels", batch.labels.size(), TextCount(batch) / batch.choices, batch);
    for (const std::int32_t label : batch.labels) {
      Check(label == kIgnoreLabel || (label >= 0 && label < batch.choices), ErrorCode::kUsage,
            "batch: label {} is not one of {} choices", label, batch.choices);
    }
  }

 private:
  static void CheckChoices(const BatchView& batch) {
    const idx_t rows = TextCount(batch);
    Check(batch.choices >= 1 && rows % batch.choices == 0, ErrorCode::kUsage,
          "batch: {} rows do not divide into questions of {} choices", rows, batch.choices);
  }

  static HeadLoss LossOf(const HeadCall& call, const View<const float, 2>& logits, float* dlogits) {
    const auto& labels = call.batch.labels;
    const idx_t choices = call.batch.choices;
    const idx_t rows = TextCount(call.batch);
    Check(logits.extent[0] == rows, ErrorCode::kUsage,
          "batch: {} of {} rows of choices come together", logits.extent[0], rows);
    HeadLoss loss;
    loss.counted = CountLabels(labels);
    const float scale = LossScale(call.scale, loss.counted);
    for (std::size_t q = 0; q < labels.size(); ++q) {
      if (labels[q] == kIgnoreLabel) continue;
      const idx_t at = static_cast<idx_t>(q) * choices;
      const LogitRow row{logits.data + at, choices, 1};
      loss.sum += SoftmaxLoss(row, labels[q], scale, dlogits == nullptr ? nullptr : dlogits + at);
      loss.correct += LargestLogit(row) == labels[q] ? 1 : 0;
    }
    loss.mean = MeanLoss(loss.sum, loss.counted);
    return loss;
  }
};

}  // namespace

namespace {

// tanh(dense h), without a norm.
HeadTransformSpec TanhLayer(const std::string& dense) { return {dense, "", Activation::kTanh}; }

}  // namespace

std::unique_ptr<HeadLayer> MakeLanguageHead(const LanguageHeadNames& names, idx_t width,
                                            idx_t vocabulary, bool biased, ParameterTable& table) {
  return std::make_unique<LanguageHead>(names, width, vocabulary, biased, table);
}

std::unique_ptr<HeadLayer> MakeTransformedLanguageHead(const HeadTransformSpec& transform,
                                                       const LanguageHeadNames& names, idx_t width,
                                                       idx_t vocabulary, ParameterId tied,
                                                       ParameterTable& table) {
  return std::make_unique<TransformedLanguageHead>(transform, names, width, vocabulary, tied,
                                                   table);
}

std::unique_ptr<HeadLayer> MakeTokenHead(idx_t width, idx_t labels, const HeadDropout& dropout,
                                         ParameterTable& table) {
  return std::make_unique<TokenHead>(width, labels, dropout, table);
}

std::unique_ptr<HeadLayer> MakeQuestionHead(const std::string& name, idx_t width,
                                            const HeadDropout& dropout, ParameterTable& table) {
  return std::make_unique<QuestionHead>(name, width, dropout, table);
}

std::unique_ptr<HeadLayer> MakePlainSequenceHead(const HeadTransformSpec& transform, idx_t width,
                                                 idx_t labels, ProblemType problem, HeadReads reads,
                                                 const HeadDropout& dropout,
                                                 ParameterTable& table) {
  return std::make_unique<SequenceHead>(
      DenseClassifier(transform, "classifier.", width, width, labels, table), problem, dropout,
      reads);
}

std::unique_ptr<HeadLayer> MakePlainChoiceHead(const HeadTransformSpec& transform, idx_t width,
                                               HeadReads reads, const HeadDropout& dropout,
                                               ParameterTable& table) {
  return std::make_unique<ChoiceHead>(
      DenseClassifier(transform, "classifier.", width, width, 1, table), dropout, reads);
}

std::unique_ptr<HeadLayer> MakeSequenceHead(idx_t width, idx_t channels, idx_t labels,
                                            ProblemType problem, const HeadDropout& dropout,
                                            ParameterTable& table) {
  return std::make_unique<SequenceHead>(
      DenseClassifier(TanhLayer("classifier.dense."), "classifier.out_proj.", width, channels,
                      labels, table),
      problem, dropout, HeadReads::kFirstTokens);
}

std::unique_ptr<HeadLayer> MakeChoiceHead(const std::string& prefix, idx_t width,
                                          const HeadDropout& dropout, ParameterTable& table) {
  return std::make_unique<ChoiceHead>(
      DenseClassifier(TanhLayer(prefix + "pooler.dense."), "classifier.", width, width, 1, table),
      dropout, HeadReads::kFirstTokens);
}

}  // namespace longspan
