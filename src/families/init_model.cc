#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "base/errors.h"
#include "families/families.h"
#include "families/model_inside.h"
#include "io/atomic_directory.h"
#include "io/paths.h"
#include "longspan/files.h"
#include "longspan/folders.h"
#include "model/model_folder.h"
#include "model/model_options.h"

namespace longspan {
namespace {

// Head and labels in place of what the preset or the config has.
void ApplyHead(const InitOptions& o, const ModelFamily& family, ModelConfig* config) {
  for (const std::string& label : o.labels) {
    Check(io::IsUtf8(label), ErrorCode::kUsage,
          "init: --labels has '{}', which is not UTF-8 and cannot stand in config.json",
          io::Escape(label));
  }
  const TextModelInfo info = config->info();
  WantedHead wanted{info.head, info.labels, info.problem};
  const HeadKind head = o.head.value_or(info.head);
  Check(o.labels.empty() || head == HeadKind::kSequence || head == HeadKind::kToken,
        ErrorCode::kUsage,
        "labels: have no effect on a head for {}, only on classify and token-classify; leave them "
        "out, or name such a head",
        NameOf(head));
  if (!o.labels.empty()) wanted.labels = o.labels;
  if (!o.head) {
    config->PutHead(wanted);
    return;
  }
  std::string known;
  for (const HeadClass& row : family.heads) {
    known.append(known.empty() ? "" : ", ").append(NameOf(row.head));
  }
  Check(!ClassOf(family.heads, *o.head).empty(), ErrorCode::kUsage,
        "init: --head '{}' is unknown here; use one of {}", NameOf(*o.head), known);
  wanted.head = *o.head;
  config->BeginWith(wanted, o.config.empty());
}

// The tokenizer's files, to the new model.
void TakeTokenizer(const std::filesystem::path& output, const InitOptions& o, InitResult* result) {
  if (o.tokenizer.empty()) return;
  const std::string links = TokenizerLinksLeftOut(o.tokenizer);
  if (!links.empty()) result->warnings.push_back(links);
  CopyTokenizer(o.tokenizer, output);
}

// `context` null: nothing ends it, and weights may take any memory.
InitResult MakeFolder(const Context* context, const std::filesystem::path& output,
                      const InitOptions& o) {
  // A config names its family itself.
  std::unique_ptr<ModelConfig> config;
  std::string arch = o.family;
  if (!o.config.empty()) {
    const ModelFolder file = OpenConfigFile(o.config);
    if (arch.empty()) arch = file.type;
    if (arch == file.type) config = ReadModelConfig(file);
  }
  const ModelFamily& family = FamilyOfOption("init", arch);
  Check(config != nullptr || o.config.empty(), ErrorCode::kFormat,
        "{}: its model_type is not '{}', which --arch names", io::Escape(o.config.string()),
        family.type);
  if (!o.overwrite && io::IsDirectory(output) && !io::IsEmptyFolder(output)) {
    Fail(ErrorCode::kUsage, "{}: not empty; --overwrite replaces the model in it",
         io::Escape(output.string()));
  }
  if (config == nullptr) config = family.preset(o.preset);
  ApplyHead(o, family, config.get());
  config->Resize(o.sizes);
  FamilyOptions options;
  if (o.rotation_seed) options.Set("rotation-seed", *o.rotation_seed);
  config->SetOptions(options);
  if (!o.tokenizer.empty()) config->UseTokenizer(*OpenModelTokenizer(o.tokenizer));
  // As a config.json it has to be one that can be read again.
  const auto readable = family.parse(config->Json(), "init");
  if (context != nullptr) CheckWeightsFit(*context, *readable);
  const auto model = readable->Make(ParameterMemory::kOwn);
  model->Initialise(o.seed);
  // A new folder appears whole or not at all.
  std::optional<io::AtomicDirectory> fresh;
  if (!io::Exists(output)) fresh.emplace(output);
  CancelScope::Check();
  // Files of a folder that is there are replaced together: nothing ends that half-way.
  std::optional<CancelScope> together;
  if (!fresh) together.emplace(nullptr);
  const std::filesystem::path& folder = fresh ? fresh->path() : output;
  model->Save(folder);
  InitResult result;
  TakeTokenizer(folder, o, &result);
  if (fresh) fresh->Commit();
  result.info = PublicInfo(model->info(), family.type);
  result.parameters = std::as_const(*model).parameters().count();
  return result;
}

}  // namespace

InitResult InitModel(const std::filesystem::path& output, const InitOptions& options) {
  return MakeFolder(nullptr, output, options);
}

InitResult InitModel(Context& context, const std::filesystem::path& output,
                     const InitOptions& options) {
  return WithinContext(context, [&] { return MakeFolder(&context, output, options); });
}

ParityReport VerifyModel(Context& context, const std::filesystem::path& directory,
                         const std::filesystem::path& case_file, const ReformerOptions& options) {
  return VerifyCase(context, directory, case_file, OptionsOf(options));
}

}  // namespace longspan
