#include "model/reformer_heads.h"

#include <algorithm>

#include "base/arena.h"
#include "base/errors.h"
#include "gemm/gemm.h"
#include "model/dense_classifier.h"
#include "model/linear.h"
#include "model/rows.h"

namespace longspan {
namespace {

// Dropout sites of the heads, below the step's key; the model owns 0 to 3 and those from 16 on.
enum ReformerHeadSite : std::uint64_t { kBeforeReformerDense = 4, kBeforeReformerLogits = 5 };

void CheckCount(const char* what, std::size_t given, idx_t needed, const TokenBatch& batch) {
  Check(static_cast<idx_t>(given) == needed, ErrorCode::kUsage,
        "batch: {} {} for {} rows of {} tokens, need {}", given, what, batch.rows, batch.tokens,
        needed);
}

// ---- language models ----------------------------------------------------------------------------

// logits = h decoder^T + bias, of a causal or a masked language model: what differs is which token
// a position predicts, and that is the batch's. Without `lm_bias` the bias is loaded and saved but
// takes no part, as in transformers 5.
class LanguageHead final : public ReformerHeadLayer {
 public:
  LanguageHead(const ReformerConfig& config, ParameterTable& p)
      : width_(2 * config.hidden_size),
        vocabulary_(config.vocab_size),
        biased_(config.lm_bias),
        decoder_(p.Add("lm_head.decoder.weight", {vocabulary_, width_}, ParameterKind::kMatrix)),
        bias_(p.Add("lm_head.bias", {vocabulary_}, ParameterKind::kBias)) {}

  idx_t outputs() const override { return vocabulary_; }

  void Logits(Context& context, const ParameterTable& parameters, const View<const float, 2>& h,
              const View<float, 2>& logits) const override {
    const ClassifierWeights decoder = Decoder(parameters);
    gemm::Forward(context, h, decoder.w, biased_ ? decoder.b.data : nullptr, logits);
  }

  HeadLoss Loss(Context& context, const ReformerHeadCall& call, HeadRows& rows,
                bool backward) const override {
    const ParameterTable& p = call.parameters;
    const auto& targets = call.batch.targets;
    const auto part = [&](idx_t begin, idx_t count) {
      return targets.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count));
    };
    CrossEntropyResult total;
    const auto add = [&](const CrossEntropyResult& block) {
      total.sum += block.sum;
      total.counted += block.counted;
      total.correct += block.correct;
    };
    if (!backward) {
      rows.Read([&](idx_t begin, const View<const float, 2>& h) {
        add(CrossEntropyForward(context, Decoder(p), h, part(begin, h.extent[0])));
      });
      return FromCrossEntropy(total);
    }
    float scale = call.scale.value_or(0.0f);
    if (!call.scale) {
      const auto ignored = std::count(targets.begin(), targets.end(), kIgnoreLabel);
      scale = LossScale({}, static_cast<idx_t>(targets.size()) - ignored);
    }
    const ClassifierGradients gradients = {p.matrix_gradient(decoder_),
                                           biased_ ? p.vector_gradient(bias_) : View<float, 1>()};
    rows.Differentiate([&](idx_t begin, const View<float, 2>& h, const View<float, 2>& dh) {
      add(CrossEntropyForwardBackward(context, Decoder(p), h, part(begin, h.extent[0]), scale, dh,
                                      gradients));
    });
    return FromCrossEntropy(total);
  }

  void CheckTargets(const TokenBatch& batch) const override {
    Check(!batch.targets.empty(), ErrorCode::kUsage, "batch: a loss needs targets");
    CheckCount("targets", batch.targets.size(), batch.rows * batch.tokens, batch);
  }

  double ForwardFlop(idx_t rows, idx_t tokens) const override {
    return 2.0 * static_cast<double>(rows * tokens) * static_cast<double>(vocabulary_ * width_);
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

// ---- one vector for each row --------------------------------------------------------------------

class SequenceHead final : public ReformerHeadLayer {
 public:
  SequenceHead(const ReformerConfig& config, ParameterTable& p)
      : problem_(config.problem),
        dropout_(config.classifier_dropout.value_or(config.hidden_dropout)),
        classifier_("classifier.dense.", "classifier.out_proj.", 2 * config.hidden_size,
                    config.hidden_size, config.label_count(), p) {}

  bool reads_first() const override { return true; }
  idx_t outputs() const override { return classifier_.outputs(); }

  void Logits(Context& context, const ParameterTable& parameters, const View<const float, 2>& h,
              const View<float, 2>& logits) const override {
    classifier_.Logits(context, parameters, h, logits);
  }

  // Rows come in blocks, and each block's loss is a part of the sum: what they all share is the
  // scale.
  HeadLoss Loss(Context& context, const ReformerHeadCall& call, HeadRows& rows,
                bool backward) const override {
    const SequenceTargets all = Targets(call.batch);
    const idx_t counted = Counted(all, rows.count());
    const float scale = LossScale(call.scale, counted);
    const DenseClassifier::Sites sites = {SiteOf(call.dropout, dropout_, kBeforeReformerDense),
                                          SiteOf(call.dropout, dropout_, kBeforeReformerLogits)};
    HeadLoss total;
    const auto loss_from = [&](idx_t begin) {
      return [&, begin](const View<const float, 2>& logits, float* dlogits) {
        const HeadLoss part =
            SequenceLoss(Part(all, begin, logits.extent[0]), scale, logits, dlogits);
        total.sum += part.sum;
        total.counted += part.counted;
        total.correct += part.correct;
        return part;
      };
    };
    if (backward) {
      rows.Differentiate([&](idx_t begin, const View<float, 2>& h, const View<float, 2>& dh) {
        CopyRows(context, h, dh);
        classifier_.LossAndGradients(context, call.parameters, sites, dh, loss_from(begin));
      });
    } else {
      rows.Read([&](idx_t begin, const View<const float, 2>& h) {
        classifier_.Loss(context, call.parameters, h, loss_from(begin));
      });
    }
    total.mean = MeanLoss(total.sum, total.counted);
    return total;
  }

  void CheckTargets(const TokenBatch& batch) const override {
    CheckSequenceTargets(Targets(batch), batch.rows, outputs());
  }
  double ForwardFlop(idx_t rows, idx_t) const override { return classifier_.ForwardFlop(rows); }

 private:
  SequenceTargets Targets(const TokenBatch& batch) const {
    return {ProblemOf(problem_, outputs(), !batch.labels.empty()), batch.labels, batch.values};
  }
  idx_t Counted(const SequenceTargets& targets, idx_t rows) const {
    if (targets.problem != ProblemType::kSingleLabel) return rows * outputs();
    return rows - std::count(targets.labels.begin(), targets.labels.end(), kIgnoreLabel);
  }
  SequenceTargets Part(const SequenceTargets& all, idx_t begin, idx_t rows) const {
    const auto cut = [&](const auto& values, idx_t each) {
      return values.empty() ? values
                            : values.subspan(static_cast<std::size_t>(begin * each),
                                             static_cast<std::size_t>(rows * each));
    };
    return {all.problem, cut(all.labels, 1), cut(all.values, outputs())};
  }

  ProblemType problem_;
  double dropout_;
  DenseClassifier classifier_;
};

// ---- question answering -------------------------------------------------------------------------

// Two logits for each token: that the answer starts there, that it ends there.
class QuestionHead final : public ReformerHeadLayer {
 public:
  QuestionHead(const ReformerConfig& config, ParameterTable& p)
      : width_(2 * config.hidden_size), linear_("qa_outputs.", 2, width_, p) {}

  idx_t outputs() const override { return 2; }

  void Logits(Context& context, const ParameterTable& parameters, const View<const float, 2>& h,
              const View<float, 2>& logits) const override {
    linear_.Forward(context, parameters, h, logits);
  }

  // A place competes with every other one of its row: all logits come first, then the gradient.
  HeadLoss Loss(Context& context, const ReformerHeadCall& call, HeadRows& rows,
                bool backward) const override {
    const idx_t n = rows.count();
    Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(2 * n));
    const View<float, 2> logits(frame.Take<float>(2 * n), {n, 2});
    const View<float, 2> dlogits(frame.Take<float>(2 * n), {n, 2});
    rows.Read([&](idx_t begin, const View<const float, 2>& h) {
      linear_.Forward(context, call.parameters, h, logits.Rows(begin, h.extent[0]));
    });
    if (backward) ZeroRows(context, dlogits);
    const HeadLoss loss = AnswerLoss({call.batch.starts, call.batch.ends}, call.scale,
                                     call.batch.tokens, logits, backward ? dlogits.data : nullptr);
    if (!backward) return loss;
    rows.Differentiate([&](idx_t begin, const View<float, 2>& h, const View<float, 2>& dh) {
      linear_.Backward(context, call.parameters, h, dlogits.Rows(begin, h.extent[0]), dh);
    });
    return loss;
  }

  void CheckTargets(const TokenBatch& batch) const override {
    CheckCount("start positions", batch.starts.size(), batch.rows, batch);
    CheckCount("end positions", batch.ends.size(), batch.rows, batch);
  }
  double ForwardFlop(idx_t rows, idx_t tokens) const override {
    return 4.0 * static_cast<double>(rows * tokens) * static_cast<double>(width_);
  }

 private:
  idx_t width_;
  Linear linear_;
};

}  // namespace

std::unique_ptr<ReformerHeadLayer> MakeReformerHead(const ReformerConfig& config,
                                                    ParameterTable& parameters) {
  switch (config.head) {
    case HeadKind::kNone:
      return nullptr;
    case HeadKind::kCausalLm:
    case HeadKind::kMaskedLm:
      return std::make_unique<LanguageHead>(config, parameters);
    case HeadKind::kSequence:
      return std::make_unique<SequenceHead>(config, parameters);
    case HeadKind::kQuestion:
      return std::make_unique<QuestionHead>(config, parameters);
    case HeadKind::kToken:
    case HeadKind::kChoice:
      break;  // a Reformer has none
  }
  return nullptr;
}

}  // namespace longspan
