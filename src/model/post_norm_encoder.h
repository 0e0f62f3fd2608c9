// An encoder whose layers are normalized after each of their blocks, with a head: a BERT, a
// RoBERTa, a Longformer. They differ in their attention and in what the Kind says:
//   Config                          PostNormFields with layers() and has_pooler()
//   Attention                       what PostNormLayer asks, with the types Texts and Observer
//   Class(config, head)             "LongformerForMaskedLM"
//   Prefix(config)                  before the encoder's names under a head: "longformer."
//   MakeHead(config, prefix, table) null for a bare model
//   AttentionFlop(config, batch, backward_from)     of all layers, from that one on with backward
// A source of the family instantiates it (post_norm_encoder_impl.h).
//
// Where a head reads few rows, the last layer computes no others (model/last_rows.h): for logits of
// texts, losses and their gradients.
//
// Training keeps, for each layer, its input and what PostNormLayer::Tensors says; a layer that is
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

#include "longspan/context.h"
#include "model/batch.h"
#include "model/bf16_weights.h"
#include "model/encoder_step.h"
#include "model/head_layer.h"
#include "model/last_rows.h"
#include "model/linear.h"
#include "model/parameters.h"
#include "model/post_norm_embeddings.h"
#include "model/post_norm_layer.h"

namespace longspan {

// Optional outputs of a forward pass. Null: not wanted.
template <class Observer>
struct PostNormShown {
  // Receives L + 1 copies of (B*T, C): the embeddings, then each layer's output.
  std::vector<Tensor>* hidden_states = nullptr;
  // Called after the attention of every layer, in their order, between parallel regions.
  const Observer* attention = nullptr;
};

template <class Kind>
class PostNormEncoder {
 public:
  using Config = typename Kind::Config;
  using Attention = typename Kind::Attention;
  using Texts = typename Attention::Texts;
  using Shown = PostNormShown<typename Attention::Observer>;

  explicit PostNormEncoder(Config config, ParameterMemory memory = ParameterMemory::kOwn);

  // Hugging Face's initialisation, from counter-based random numbers; rows of padding are zero.
  // With `which` only the parameters that it names.
  void Initialise(std::uint64_t seed, const std::function<bool(std::string_view name)>& which = {});

  const Config& config() const { return config_; }
  ParameterTable& parameters() { return parameters_; }
  const ParameterTable& parameters() const { return parameters_; }
  // Begins the encoder's names: nothing for a bare model.
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
  // a training step, to the same bits. Ranks that share rows make the call together, and all get
  // all rows.
  void Encode(Context& context, const BatchView& batch, const View<float, 2>& hidden,
              const Shown& shown = {}, const StepDropout& dropout = {}) const;
  // pooled (B, C) from Encode's hidden states. kUsage for a model without a pooler.
  void Pool(Context& context, const BatchView& batch, const View<const float, 2>& hidden,
            const View<float, 2>& pooled) const;
  // The head's logits from Encode's hidden states: LogitsOf (model/hidden_rows.h) has the shapes.
  Tensor Logits(Context& context, const BatchView& batch, const View<const float, 2>& hidden) const;

  // What Encode and Logits give together, but for roundings where the head reads few rows; with
  // ranks that share rows, on all of them. Together. With an active `dropout` those of a training
  // step, for heads that read texts.
  Tensor LogitsOfTexts(Context& context, const BatchView& batch,
                       const StepDropout& dropout = {}) const;

  // The loss over the batch's targets; no gradients, no dropout. Here and below a context with a
  // group of ranks (Context::SplitRows) makes the call theirs, together: each has the streams of
  // its own tokens and leaves the gradients of these, and all get the loss of the whole batch.
  HeadLoss Loss(Context& context, const BatchView& batch) const;
  // Loss with gradients; they accumulate in parameters().gradients().
  HeadLoss LossAndGradients(Context& context, const BatchView& batch, const EncoderStep& step);
  // Gradients of sum(hidden * cotangent), cotangent (B*T, C); returns that sum. Where ranks share
  // rows, both are those of this rank's tokens.
  double CotangentGradients(Context& context, const BatchView& batch,
                            const View<const float, 2>& cotangent, const EncoderStep& step);

  // Useful work of a loss, without its gradients and with them, in GFLOP: dense products for each
  // token, in the last layer for each that the head reads, and for each label, and the attention's.
  // Recomputation does not count.
  double ForwardGflop(const BatchView& batch) const;
  double StepGflop(const BatchView& batch) const;

 private:
  using Layer = PostNormLayer<Attention>;
  using Call = typename Layer::Call;
  // Given the last hidden states, overwrites their gradient, and maybe them.
  using HeadGradient =
      std::function<void(const View<float, 2>& hidden, const View<float, 2>& dhidden)>;

  // Random sites of the model; the head owns 1 and 2, layer i derives its key from kFirstLayer + i.
  static constexpr std::uint64_t kEmbeddings = 0, kFirstLayer = 16;

  // The bf16 weights of the current parameters. Null if products are fp32.
  const Bf16Weights* FreshBf16(Context& context) const;
  // Call before layer i runs: makes its bf16 weights, if products take bf16.
  void EnterLayer(Context& context, std::size_t i) const;
  // Encode of this rank's tokens alone: hidden is (n, C), the rows of its slab, and its first rows
  // are those of `last` on return.
  void EncodeOwn(Context& context, const BatchView& batch, const View<float, 2>& hidden,
                 const Shown& shown, const StepDropout& dropout, const LastRows& last) const;
  template <class T>
  void EncodeIn(Context& context, const BatchView& batch, const View<float, 2>& hidden,
                const Shown& shown, const StepDropout& dropout, const LastRows& last) const;
  const HeadLayer& Head() const;
  Dropout EmbeddingSite(const StepDropout& dropout) const;
  Call CallOf(Context& context, const Texts& texts, const StepDropout& dropout, std::size_t layer,
              bool backward, const LastRows& last) const;
  // `last`: the rows of the last hidden states that head_gradient is given.
  void Differentiate(Context& context, const BatchView& batch, const EncoderStep& step,
                     const LastRows& last, const HeadGradient& head_gradient);
  template <class T>
  void DifferentiateIn(Context& context, const BatchView& batch, const EncoderStep& step,
                       const LastRows& last, const HeadGradient& head_gradient);
  double Gflop(const BatchView& batch, std::size_t backward_from, bool head_backward) const;

  Config config_;
  std::string prefix_;
  ParameterTable parameters_;
  std::optional<PostNormEmbeddings> embeddings_;
  std::unique_ptr<Bf16Weights> bf16_;  // null: fp32
  std::vector<Layer> layers_;
  std::optional<Linear> pooler_;  // of a bare model
  std::unique_ptr<HeadLayer> head_;
};

}  // namespace longspan
