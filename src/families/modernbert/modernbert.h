// ModernBERT (Warner et al. 2024, arXiv:2412.13663) as Hugging Face has it: word embeddings, layers
// of full and of sliding-window attention with rotary positions, a head. Padding is never computed
// (visible_batch.h). docs/reference/modernbert.md tells what differs from the original and why.
//
// Where a head reads few rows, the last layer computes no others (model/last_rows.h): for logits of
// texts, losses and their gradients.
//
// Training keeps, for each layer, its input and what ModernBertLayer::Tensors says; a layer that is
// to be recomputed keeps its input alone.
//
// Weights, gradients and the residual stream are fp32. What products multiply is fp32 or bf16, as
// ComputeIn says: a property of the run, not of the model.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "families/modernbert/modernbert_config.h"
#include "families/modernbert/modernbert_layer.h"
#include "longspan/context.h"
#include "model/batch.h"
#include "model/embedding_table.h"
#include "model/encoder_step.h"
#include "model/head_layer.h"
#include "model/last_rows.h"
#include "model/norm_layer.h"
#include "model/parameters.h"

namespace longspan {

// Optional outputs of a forward pass. Null: not wanted.
struct ModernBertShown {
  // Receives L + 1 copies of (B*T, C): the embeddings, the output of each layer but the last, and
  // the last one's after the final norm. Rows of padding are 0.
  std::vector<Tensor>* hidden_states = nullptr;
  // Called after the attention of each group of texts in each layer, in order. Products of fp32.
  const ModernBertObserver* attention = nullptr;
};

class ModernBert {
 public:
  explicit ModernBert(ModernBertConfig config, ParameterMemory memory = ParameterMemory::kOwn);
  ~ModernBert();
  ModernBert(ModernBert&&) noexcept;
  ModernBert& operator=(ModernBert&&) noexcept;

  // Hugging Face's initialisation, from counter-based random numbers: normal numbers cut at
  // initializer_cutoff deviations, whose size depends on the tensor. With `which` only the
  // parameters that it names.
  void Initialise(std::uint64_t seed, const std::function<bool(std::string_view name)>& which = {});

  const ModernBertConfig& config() const { return config_; }
  ParameterTable& parameters() { return parameters_; }
  const ParameterTable& parameters() const { return parameters_; }

  // Sets the operand type of later calls: kF32 (the default) or kBF16, else kUsage. With kBF16 all
  // products of the encoder and of a masked LM's decoder take bf16 operands, which training also
  // saves. Sums, softmax, norms, losses, the residual stream and all gradients are fp32. Costs bf16
  // weights of these matrices, rounded again at the first call after parameters() returned writable
  // values. With `copies` kInTurn they are made for one layer at a time, whenever it runs.
  void ComputeIn(DType dtype, LayerCopies copies = LayerCopies::kKept);
  DType computes_in() const { return bf16_ == nullptr ? DType::kF32 : DType::kBF16; }
  std::size_t CopiedBytes() const { return bf16_ == nullptr ? 0 : bf16_->Bytes(); }

  // Evaluation: hidden (B*T, C) = the last layer's output after the final norm; 0 for padding. With
  // an active `dropout` the forward of a training step, to the same bits. Ranks that share rows
  // make the call together, and all get all rows.
  void Encode(Context& context, const BatchView& batch, const View<float, 2>& hidden,
              const ModernBertShown& shown = {}, const StepDropout& dropout = {}) const;
  // The head's logits from Encode's hidden states: LogitsOf (model/hidden_rows.h) has the shapes.
  // Of padding they are 0.
  Tensor Logits(Context& context, const BatchView& batch, const View<const float, 2>& hidden) const;

  // What Encode and Logits give together, but for roundings where the head reads few rows; with
  // ranks that share rows, on all of them. Together. With an active `dropout` those of a training
  // step, for heads that read texts.
  Tensor LogitsOfTexts(Context& context, const BatchView& batch,
                       const StepDropout& dropout = {}) const;

  // The loss over the batch's targets; no gradients, no dropout. Here and below a context with a
  // group of ranks (Context::SplitRows) makes the call theirs, together: each has the streams of
  // its own visible tokens and leaves the gradients of these, and all get the whole loss. Padding
  // takes no part: labels of hidden tokens are ignored, and answers compete with the visible tokens
  // of their text alone.
  HeadLoss Loss(Context& context, const BatchView& batch) const;
  // Loss with gradients; they accumulate in parameters().gradients().
  HeadLoss LossAndGradients(Context& context, const BatchView& batch, const EncoderStep& step);
  // Gradients of sum(hidden * cotangent), cotangent (B*T, C); returns that sum. Where ranks share
  // rows, both are those of this rank's tokens.
  double CotangentGradients(Context& context, const BatchView& batch,
                            const View<const float, 2>& cotangent, const EncoderStep& step);

  // Useful work of a loss, without its gradients and with them, in GFLOP: dense products for each
  // visible token, in the last layer for each that the head reads, and for each label; 4 C (with
  // the backward 14 C) for each visible pair of query and key. Recomputation does not count.
  double ForwardGflop(const BatchView& batch) const;
  double StepGflop(const BatchView& batch) const;

 private:
  // Given the last hidden states h, overwrites their gradient, and maybe them.
  using HeadGradient = std::function<void(const View<float, 2>& h, const View<float, 2>& dh)>;

  // The batch without its padding: for losses, whose targets are checked, and for all else. kUsage
  // for shapes that do not fit.
  VisibleBatch WithTargets(const BatchView& batch) const;
  VisibleBatch WithoutTargets(const BatchView& batch) const;
  VisibleBatch Visible(const BatchView& batch) const;  // checks nothing
  const Bf16Weights* FreshBf16(Context& context) const;
  const HeadLayer& Head() const;
  ModernBertCall CallOf(Context& context, const VisibleBatch& texts, const RotaryTables& tables,
                        const StepDropout& dropout, std::size_t layer, bool backward,
                        const LastRows& last) const;
  // Logits of packed hidden states (n, C), of this rank's tokens where ranks share rows; or of
  // those alone that the head reads.
  Tensor LogitsOfVisible(Context& context, const VisibleBatch& texts,
                         const View<const float, 2>& packed, const StepDropout& dropout = {}) const;
  // stream (n, C), of this rank's tokens where ranks share rows, becomes the last hidden states of
  // the visible tokens: of those of `last` in its first rows.
  void EncodeVisible(Context& context, const VisibleBatch& texts, const View<float, 2>& stream,
                     const ModernBertShown& shown, const StepDropout& dropout,
                     const LastRows& last) const;
  template <class T>
  void EncodeIn(Context& context, const VisibleBatch& texts, const View<float, 2>& stream,
                const ModernBertShown& shown, const StepDropout& dropout,
                const LastRows& last) const;
  void Embed(Context& context, const VisibleBatch& texts, const StepDropout& dropout,
             const View<float, 2>& x) const;
  void EmbedBackward(Context& context, const VisibleBatch& texts, const StepDropout& dropout,
                     const View<float, 2>& dx);
  // `last`: the rows of the last hidden states that head_gradient is given.
  void Differentiate(Context& context, const VisibleBatch& texts, const EncoderStep& step,
                     const LastRows& last, const HeadGradient& head_gradient);
  template <class T>
  void DifferentiateIn(Context& context, const VisibleBatch& texts, const EncoderStep& step,
                       const LastRows& last, const HeadGradient& head_gradient);
  // With the backward of the layers from `backward_from` on.
  double Gflop(const BatchView& batch, std::size_t backward_from, bool head_backward) const;

  ModernBertConfig config_;
  std::string prefix_;  // "model." under a head, nothing for a bare model
  ParameterTable parameters_;
  std::optional<EmbeddingTable> words_;
  std::optional<NormLayer> embedding_norm_, final_norm_;
  std::unique_ptr<Bf16Weights> bf16_;  // null: fp32
  std::vector<ModernBertLayer> layers_;
  std::unique_ptr<HeadLayer> head_;
};

}  // namespace longspan
