// A family of models: everything that the program asks of a kind of model, as one row of a table
// (registry.cc). A new family is a folder here and a line there.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/tensor_source.h"
#include "model/conversion.h"
#include "model/family_options.h"
#include "model/head_kind.h"
#include "model/load_options.h"
#include "model/model_config.h"
#include "model/opened_folder.h"
#include "model/parity_case.h"
#include "model/text_model.h"

namespace longspan {

struct ModelFamily {
  std::string_view type;   // model_type in config.json, and --arch: "longformer"
  std::string_view title;  // in sentences: "Longformer"
  std::span<const HeadClass> heads;
  // Fields of config.json that only this family has: they name it if model_type is absent.
  std::span<const std::string_view> own_fields;
  // Parts of names that only this family's tensors have: they tell of whom a file of weights is. By
  // default the type and a full stop.
  std::span<const std::string_view> own_tensors = {};
  std::span<const FamilyOption> options;  // that only this family has
  // A model without a tokenizer's files reads bytes if its vocabulary has room for them.
  bool reads_bytes = false;

  // Ready-made configurations: "tiny", "small", "base". kUsage for another name.
  std::span<const std::string_view> presets;
  std::unique_ptr<ModelConfig> (*preset)(std::string_view name);
  // From a folder's config.json; what it leaves open is taken from the weights beside it. kFormat.
  std::unique_ptr<ModelConfig> (*read)(const ModelFolder& folder);
  // The same without a folder. `source` names the text in messages.
  std::unique_ptr<ModelConfig> (*parse)(std::string_view json, std::string_view source);
  // The config as the weights of the folder complete it, for `info`.
  std::unique_ptr<ModelConfig> (*complete)(const ModelFolder& folder);

  // Reads config and weights. kFormat, kIo; kUsage for a head or an option that it cannot have.
  std::unique_ptr<TextModel> (*load)(const ModelFolder& folder, const LoadOptions& options,
                                     std::vector<std::string>* warnings);
  // Throws kFormat under `--strict` if the files hold tensors that the model has no place for.
  void (*check_tensors)(const ModelFolder& folder);
  // Compares a recorded case with what the folder's model computes (longspan/folders.h).
  ParityReport (*verify)(Context& context, const ModelFolder& folder,
                         const io::TensorSource& recorded, const FamilyOptions& options);

  // Makes a model of this family of another kind (`convert --to`). Null: none becomes one.
  ConvertReport (*convert)(const std::filesystem::path& in, const std::filesystem::path& out,
                           const ConvertOptions& options, const ConvertedCheck& check) = nullptr;
  // The names under which a rewritten folder holds its tensors, and the tensors in `source` that
  // they stand for. Null: the names stay.
  std::map<std::string, std::string> (*names_to_write)(
      const std::filesystem::path& in, const io::TensorSource& source, std::string_view class_name,
      std::vector<std::string>* warnings) = nullptr;
};

}  // namespace longspan
