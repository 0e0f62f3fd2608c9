#include "families/families.h"

#include <algorithm>

#include "base/errors.h"
#include "families/what_is.h"
#include "io/json.h"
#include "io/policy.h"
#include "io/safetensors.h"
#include "io/transformer_folder.h"
#include "longspan/files.h"
#include "text/open_tokenizer.h"

namespace longspan {

const ModelFamily* FindFamily(std::string_view type) {
  for (const ModelFamily* family : Families()) {
    if (family->type == type) return family;
  }
  return nullptr;
}

namespace {

std::string ListOfTypes(std::string_view after_first) {
  std::string types;
  const auto families = Families();
  for (std::size_t i = 0; i < families.size(); ++i) {
    types.append(i == 0 ? "" : i + 1 == families.size() ? " or " : ", ").append(families[i]->type);
    if (i == 0) types += after_first;
  }
  return types;
}

}  // namespace

std::string FamilyTypes() { return ListOfTypes(""); }
std::string FamilyChoices() { return ListOfTypes(" (default)"); }

const ModelFamily& FamilyOfOption(std::string_view command, const std::string& arch) {
  if (arch.empty()) return *Families().front();
  const ModelFamily* family = FindFamily(arch);
  Check(family != nullptr, ErrorCode::kUsage, "{}: --arch '{}' is unknown; use {}", command,
        io::Escape(arch), FamilyTypes());
  return *family;
}

const ModelFamily& FamilyOf(const ModelFolder& folder) {
  const ModelFamily* family = FindFamily(folder.type);
  Check(family != nullptr, ErrorCode::kFormat, "{}: model_type '{}' is not supported; need {}",
        folder.source(), io::Escape(folder.type), FamilyTypes());
  return *family;
}

std::string ClassesFor(HeadKind head) {
  std::vector<std::string_view> names;
  for (const ModelFamily* family : Families()) {
    const std::string_view name = ClassOf(family->heads, head);
    if (!name.empty()) names.push_back(name);
  }
  std::string classes = "a ";
  for (std::size_t i = 0; i < names.size(); ++i) {
    classes.append(i == 0 ? "" : i + 1 == names.size() ? " or " : ", ").append(names[i]);
  }
  return classes;
}

ModelFolder OpenModelFolder(const std::filesystem::path& directory) {
  io::Confine(directory);
  WhatIs found = LookAt(directory);
  if (found.kind != PathKind::kModel) throw NoModel(directory, found);
  ModelFolder folder{directory, io::TransformerFolder(directory) / "config.json", {}, {}, {}};
  folder.config = std::move(found.config);
  folder.type = ModelTypeIn(folder.config, folder.source());
  folder.what = std::move(found.what);
  return folder;
}

ModelFolder OpenConfigFile(const std::filesystem::path& file) {
  io::Confine(file.parent_path());
  ModelFolder folder{file.parent_path(), file, io::ReadJsonFile(file), {}, {}};
  io::CheckObject(folder.config, folder.source());
  folder.type = ModelTypeIn(folder.config, folder.source());
  if (folder.type.empty()) folder.type = Families().front()->type;
  folder.what = folder.type;
  FamilyOf(folder);
  return folder;
}

const ModelFamily& FamilyOfConfig(std::string_view json, std::string_view source) {
  const nlohmann::json object = io::ParseJson(json, source);
  io::CheckObject(object, source);
  ModelFolder folder;
  folder.type = ModelTypeIn(object, source);
  if (folder.type.empty()) folder.type = Families().front()->type;
  folder.config_file = source;
  return FamilyOf(folder);
}

std::unique_ptr<ModelConfig> ReadModelConfig(const ModelFolder& folder) {
  return FamilyOf(folder).read(folder);
}

std::unique_ptr<TextModel> LoadTextModel(const std::filesystem::path& directory,
                                         const LoadOptions& options,
                                         std::vector<std::string>* warnings) {
  const ModelFolder folder = OpenModelFolder(directory);
  const ModelFamily& family = FamilyOf(folder);
  if (options.head) CheckHasHead(family.heads, options.head->head, family.title);
  return family.load(folder, options, warnings);
}

TextModelInfo ReadTextModelInfo(const std::filesystem::path& directory) {
  return ReadModelConfig(OpenModelFolder(directory))->info();
}

void CheckTensors(const ModelFolder& folder) {
  if (io::GetPolicy().strict_weights) FamilyOf(folder).check_tensors(folder);
}

void CheckHead(const std::filesystem::path& directory, const TextModelInfo& found,
               HeadKind wanted) {
  if (found.head == wanted) return;
  const std::string shown = io::Escape(directory.string());
  const std::string way =
      WayTo(wanted).empty() ? "" : fmt::format(" ({} makes one)", WayTo(wanted));
  Fail(ErrorCode::kFormat,
       "{}: is a {}, which is for {}, not for {}; that needs the folder of {}{}", shown,
       found.class_name, CommandOf(found.head), CommandOf(wanted), ClassesFor(wanted), way);
}

std::unique_ptr<text::Tokenizer> OpenModelTokenizer(const std::filesystem::path& directory) {
  std::vector<std::string_view> byte_models;
  for (const ModelFamily* family : Families()) {
    if (family->reads_bytes) byte_models.push_back(family->type);
  }
  return text::OpenTokenizer(directory, byte_models);
}

ParityReport VerifyCase(Context& context, const std::filesystem::path& directory,
                        const std::filesystem::path& case_file, const FamilyOptions& options) {
  const ModelFolder folder = OpenModelFolder(directory);
  const io::SafetensorsFile source = io::SafetensorsFile::Open(case_file);
  return FamilyOf(folder).verify(context, folder, source, options);
}

}  // namespace longspan
