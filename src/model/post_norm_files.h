// The folders of BERT, RoBERTa and Longformer in the Hugging Face layout. Their tensors are found
// under any name of CanonicalName (model/weight_names.h), whatever their own names are.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/atomic_file.h"
#include "io/safetensors.h"
#include "model/load_options.h"
#include "model/opened_folder.h"
#include "model/weight_files.h"
#include "model/weight_names.h"

namespace longspan {

// A folder's weights under canonical names. Both lists may be null.
std::unique_ptr<io::TensorSource> OpenCanonical(const std::filesystem::path& directory,
                                                std::vector<std::string>* notes = nullptr,
                                                std::vector<std::string>* dropped = nullptr);
// Whether weights under canonical names have a pooler.
bool HasPooler(const io::TensorSource& canonical);
// How files under canonical names hold the parameters of `table`. A pooler that they have stays
// whatever head comes after it. Messages call tensors as the model's class does.
WeightRules PostNormRules(const ParameterTable& table, const io::TensorSource& canonical,
                          const ClassNames& names);

// UntieWhereFilesDiffer for files under canonical names.
void UntiePostNorm(const io::TensorSource& canonical, const ClassNames& names, bool* tied,
                   std::vector<std::string>* notes);

// The tensors of the model's file, for io::WriteSafetensors. An untied decoder's bias has both of
// its names. The entries point into the table.
std::vector<io::TensorEntry> PostNormEntries(const ParameterTable& table);

// The names that a class has itself for the tensors of a folder (ModelFamily::names_to_write).
// Without `pooler` a pooler is left out, with a warning that names the class.
std::map<std::string, std::string> PostNormNamesToWrite(const std::filesystem::path& in,
                                                        const io::TensorSource& source,
                                                        std::string_view class_name,
                                                        const ClassNames& names, bool pooler,
                                                        std::vector<std::string>* warnings);

// ---- for an Encoder of model/post_norm_encoder.h ------------------------------------------------

// The config as the folder's weights complete it: a bare model without a pooler's tensors has none.
template <class Config>
Config WithPoolerOf(Config config, const io::TensorSource& canonical) {
  config.pooler = HasPooler(canonical);
  return config;
}

// CheckUnread of a folder whose weights are not loaded.
template <class Encoder>
void CheckPostNormTensors(const ModelFolder& folder, typename Encoder::Config config) {
  std::vector<std::string> dropped, notes;
  const auto source = OpenCanonical(folder.directory, nullptr, &dropped);
  if (config.head == HeadKind::kMaskedLm)
    UntiePostNorm(*source, config.names(), &config.tied, &notes);
  const Encoder model(WithPoolerOf(std::move(config), *source), ParameterMemory::kBorrowed);
  const WeightRules rules = PostNormRules(model.parameters(), *source, model.config().names());
  std::vector<std::string> unread =
      ToldNames(rules.names, UnreadTensors(*source, rules.names, model.parameters()));
  unread.insert(unread.end(), dropped.begin(), dropped.end());
  CheckUnread(*source, unread);
}

// Reads the weights; a bare model may come without a pooler, and gets none. LoadWeights says what
// is read, drawn and warned about. A wanted head is put as `from_pretrained` of another class does.
// `title` is the family's, for messages.
template <class Encoder>
Encoder LoadPostNorm(const ModelFolder& folder, typename Encoder::Config config,
                     std::string_view title, const LoadOptions& options,
                     std::vector<std::string>* warnings) {
  for (const auto& [name, value] : options.family.values()) RefuseOption(title, name);
  std::vector<std::string> dropped, notes = config.notes;
  const auto source = OpenCanonical(folder.directory, &notes, &dropped);
  config = WithPoolerOf(std::move(config), *source);
  // A wanted head of another kind has no decoder.
  const bool decodes = !options.head || options.head->head == HeadKind::kMaskedLm;
  if (config.head == HeadKind::kMaskedLm && decodes)
    UntiePostNorm(*source, config.names(), &config.tied, &notes);
  if (options.dropout) config.SetDropout(*options.dropout);
  // Under another head the weights have to hold an encoder; what they lack of the head is drawn.
  typename Encoder::Config needed = config;
  if (options.head) {
    needed.head = HeadKind::kNone;
    needed.pooler = false;
  }
  CheckFileHolds(*source, ParameterCount(needed), [&] {
    const Encoder whole(config, ParameterMemory::kBorrowed);
    const WeightRules rules = PostNormRules(whole.parameters(), *source, config.names());
    return UnfitTensors(*source, NamesWithoutHead(rules, options), whole.parameters());
  });
  const OpenedWeights files{*source, std::move(notes), {}, std::move(dropped), config.custom_code};
  const bool take = !options.head || config.Put(*options.head);
  const ClassNames names = config.names();
  Encoder model(std::move(config));
  LoadWeights(
      folder.directory, files, PostNormRules(model.parameters(), *source, names), options, take,
      model.parameters(),
      [&](std::uint64_t seed, const auto& which) { model.Initialise(seed, which); }, warnings);
  return model;
}

// Writes config.json and model.safetensors, each atomically, the weights last. The directory is
// created when it is missing.
template <class Encoder>
void SavePostNorm(const Encoder& model, const std::filesystem::path& directory) {
  io::EnsureWritableDirectory(directory);
  io::WriteFileAtomic(directory / "config.json", ToJson(model.config()));
  io::WriteSafetensors(directory / "model.safetensors", PostNormEntries(model.parameters()),
                       {{"format", "pt"}});
}

}  // namespace longspan
