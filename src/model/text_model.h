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
#include "model/text_head.h"

namespace longspan {

TextHead HeadOf(LongformerHead head);
TextHead HeadOf(ReformerHead head);

struct TextModelInfo {
  TextHead head = TextHead::kNone;
  std::string class_name;           // "LongformerForMaskedLM"
  std::vector<std::string> labels;  // id2label
  ProblemType problem = ProblemType::kInferred;
  idx_t width = 0;  // of a last hidden state
  idx_t vocab_size = 0, pad_token = 0, token_types = 1;
  idx_t longest = 0;           // tokens of a row
  bool global_tokens = false;  // whether some may see all others

  idx_t label_count() const { return static_cast<idx_t>(labels.size()); }
};

// Rows of tokens with their roles and targets (model/longformer_batch.h). A Reformer knows no
// global tokens and no token types: it takes both for what they are to it, nothing.
using TextBatch = LongformerBatch;

TextModelInfo InfoOf(const LongformerConfig& config);
TextModelInfo InfoOf(const ReformerConfig& config);

// The policy that `given` comes to under such a model; kUsage for global tokens where there are
// none.
GlobalPolicy ResolveGlobal(const TextModelInfo& info, const GlobalPolicy& given);

class TextModel {
 public:
  virtual ~TextModel() = default;

  virtual const TextModelInfo& info() const = 0;
  virtual ParameterTable& parameters() = 0;
  // kF32 or kBF16; kUsage where the model cannot.
  virtual void ComputeIn(DType dtype) = 0;
  // Steps over rows of tokens take `bytes` at most: a Longformer computes as many layers again as
  // that demands (FitStep). kLimit when that is not enough.
  virtual void FitInto(std::size_t bytes, idx_t rows, idx_t tokens) = 0;
  // Steps take as little memory as they can: layers keep their input only. kUsage where that is no
  // choice.
  virtual void Recompute() = 0;

  // Makes tokens global: GlobalPolicy::Apply. documents: lengths, or none.
  virtual void MarkGlobals(const GlobalPolicy& policy, std::span<const std::int32_t> ids,
                           idx_t rows, idx_t tokens, std::span<std::uint8_t> roles,
                           std::span<const idx_t> documents) const = 0;

  // hidden (B*T, width): what the head reads of every token; of hidden ones, anything finite. A
  // row's padding, left or right, leaves no trace in it.
  virtual void Encode(Context& context, const TextBatch& batch, const View<float, 2>& hidden) = 0;
  // From Encode's hidden states: (B*T, V), (B*T, labels), (B*T, 2), (B, labels).
  virtual Tensor Logits(Context& context, const TextBatch& batch,
                        const View<const float, 2>& hidden) = 0;
  virtual HeadLoss Loss(Context& context, const TextBatch& batch) = 0;
  // With gradients of scale * sum.
  virtual HeadLoss LossAndGradients(Context& context, const TextBatch& batch, float scale,
                                    const StepDropout& dropout) = 0;

  virtual std::string ConfigText() const = 0;
  virtual std::vector<io::TensorEntry> Weights() = 0;
  virtual void Save(const std::filesystem::path& directory) = 0;
};

std::unique_ptr<TextModel> MakeTextModel(Longformer model);
// Its rows run without their padding, those of one length together: in a Reformer the chunks of a
// text would look back on padding, and what comes out would depend on how long the others are. Rows
// of documents run as they are: padding is a document of its own, all of it hidden.
std::unique_ptr<TextModel> MakeTextModel(Reformer model);

// A head to train, on whatever encoder the files hold.
struct WantedTextHead {
  TextHead head = TextHead::kMaskedLm;
  std::vector<std::string> labels;  // of sequences and tokens; other heads: empty
  ProblemType problem = ProblemType::kInferred;
  std::uint64_t seed = 1;  // of the parameters that the files do not have
};

struct TextModelLoad {
  bool allow_nonfinite = false;
  std::optional<double> dropout;       // instead of the config's
  std::optional<WantedTextHead> head;  // absent: the config's, all of it from the files
  idx_t num_hashes = 0;                // rounds of a Reformer's LSH layers; 0: the config's
  std::optional<bool> lm_bias;         // of a Reformer's language models, instead of the config's
};

// LoadLongformer or LoadReformer, by the config's model_type. kFormat, kIo; kUsage for a head or an
// option that the model cannot have.
std::unique_ptr<TextModel> LoadTextModel(const std::filesystem::path& directory,
                                         const TextModelLoad& load,
                                         std::vector<std::string>* warnings = nullptr);
// With a policy of strict_weights (`--strict`): kFormat when the files of a folder hold tensors
// that its model has no place for. Loading checks that itself; this is for who does not load.
void CheckTensors(const std::filesystem::path& directory);
// What a config.json says; of the weights names and shapes, where it leaves something to them.
TextModelInfo ReadTextModelInfo(const std::filesystem::path& directory);
// kFormat unless the folder's model has the head: what it is for, and which folder would do.
void CheckHead(const std::filesystem::path& directory, const TextModelInfo& found, TextHead wanted);

}  // namespace longspan
