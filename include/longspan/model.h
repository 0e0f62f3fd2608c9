// A model of any family that can be loaded, evaluated and saved.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/batch.h"
#include "longspan/context.h"
#include "longspan/model_info.h"
#include "longspan/tensor.h"
#include "longspan/tokenizer.h"

namespace longspan {
class TextModel;  // the library's own: no header has them
struct ModelAccess;
}  // namespace longspan

#pragma GCC visibility push(default)
namespace longspan {

// A loaded model with its tokenizer, in the Hugging Face layout (config.json, model.safetensors,
// tokenizer files). A handle: copies share one model, which nothing changes after loading. Any
// number of threads may use it at once, each with a Context of its own; each gets the bits that it
// would get alone. A forked child may use its copy (longspan/context.h says with how many threads).
//
// Calls take what the context allows (Context::LimitMemory, CancelWhen).
class Model {
 public:
  // Loads a folder. kFormat or kIo, in one line that says what the path is and what to do; kLimit
  // for weights that memory has no room for.
  static Model Load(const std::filesystem::path& directory, const ModelOptions& options = {});
  // The same for a caller who can end it (Context::CancelWhen): Cancelled within a second. Weights
  // that take more bytes than the context's memory limit are kLimit before they are allocated.
  static Model Load(Context& context, const std::filesystem::path& directory,
                    const ModelOptions& options = {});
  // Makes random weights for a config.json of any family. The same seed gives the same bits. The
  // tokenizer reads bytes, if the family has such models.
  static Model Init(std::string_view config_json, std::uint64_t seed,
                    const ModelOptions& options = {});
  // The same with what the context allows, as of Load.
  static Model Init(Context& context, std::string_view config_json, std::uint64_t seed,
                    const ModelOptions& options = {});
  // Writes config.json and weights into a folder that Load and `transformers` open, each file whole
  // or not at all. The tokenizer's files are not written. kIo.
  void Save(const std::filesystem::path& directory) const;

  // What the model is.
  const ModelInfo& info() const;
  // What it was loaded with.
  const ModelOptions& options() const;
  // Its config.json, as Save writes it.
  std::string ConfigJson() const;
  idx_t parameters() const;  // number of trainable values
  // The folder's tokenizer, read when it is first asked for. kFormat if there is none, or it has
  // ids beyond the model's vocabulary.
  const text::Tokenizer& tokenizer() const;
  const std::filesystem::path& directory() const;  // empty: not from a folder

  // Of a batch of B rows of T tokens (longspan/batch.h):
  // the last hidden states, (B*T, info().width): what the head reads. Those of hidden tokens hold
  // any finite values.
  Tensor Hidden(Context& context, const BatchView& batch) const;
  // The head's logits: (B*T, vocabulary) of language models, (B*T, labels) of token classes,
  // (B*T, 2) for starts and ends of answers, (B, labels) of sequence classifiers, and of multiple
  // choice (B / choices, choices). kUsage for a model without a head.
  Tensor Logits(Context& context, const BatchView& batch) const;
  // The loss over the batch's targets, without dropout.
  HeadLoss Loss(Context& context, const BatchView& batch) const;
  // Errors of all three: kUsage for a shape that does not fit or more tokens than info().longest,
  // kFormat for an id that does not exist, kLimit, kCancelled.

  // The head's logits of texts of any lengths, without padding. Each text has the logits that it
  // has alone: (T, vocabulary), (T, labels), (T, 2) or (1, labels). Not for multiple choice.
  std::vector<Tensor> RaggedLogits(Context& context,
                                   std::span<const std::vector<std::int32_t>> texts) const;

  // For the library itself.
  const TextModel& inside() const;

 private:
  friend struct ModelAccess;
  struct Impl;
  explicit Model(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

// The tokenizer of a folder of a model or of a tokenizer alone, or the one for bytes if the model's
// family reads bytes and there is no other. kFormat in one line where there is none, where it is
// damaged, or where it asks for something that is not read here (docs/reference/tokenizers.md).
std::unique_ptr<text::Tokenizer> OpenModelTokenizer(const std::filesystem::path& directory);

}  // namespace longspan
#pragma GCC visibility pop
