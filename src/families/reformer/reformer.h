// The Reformer (Kitaev, Kaiser, Levskaya 2020): embeddings, reversible layers, a head.
//
// Two streams of (B*T, C): x1 = x2 = embeddings. Layer i: y1 = x1 + Attention_i(x2),
// y2 = x2 + FeedForward_i(y1). The head reads LayerNorm(y1 ++ y2), (B*T, 2C).
// Training keeps the two streams and nothing else of a layer: memory is flat in the depth.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/rng.h"
#include "families/reformer/reformer_batch.h"
#include "families/reformer/reformer_config.h"
#include "families/reformer/residual_branch.h"
#include "generate/generative_model.h"
#include "longspan/context.h"
#include "model/bf16_weights.h"
#include "model/embedding_table.h"
#include "model/head_layer.h"
#include "model/norm_layer.h"
#include "model/parameters.h"
#include "model/step_dropout.h"

namespace longspan {

class AttentionMechanism;
struct StreamPair;

class Reformer final : public GenerativeModel {
 public:
  explicit Reformer(ReformerConfig config, ParameterMemory memory = ParameterMemory::kOwn);
  ~Reformer() override;
  Reformer(Reformer&&) noexcept;
  Reformer& operator=(Reformer&&) noexcept;

  // Sets the operand type of products and of the tensors between them: kF32 or kBF16 (else kUsage).
  // It belongs to the run, not to the model. Parameters, gradients, streams, softmax, norms and
  // losses stay fp32. bf16 needs 2 more bytes for every number of a matrix.
  void ComputeIn(DType dtype);
  DType computes_in() const { return bf16_ == nullptr ? DType::kF32 : DType::kBF16; }
  // Bytes of bf16 copies.
  std::size_t CopiedBytes() const { return bf16_ == nullptr ? 0 : bf16_->Bytes(); }
  const Bf16Weights* bf16_weights() const { return bf16_.get(); }  // null: fp32

  // Layers save up to `bytes` of a training step's activations, the last layers first, and
  // recompute the others in the backward. Gradients have the same bits. 0, the default:
  // nothing.
  void KeepUpTo(std::size_t bytes) { keep_limit_ = bytes; }
  // Ranks that share rows keep the same: the least of their limits. Together.
  void AgreeOnSteps(RowGroup& group);
  // The cells of the streams' gradients between layers, kF32 or kBF16 (else kUsage): bf16 takes two
  // bytes a value instead of four; sums are rounded by chance, which the step's key draws.
  void GradientStreamsIn(DType dtype);
  DType gradient_streams() const { return gradient_streams_; }
  // Bytes of activations that a step saves with that limit.
  // `ranks`: the group that shares the rows, or null; a rank saves as much as any other.
  std::size_t ActivationBytes(idx_t rows, idx_t tokens, RowGroup* ranks = nullptr) const;

  // Hugging Face's initialisation, from counter-based random numbers.
  // With `which` only the parameters that it names.
  void Initialise(std::uint64_t seed, const std::function<bool(std::string_view name)>& which = {});

  // Continuing texts (families/reformer/reformer_decoder.h).
  idx_t LongestText() const override { return config_.longest(); }
  bool EndsText(std::int32_t id) const override;
  void CheckContinues() const override;
  std::size_t CacheBytes(idx_t tokens) const override;
  std::unique_ptr<TextDecoder> MakeDecoder(bool cache) const override;

  const ReformerConfig& config() const { return config_; }
  ParameterTable& parameters() { return parameters_; }
  const ParameterTable& parameters() const { return parameters_; }

  // From now on every batch must be one that the original takes
  // (families/reformer/original_rules.h), and evaluation pads texts to whole chunks as it does;
  // hidden states keep the padded length. As made a model takes any length and pads nothing.
  void SetStrict(bool strict) { strict_ = strict; }
  bool strict() const { return strict_; }

  // Evaluation: writes the residual streams after the last layer into y1 and y2 (B*T, C).
  // `hidden_states`, if given, receives L + 1 copies of (B*T, C): x2 before each layer, then
  // the final y2 (Hugging Face's hidden_states). `observer`, if given, is called as in
  // Observe.
  void Encode(Context& context, const ReformerBatch& batch, const View<float, 2>& y1,
              const View<float, 2>& y2, std::vector<Tensor>* hidden_states = nullptr,
              const AttentionObserver* observer = nullptr) const;

  // Evaluation that calls the observer after the attention of every layer, in their order, between
  // parallel regions. The observer may use the context.
  void Observe(Context& context, const ReformerBatch& batch,
               const AttentionObserver& observer) const;

  // LayerNorm(y1 ++ y2) for rows [begin, begin + h.extent[0]) of the streams: h (rows, 2C).
  void Normalise(Context& context, const View<float, 2>& y1, const View<float, 2>& y2,
                 const View<float, 2>& h) const;

  // logits (rows, V) of h (rows, 2C); kUsage unless the model is a causal or masked language model.
  void Logits(Context& context, const View<const float, 2>& h, const View<float, 2>& logits) const;
  // The head's logits from Encode's streams: (B*T, V) of language models, (B, labels) of sequence
  // classifiers, (B*T, 2) for the starts and ends of answers.
  Tensor HeadLogits(Context& context, idx_t rows, const View<float, 2>& y1,
                    const View<float, 2>& y2) const;

  // The head's logits of a batch, which has no targets: (B*T, outputs) of every token, or (texts,
  // outputs). Where ranks share rows, all of them get all logits.
  Tensor LogitsOfTexts(Context& context, const ReformerBatch& batch) const;
  idx_t LogitCount() const { return Head().outputs(); }  // of a row

  // The head's logits of rows of h (rows, 2C) as it reads them: every token, or first tokens.
  Tensor LogitsOfRows(Context& context, const View<const float, 2>& h) const;

  // Where ranks share rows (Context::row_group), the batch is the same on all of them, and so are
  // the losses: those of the whole batch. Gradients are those of this rank's tokens. Hidden states
  // are those of all tokens. All other functions of whole texts need all rows on one rank (kUsage).

  // What a head reads of every token: h (B*T, 2C) = LayerNorm(y1 ++ y2); no dropout.
  void EncodeTexts(Context& context, const ReformerBatch& batch, const View<float, 2>& h) const;

  // The loss over the batch's targets; no gradients, no dropout.
  HeadLoss Loss(Context& context, const ReformerBatch& batch) const;

  // Loss with gradients of scale * sum, or of Hugging Face's mean when there is no scale; they
  // accumulate in parameters().gradients().
  HeadLoss LossAndGradients(Context& context, const ReformerBatch& batch,
                            std::optional<float> scale, const StepDropout& dropout);

  // Gradients of sum(LayerNorm(y1 ++ y2) * cotangent), cotangent (B*T, 2C); returns that sum. Where
  // ranks share rows, both are those of this rank's tokens.
  double CotangentGradients(Context& context, const ReformerBatch& batch,
                            const View<const float, 2>& cotangent, const StepDropout& dropout);

  // The logits (B, labels) of the forward of a step, whose head reads texts; nothing is kept.
  // kUsage for other heads.
  Tensor LogitsInStep(Context& context, const ReformerBatch& batch,
                      const StepDropout& dropout) const;

  // The forward of such a step: writes h (B*T, 2C), what its head reads of every token, and keeps
  // nothing.
  void EncodeInStep(Context& context, const ReformerBatch& batch, const StepDropout& dropout,
                    const View<float, 2>& h) const;

  // x (T, C) = embeddings of `ids` at positions start, start + 1, ...; no dropout.
  void EmbedAt(Context& context, std::span<const std::int32_t> ids, idx_t start,
               const View<float, 2>& x) const;
  // Rotations (H, D, R, columns) for LSH layer `layer` instead of those it would draw; their shape
  // is checked when the layer hashes. kUsage for a layer that does not.
  void GiveRotations(std::size_t layer, Tensor rotations);
  // The rotations with which evaluation hashes in `layer`; empty if it does not hash, or if its
  // buckets are all 0.
  Tensor Rotations(std::size_t layer, const LshSpec& spec) const;
  // The buckets (B, H, R, T) that a layer stored in the last training step. Empty if it did not
  // hash.
  std::span<const std::uint16_t> Buckets(std::size_t layer) const;
  // The attention mechanism of a layer.
  const AttentionMechanism& Mechanism(std::size_t layer) const;
  // Bytes of the states of all mechanisms, which live from a training step's forward pass to its
  // backward.
  std::size_t StateBytes() const;
  // Bytes of the streams of a training step and their gradients.
  static std::size_t StreamBytes(const ReformerConfig& config, idx_t rows, idx_t tokens,
                                 DType gradients = DType::kF32);
  // The key of a layer's mechanism in evaluation, from the config's rotation_seed. LSH layers draw
  // their rotations from it.
  static std::uint64_t EvaluationKey(const ReformerConfig& config, std::size_t layer);

  // "reformer.encoder.layers.<i>."
  std::string LayerPrefix(std::size_t layer) const;

  // Floating-point work of one training step without recomputation, in GFLOP: three times the
  // forward's products, 14 D per (query, key of its window) for the attention.
  double StepGflop(idx_t rows, idx_t tokens) const;
  double ForwardGflop(idx_t rows, idx_t tokens) const;

 private:
  struct Layer;
  struct ActivationMemory;
  struct Streams;
  // Optional outputs of a forward pass. Null: not wanted.
  struct Shown {
    std::vector<Tensor>* hidden_states = nullptr;
    const AttentionObserver* attention = nullptr;
  };

  // The kind of pass over a batch: evaluation, or a training step.
  enum class Pass { kEvaluation, kTraining };
  void CheckBatch(const ReformerBatch& batch, Pass pass) const;
  void CheckPositions(const ReformerBatch& batch) const;
  // kUsage for what ranks cannot share.
  void CheckShared(const Context& context, const ReformerBatch& batch) const;
  void Embed(Context& context, const ReformerBatch& batch, const StepDropout& dropout,
             const View<float, 2>& x) const;
  // Tokens whose positions follow one another.
  struct Stretch {
    idx_t rows = 1;   // of them, one after another in x
    idx_t start = 0;  // the position of each row's first token
    // For dropout: the number of the first row, and of its first token, in the site.
    idx_t row = 0, first = 0;
  };
  void AddPositions(Context& context, const Stretch& stretch, const Dropout& dropout,
                    const View<float, 2>& x) const;
  void AddPositionsBackward(Context& context, const Stretch& stretch, const Dropout& dropout,
                            const View<float, 2>& dx);
  // use(stretch, dropout, first token in x, tokens) for all of this rank's tokens.
  template <class Use>
  void EachStretch(const ReformerBatch& batch, const TokenSlab& own, const Dropout& site,
                   const Use& use) const;
  void EmbedBackward(Context& context, const ReformerBatch& batch, const StepDropout& dropout,
                     const View<float, 2>& dx);
  BranchCall CallOf(const ReformerBatch& batch, const StepDropout& dropout, std::size_t layer,
                    std::uint64_t branch, bool keep, RowGroup* ranks) const;
  const Bf16Weights* FreshBf16(Context& context) const;
  // Gives the layers of a step their room for activations, as far as the limit goes.
  void PlaceActivations(const Context& context, const ReformerBatch& batch);
  template <class Place>
  void EachSaved(idx_t rows, idx_t tokens, RowGroup* ranks, const Place& place) const;
  // The streams after the last layer (n, C) of this rank's tokens, without dropout.
  void ForwardOwn(Context& context, const ReformerBatch& batch, const View<float, 2>& y1,
                  const View<float, 2>& y2) const;
  void ForwardThroughLayers(Context& context, const ReformerBatch& batch,
                            const StepDropout& dropout, bool keep, const ResidualStream& y1,
                            const ResidualStream& y2, const Shown& shown) const;
  void BackwardThroughLayers(Context& context, const ReformerBatch& batch,
                             const StepDropout& dropout, const Streams& streams);
  // The forward of a step into the streams y1 and y2, on the finest of the grids that has room for
  // them. `keep`: a backward follows.
  void ForwardInStep(Context& context, const ReformerBatch& batch, const StepDropout& dropout,
                     bool keep, Streams& streams) const;
  // The first layer that a backward runs through.
  std::size_t FirstTrained() const;
  const HeadLayer& Head() const;
  // The head's input from these streams of the batch. With gradients it can differentiate.
  std::unique_ptr<HeadRows> RowsOf(Context& context, const BatchView& batch,
                                   const StreamPair& streams, const StepDropout& dropout) const;
  // The head's loss over these rows, of all ranks that share them. With `backward`, gradients too.
  HeadLoss HeadLossOf(Context& context, const HeadCall& call, HeadRows& rows, bool backward) const;
  // Given what the head reads of the last layer, calls rows.Differentiate.
  using HeadGradient = std::function<void(HeadRows& rows)>;
  void Differentiate(Context& context, const ReformerBatch& batch, const StepDropout& dropout,
                     const HeadGradient& head_gradient);

  std::string Name(std::string_view rest) const;  // with the head models' prefix

  ReformerConfig config_;
  ParameterTable parameters_;
  std::optional<EmbeddingTable> words_;
  // The tables of axial positions, or the first is that of all positions.
  std::array<ParameterId, 2> positions_ = {kNoParameter, kNoParameter};
  std::optional<NormLayer> norm_;  // after the last layer, over both streams
  std::vector<std::unique_ptr<Layer>> layers_;
  std::unique_ptr<HeadLayer> head_;
  bool strict_ = false;
  std::unique_ptr<Bf16Weights> bf16_;
  std::size_t keep_limit_ = 0;
  DType gradient_streams_ = DType::kF32;
  std::unique_ptr<ActivationMemory> activations_;
};

}  // namespace longspan
