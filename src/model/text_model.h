// A model that reads texts, whatever it is: what tasks and training need of a Longformer or a
// Reformer.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "longspan/context.h"
#include "model/global_policy.h"
#include "model/longformer.h"
#include "model/reformer.h"
#include "model/text_model_info.h"
#include "model/wanted_head.h"

namespace longspan {

TextModelInfo InfoOf(const LongformerConfig& config);
TextModelInfo InfoOf(const ReformerConfig& config);

// Resolves `given` (for example auto) for this model. Throws kUsage for global tokens if the model
// has none.
GlobalPolicy ResolveGlobal(const TextModelInfo& info, const GlobalPolicy& given);

class TextModel {
 public:
  virtual ~TextModel() = default;

  virtual const TextModelInfo& info() const = 0;
  virtual ParameterTable& parameters() = 0;
  // kF32 or kBF16; kUsage where the model cannot.
  virtual void ComputeIn(DType dtype) = 0;
  // Limits steps over rows of tokens to `bytes`. A Longformer recomputes as many layers as needed
  // (FitStep). Throws kLimit if that does not suffice.
  virtual void FitInto(std::size_t bytes, idx_t rows, idx_t tokens) = 0;
  // Minimizes the memory of steps: layers save only their input. Throws kUsage if the model
  // cannot.
  virtual void Recompute() = 0;

  // Writes hidden (B*T, width): the head's input of every token. Hidden tokens get any finite
  // values. A row's padding, left or right, does not affect the other tokens.
  virtual void Encode(Context& context, const BatchView& batch, const View<float, 2>& hidden) = 0;
  // From Encode's hidden states: (B*T, V), (B*T, labels), (B*T, 2), (B, labels).
  virtual Tensor Logits(Context& context, const BatchView& batch,
                        const View<const float, 2>& hidden) = 0;
  virtual HeadLoss Loss(Context& context, const BatchView& batch) = 0;
  // With gradients of scale * sum.
  virtual HeadLoss LossAndGradients(Context& context, const BatchView& batch, float scale,
                                    const StepDropout& dropout) = 0;

  virtual std::string ConfigText() const = 0;
  virtual std::vector<io::TensorEntry> Weights() = 0;
  virtual void Save(const std::filesystem::path& directory) = 0;
};

std::unique_ptr<TextModel> MakeTextModel(Longformer model);
// Runs rows without their padding, those of one length together. Otherwise chunks would reach over
// padding, and a row's result would depend on the lengths of the other rows. Rows of documents run
// as they are: padding is a document of its own, and hidden.
std::unique_ptr<TextModel> MakeTextModel(Reformer model);

struct TextModelLoad {
  bool allow_nonfinite = false;
  std::optional<double> dropout;   // instead of the config's
  std::optional<WantedHead> head;  // absent: the config's, all of it from the files
  idx_t num_hashes = 0;            // rounds of a Reformer's LSH layers; 0: the config's
  std::optional<bool> lm_bias;     // of a Reformer's language models, instead of the config's
};

// LoadLongformer or LoadReformer, by the config's model_type. kFormat, kIo; kUsage for a head or an
// option that the model cannot have.
std::unique_ptr<TextModel> LoadTextModel(const std::filesystem::path& directory,
                                         const TextModelLoad& load,
                                         std::vector<std::string>* warnings = nullptr);
// With strict_weights (`--strict`): throws kFormat if the files hold tensors that the model has no
// place for. Loading checks that itself; call this if nothing is loaded.
void CheckTensors(const std::filesystem::path& directory);
// Reads config.json, and names and shapes of the weights if the config leaves something open.
TextModelInfo ReadTextModelInfo(const std::filesystem::path& directory);
// Throws kFormat unless the folder's model has the head. The message says which model is needed.
void CheckHead(const std::filesystem::path& directory, const TextModelInfo& found, HeadKind wanted);

}  // namespace longspan
