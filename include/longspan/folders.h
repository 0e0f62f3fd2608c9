// Models' folders: what a path holds, new models, other people's models converted, and recorded
// cases verified.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "longspan/context.h"
#include "longspan/model_info.h"

#pragma GCC visibility push(default)
namespace longspan {

// ---- families -----------------------------------------------------------------------------------

// "reformer or longformer": the families of models, by their model_type; and with the one that is
// meant where none is named.
std::string FamilyTypes();
std::string FamilyChoices();
// The families that ConvertModel can make of other models, comma-separated.
std::string ConvertTargets();
// The head with this name ("lm", "mlm", "classify", "token-classify", "qa", "multiple-choice",
// "none"). kUsage lists them.
HeadKind ParseHead(std::string_view name);

// ---- what a path holds --------------------------------------------------------------------------

// What stands in a folder.
struct FolderInfo {
  bool is_model = false;  // one that can be run
  // A JSON object. Of models: its architecture, sizes, parameters, labels, "weight_bytes", "notes"
  // about oddities, and in "next" the command that asks it. Of anything else: "kind", "what" it is
  // and in "next" what to do with it. With tensors wanted, "tensors" has name, dtype and shape of
  // each.
  std::string json;
  // Of models, the main facts as lines of a name and a value.
  std::vector<std::pair<std::string, std::string>> lines;
};
// Reads config.json, and names and shapes of weights. kIo for a path where nothing is, kFormat for
// damaged files.
FolderInfo DescribeFolder(const std::filesystem::path& path, bool tensors = false);

// ---- new models ---------------------------------------------------------------------------------

// Sizes in place of a preset's; 0: that stays.
struct ModelSizes {
  idx_t layers = 0;     // one above the other
  idx_t width = 0;      // of a hidden state
  idx_t heads = 0;      // of a layer's attention
  idx_t positions = 0;  // tokens of a row at most
};

// What is made.
struct InitOptions {
  // A preset ("tiny", "small", "base") of a family (its model_type; empty: Reformers, or what the
  // config says), or a config.json.
  std::string family, preset = "small";
  std::filesystem::path config;
  ModelSizes sizes;
  std::optional<HeadKind> head;        // absent: the preset's or the config's
  std::vector<std::string> labels;     // of a classifier, UTF-8; empty: as they are
  std::filesystem::path tokenizer;     // a folder whose tokenizer the model gets
  std::uint64_t seed = 1;              // of the random weights
  std::optional<idx_t> rotation_seed;  // of a Reformer's LSH layers in evaluation
  bool overwrite = false;              // replace a model that is in the folder
};
struct InitResult {
  ModelInfo info;                     // of the new model
  idx_t parameters = 0;               // number of trainable values
  std::vector<std::string> warnings;  // one line each
};
// Writes a new model with random weights into `output`. The same options give the same bits. kUsage
// for options that do not fit and for a folder that is not empty, kFormat for a bad config or
// tokenizer, kIo.
InitResult InitModel(const std::filesystem::path& output, const InitOptions& options);
// The same for a caller who can end it (Context::CancelWhen): Cancelled within a second, and the
// folder is as it was; the files of a model that is replaced are still written together. Weights
// that take more bytes than the context's memory limit are kLimit before they are allocated.
InitResult InitModel(Context& context, const std::filesystem::path& output,
                     const InitOptions& options);

// ---- conversion ---------------------------------------------------------------------------------

inline constexpr std::uint64_t kShardBytes = 5'000'000'000;

// What comes out of a conversion.
struct ConvertOptions {
  idx_t max_tokens = 4096;                 // N: what a text may have
  idx_t window = 256;                      // W: keys to each side of a token
  std::uint64_t most_bytes = kShardBytes;  // of a shard
  // The family that the model becomes ("longformer"); empty: it stays what it is, and its weights
  // are rewritten as safetensors.
  std::string to = {};
  // Called before each tensor is read. What it throws ends the conversion, and nothing is left.
  std::function<void()> on_tensor = {};
};

// What was converted.
struct ConvertReport {
  std::string from, to;                 // classes: "RobertaForMaskedLM", "LongformerForMaskedLM"
  idx_t old_tokens = 0;                 // what a text could have before
  std::uint64_t bytes = 0;              // of tensors
  std::size_t tensors = 0, shards = 0;  // written
  std::vector<std::string> copied;      // files beside the weights
  std::vector<std::string> warnings;    // one line each
};
// Writes `out`, a folder that is not there yet, complete or not at all: the model in `in`, a folder
// or one file of weights in any form that is read here (safetensors, PyTorch's zip and legacy
// files, their shards; nothing in them is executed). Types and bits of rewritten weights stay. What
// was written is opened, model and tokenizer, before `out` appears. kUsage for a family that
// nothing becomes, kFormat, kIo; kCancelled.
ConvertReport ConvertModel(Context& context, const std::filesystem::path& in,
                           const std::filesystem::path& out, const ConvertOptions& options = {});

// ---- verification -------------------------------------------------------------------------------

// One tensor beside the recorded one.
struct TensorParity {
  std::string name;      // "logits", "grad.lm_head.decoder.weight"
  double max_abs = 0.0;  // largest difference
  double rel_l2 = 0.0;   // ||difference|| / ||expected||
  idx_t values = 0;      // of the tensor
  idx_t skipped = 0;     // of these, recorded as NaN or infinity: nothing to compare with
  bool ok = false;       // whether it holds
};

// A tensor holds when max|diff| <= 1e-4 max(1, max|expected|) and its relative L2 error is <= 2e-5
// (outputs) or 1e-4 (gradients); a gradient whose norm is below 1e-4 of the largest is held to the
// absolute part alone. Where the original itself recorded NaN or infinity there is nothing to
// compare with: such values are skipped and counted, and what is computed here must be finite.
struct ParityReport {
  bool ok = false;                    // whether all tensors hold
  std::vector<TensorParity> tensors;  // one by one
};
// Compares a recorded case, a .safetensors file of inputs and of what the original computed for
// them, with what the folder's model computes. kFormat for a case that does not fit the model,
// kUsage for options that do not.
ParityReport VerifyModel(Context& context, const std::filesystem::path& directory,
                         const std::filesystem::path& case_file,
                         const ReformerOptions& options = {});

}  // namespace longspan
#pragma GCC visibility pop
