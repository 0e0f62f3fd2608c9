#include "families/longformer/longformer_files.h"

#include <utility>

#include "model/post_norm_files.h"

namespace longspan {

void CheckLongformerTensors(const ModelFolder& folder) {
  CheckPostNormTensors<Longformer>(folder, LoadLongformerConfig(folder));
}

LongformerConfig LongformerConfigOf(const ModelFolder& folder) {
  return WithPoolerOf(LoadLongformerConfig(folder), *OpenCanonical(folder.directory));
}

Longformer LoadLongformer(const ModelFolder& folder, const LoadOptions& options,
                          std::vector<std::string>* warnings) {
  LongformerConfig config = LoadLongformerConfig(folder);
  if (options.global) config.global = *options.global;
  return LoadPostNorm<Longformer>(folder, std::move(config), "Longformer", options, warnings);
}

std::vector<io::TensorEntry> LongformerEntries(const Longformer& model) {
  return PostNormEntries(model.parameters());
}

void SaveLongformer(const Longformer& model, const std::filesystem::path& directory) {
  SavePostNorm(model, directory);
}

std::map<std::string, std::string> LongformerNamesToWrite(const std::filesystem::path& in,
                                                          const io::TensorSource& source,
                                                          std::string_view class_name,
                                                          std::vector<std::string>* warnings) {
  const bool bare = class_name == LongformerClass(HeadKind::kNone);
  const bool pooler = bare || class_name == LongformerClass(HeadKind::kChoice);
  return PostNormNamesToWrite(in, source, class_name, {bare ? "" : "longformer."}, pooler,
                              warnings);
}

}  // namespace longspan
