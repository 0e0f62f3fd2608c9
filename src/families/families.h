// The families of models that there are, and what is the same for all of them: finding a folder's
// family, loading its model, its tokenizer.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "families/family.h"
#include "longspan/folders.h"
#include "longspan/model.h"
#include "longspan/tokenizer.h"

namespace longspan {

// The table. Its first row is the family of a config.json that names none. It is a source file of
// its own (registry.cc), so that a program can be linked with another table.
std::span<const ModelFamily* const> Families();

// Null: there is none of that type.
const ModelFamily* FindFamily(std::string_view type);
// The family that --arch names, or the default one for an empty name. kUsage, naming `command`.
const ModelFamily& FamilyOfOption(std::string_view command, const std::string& arch);
const ModelFamily& FamilyOf(const ModelFolder& folder);
// The classes with this head: "a ReformerForMaskedLM, LongformerForMaskedLM or BertForMaskedLM".
std::string ClassesFor(HeadKind head);

// The folder of a model. Throws NoModel (families/what_is.h) for anything else.
ModelFolder OpenModelFolder(const std::filesystem::path& directory);
// A config.json alone. kFormat for a model_type that is no family's, kIo.
ModelFolder OpenConfigFile(const std::filesystem::path& file);

// The family that the text of a config.json names. kFormat, naming `source`.
const ModelFamily& FamilyOfConfig(std::string_view json, std::string_view source);

// The config of a folder or of a file that OpenConfigFile opens.
std::unique_ptr<ModelConfig> ReadModelConfig(const ModelFolder& folder);
// The family's model in a folder.
std::unique_ptr<TextModel> LoadTextModel(const std::filesystem::path& directory,
                                         const LoadOptions& options,
                                         std::vector<std::string>* warnings = nullptr);
// Reads config.json, and names and shapes of the weights if the config leaves something open.
TextModelInfo ReadTextModelInfo(const std::filesystem::path& directory);
// With strict_weights (`--strict`): throws kFormat if the files hold tensors that the model has no
// place for. Loading checks that itself; call this if nothing is loaded.
void CheckTensors(const ModelFolder& folder);
// Throws kFormat unless the folder's model has the head. The message says which model is needed.
void CheckHead(const std::filesystem::path& directory, const TextModelInfo& found, HeadKind wanted);

// Compares a recorded case with what the folder's model computes. kFormat for a case that does not
// fit the model, kUsage for options that do not.
ParityReport VerifyCase(Context& context, const std::filesystem::path& directory,
                        const std::filesystem::path& case_file, const FamilyOptions& options = {});

}  // namespace longspan
