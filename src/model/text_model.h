// A model that reads texts, whatever its family: what tasks, training and measuring need of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "generate/generative_model.h"
#include "io/safetensors.h"
#include "longspan/context.h"
#include "model/batch.h"
#include "model/global_policy.h"
#include "model/head_losses.h"
#include "model/parameters.h"
#include "model/step_dropout.h"
#include "model/step_needs.h"
#include "model/text_model_info.h"
#include "world/row_group.h"

namespace longspan {

// Where the rule about global tokens comes from, if `given` is what the options say.
GlobalOrigin OriginOfGlobal(const TextModelInfo& info, const GlobalPolicy& given);
// Resolves `given` for this model: auto is the rule of its training, or else what its head needs.
// For a model with global tokens a line about the rule and where it comes from is appended to
// `notes`. Throws kUsage for global tokens if the model has none.
GlobalPolicy ResolveGlobal(const TextModelInfo& info, const GlobalPolicy& given,
                           std::vector<std::string>* notes = nullptr);
// The rule that the files of a model should name that is trained with `given`; absent: what they
// have stays. A rule that the head implies is kAuto, so that another head's training starts afresh.
std::optional<GlobalRule> GlobalToSave(const TextModelInfo& info, const GlobalPolicy& given);

// kUsage unless so many ranks may share the rows of such a model.
void CheckRowRanks(const TextModelInfo& info, int row_ranks);

class TextModel {
 public:
  virtual ~TextModel() = default;

  virtual const TextModelInfo& info() const = 0;
  virtual ParameterTable& parameters() = 0;
  virtual const ParameterTable& parameters() const = 0;
  // Hugging Face's initialisation, from counter-based random numbers. With `which` only the
  // parameters that it names.
  virtual void Initialise(std::uint64_t seed,
                          const std::function<bool(std::string_view name)>& which = {}) = 0;
  // kF32 or kBF16; kUsage if the model cannot.
  virtual void ComputeIn(DType dtype) = 0;
  // Runs steps in this way from now on.
  virtual void Follow(const StepPolicy& policy) = 0;
  // Limits steps over rows of tokens to `bytes` (ModelConfig::Fit). Throws kLimit if saving nothing
  // does not suffice. `run` has what else takes memory: the optimizer, the ranks and the sums; the
  // model itself knows how it computes and what is frozen.
  virtual void FitInto(std::size_t bytes, idx_t rows, idx_t tokens, const StepPolicy& run) = 0;
  // Ranks that share rows save and recompute the same: what the one of them does that saves least.
  // Together, before the first step of all.
  virtual void AgreeOnSteps(RowGroup& /*group*/) {}
  // Minimizes the memory of steps: layers save only their input. Throws kUsage if the model
  // cannot.
  virtual void Recompute() = 0;

  // The const calls change nothing: threads may make them at once on one model, each with a context
  // of its own, unless Follow asked for bf16 weights in turn.

  // Writes hidden (B*T, width): the head's input of every token. Hidden tokens get any finite
  // values. A row's padding, left or right, does not affect the other tokens. With a context whose
  // ranks share rows (Context::SplitRows) it is made by all of them together, as the calls below
  // are; all get all hidden states.
  virtual void Encode(Context& context, const BatchView& batch,
                      const View<float, 2>& hidden) const = 0;
  // From Encode's hidden states: (B*T, V), (B*T, labels), (B*T, 2), (B, labels), or for multiple
  // choice (B / choices, choices).
  virtual Tensor Logits(Context& context, const BatchView& batch,
                        const View<const float, 2>& hidden) const = 0;
  // Encode and Logits. All ranks that share rows get all logits.
  virtual Tensor LogitsOfTexts(Context& context, const BatchView& batch) const;
  virtual HeadLoss Loss(Context& context, const BatchView& batch) const = 0;
  // With gradients of scale * sum, which accumulate in parameters().gradients().
  virtual HeadLoss LossAndGradients(Context& context, const BatchView& batch, float scale,
                                    const StepDropout& dropout) = 0;

  // The logits (texts, labels) of the forward of a step, with its dropout, of a head that reads
  // texts; nothing is kept. A loss over many batches can be found so, and its gradient given to
  // LossAndGradients batch by batch, with the same dropout (BatchView::dlogits). All ranks that
  // share rows get all logits. kUsage for other heads and families.
  virtual Tensor LogitsInStep(Context& context, const BatchView& batch, const StepDropout& dropout);

  // A step whose loss is not the head's. Write hidden (B*T, width) as the step's forward has it,
  // with its dropout, and keep nothing: many batches can be run one after another, a loss taken
  // over all of them, and each run again by EncodeGradients with the same dropout (gradient
  // caching; Gao et al. 2021, arXiv:2101.06983). All ranks that share rows get all hidden states.
  virtual void EncodeInStep(Context& context, const BatchView& batch, const StepDropout& dropout,
                            const View<float, 2>& hidden);
  // The forward again and its backward, from the gradient of the hidden states, dhidden
  // (B*T, width), which must be 0 for hidden tokens. Gradients accumulate in
  // parameters().gradients(); those of a head stay as they are. Ranks that share rows have the
  // same dhidden, and each leaves the gradients of its own tokens. Both throw kUsage if the family
  // has no such step.
  virtual void EncodeGradients(Context& context, const BatchView& batch,
                               const View<const float, 2>& dhidden, const StepDropout& dropout);

  // Useful work of a forward and of a training step, in GFLOP. Recomputation does not count.
  virtual double ForwardGflop(const BatchView& batch) const = 0;
  virtual double StepGflop(const BatchView& batch) const = 0;
  // The memory of a step over B rows of T tokens that only the model knows: streams, buckets,
  // bf16 weights, activations. Call it after a step or its rehearsal.
  virtual StepMemory MemoryOfStep(idx_t rows, idx_t tokens) const = 0;

  virtual std::string ConfigText() const = 0;
  virtual std::vector<io::TensorEntry> Weights() const = 0;
  virtual void Save(const std::filesystem::path& directory) const = 0;
  // The model as one that continues texts; null if its family has none that do.
  virtual const GenerativeModel* generative() const { return nullptr; }
};

}  // namespace longspan
