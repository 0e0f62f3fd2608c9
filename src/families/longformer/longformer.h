// The Longformer (Beltagy, Peters, Cohan 2020) as Hugging Face has it: embeddings, layers of window
// attention with global tokens, a head. Nothing is padded to the window and no layer's window has
// to divide anything. docs/reference/longformer.md tells what differs from the original and why.
//
// Training keeps, for each layer, its input and what LongformerLayer::Tensors says; a layer that is
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

#include "families/longformer/longformer_config.h"
#include "families/longformer/longformer_layer.h"
#include "longspan/context.h"
#include "model/batch.h"
#include "model/embedding_table.h"
#include "model/encoder_step.h"
#include "model/head_layer.h"
#include "model/norm_layer.h"
#include "model/parameters.h"

namespace longspan {

using LongformerStep = EncoderStep;

// Optional outputs of a forward pass. Null: not wanted.
struct LongformerShown {
  // Receives L + 1 copies of (B*T, C): the embeddings, then each layer's output.
  std::vector<Tensor>* hidden_states = nullptr;
  // Called after the attention of every layer, in their order, between parallel regions.
  const LongformerObserver* attention = nullptr;
};

class Longformer {
 public:
  explicit Longformer(LongformerConfig config, ParameterMemory memory = ParameterMemory::kOwn);
  ~Longformer();
  Longformer(Longformer&&) noexcept;
  Longformer& operator=(Longformer&&) noexcept;

  // Hugging Face's initialisation, from counter-based random numbers; rows of padding are zero.
  // With `which` only the parameters that it names.
  void Initialise(std::uint64_t seed, const std::function<bool(std::string_view name)>& which = {});

  const LongformerConfig& config() const { return config_; }
  ParameterTable& parameters() { return parameters_; }
  const ParameterTable& parameters() const { return parameters_; }
  // "longformer." under a head, nothing for a bare model.
  std::string_view prefix() const { return prefix_; }

  // Sets the operand type of later calls: kF32 (the default) or kBF16, else kUsage. With kBF16 all
  // products of the encoder and of a masked LM's decoder take bf16 operands, which training also
  // saves. Sums, softmax, norms, losses, the residual stream and all gradients are fp32. Costs bf16
  // weights of these matrices, rounded again at the first call after parameters() returned writable
  // values (ParameterTable::generation). With `copies` kInTurn they are made for one layer at a
  // time, whenever it runs. The bits are the same.
  void ComputeIn(DType dtype, LayerCopies copies = LayerCopies::kKept);
  DType computes_in() const { return bf16_ == nullptr ? DType::kF32 : DType::kBF16; }
  // Bytes of bf16 weights.
  std::size_t CopiedBytes() const { return bf16_ == nullptr ? 0 : bf16_->Bytes(); }
  const Bf16Weights* bf16_weights() const { return bf16_.get(); }  // null: fp32

  // Evaluation: hidden (B*T, C) = the last layer's output. With an active `dropout` the forward of
  // a training step, to the same bits.
  void Encode(Context& context, const BatchView& batch, const View<float, 2>& hidden,
              const LongformerShown& shown = {}, const StepDropout& dropout = {}) const;
  // pooled (B, C) from Encode's hidden states. kUsage for a model without a pooler.
  void Pool(Context& context, const BatchView& batch, const View<const float, 2>& hidden,
            const View<float, 2>& pooled) const;
  // The head's logits from Encode's hidden states: LogitsOf (model/hidden_rows.h) has the shapes.
  Tensor Logits(Context& context, const BatchView& batch, const View<const float, 2>& hidden) const;

  // The loss over the batch's targets; no gradients, no dropout.
  HeadLoss Loss(Context& context, const BatchView& batch) const;
  // Loss with gradients; they accumulate in parameters().gradients().
  HeadLoss LossAndGradients(Context& context, const BatchView& batch, const LongformerStep& step);
  // Gradients of sum(hidden * cotangent), cotangent (B*T, C); returns that sum.
  double CotangentGradients(Context& context, const BatchView& batch,
                            const View<const float, 2>& cotangent, const LongformerStep& step);

  // Useful work, in GFLOP: dense products for each token and label, 4 D (with the backward 14 D)
  // for each visible pair of query and key, and the cheaper form of the global rows. Recomputation
  // does not count.
  double ForwardGflop(const BatchView& batch) const;
  double StepGflop(const BatchView& batch) const;

 private:
  // Given the last hidden states (B*T, C), overwrites their gradient, and maybe them.
  using HeadGradient =
      std::function<void(const View<float, 2>& hidden, const View<float, 2>& dhidden)>;

  // The bf16 weights of the current parameters. Null if products are fp32.
  const Bf16Weights* FreshBf16(Context& context) const;
  // Call before layer i runs: makes its bf16 weights, if products take bf16.
  void EnterLayer(Context& context, std::size_t i) const;
  template <class T>
  void EncodeIn(Context& context, const BatchView& batch, const View<float, 2>& hidden,
                const LongformerShown& shown, const StepDropout& dropout) const;
  const HeadLayer& Head() const;
  void CheckBatch(const BatchView& batch) const;
  std::vector<std::int32_t> PositionsOf(const BatchView& batch) const;
  LongformerCall CallOf(const LongformerTexts& texts, const StepDropout& dropout, std::size_t layer,
                        bool backward) const;
  void Embed(Context& context, const BatchView& batch, const StepDropout& dropout,
             const View<float, 2>& x) const;
  void SumOfEmbeddings(Context& context, const BatchView& batch, const View<float, 2>& sum) const;
  void EmbedBackward(Context& context, const BatchView& batch, const StepDropout& dropout,
                     const View<float, 2>& dx);
  void Differentiate(Context& context, const BatchView& batch, const LongformerStep& step,
                     const HeadGradient& head_gradient);
  template <class T>
  void DifferentiateIn(Context& context, const BatchView& batch, const LongformerStep& step,
                       const HeadGradient& head_gradient);
  // GFLOP of dense products and of attention, forward.
  double DenseGflop(const BatchView& batch) const;
  double AttentionGflop(const BatchView& batch, bool with_backward) const;
  std::string Name(std::string_view rest) const;

  LongformerConfig config_;
  std::string prefix_;
  ParameterTable parameters_;
  std::optional<EmbeddingTable> words_, positions_, types_;
  std::optional<NormLayer> norm_;      // of the embeddings
  std::optional<Linear> pooler_;       // of a bare model
  std::unique_ptr<Bf16Weights> bf16_;  // null: fp32
  std::vector<LongformerLayer> layers_;
  std::unique_ptr<HeadLayer> head_;
};

// Position ids (B, T) as RoBERTa counts them: padding has row `pad` of the table, the other tokens
// pad + 1, pad + 2, ... in each row; padding does not count.
std::vector<std::int32_t> PositionIds(std::span<const std::int32_t> ids, idx_t rows, idx_t tokens,
                                      std::int32_t pad);

}  // namespace longspan
