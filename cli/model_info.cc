#include "cli/model_info.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "cli/visual/text.h"
#include "families/families.h"
#include "families/what_is.h"
#include "io/escape.h"
#include "model/weight_heads.h"
#include "model/weight_names.h"

namespace longspan::cli {
namespace {

// How each kind of model is asked, behind "longspan COMMAND -m DIR".
std::string_view Arguments(HeadKind head) {
  switch (head) {
    case HeadKind::kCausalLm:
      return "-p TEXT";
    case HeadKind::kSequence:
      return "--text TEXT";
    case HeadKind::kQuestion:
      return "FILE --question QUESTION";
    case HeadKind::kChoice:
      return "FILE --question QUESTION --choice A --choice B";
    default:
      return "FILE";
  }
}

constexpr std::pair<PathKind, std::string_view> kKinds[] = {
    {PathKind::kBert, "bert"},       {PathKind::kForeign, "foreign"},
    {PathKind::kUnfinished, "run"},  {PathKind::kTokenizer, "tokenizer"},
    {PathKind::kWeights, "weights"}, {PathKind::kTable, "table"},
    {PathKind::kText, "text"},       {PathKind::kFile, "file"},
    {PathKind::kFolder, "folder"},
};

// The heads and the family that names and shapes of one file speak of.
void AddWeights(const std::string& file, bool tensors, nlohmann::ordered_json* j) {
  const auto source = io::OpenModel(file);
  (*j)["count"] = source->tensors().size();
  std::vector<std::string_view> types;
  for (const ModelFamily* family : Families()) types.push_back(family->type);
  types.insert(types.end(), {"roberta", "bert"});
  std::size_t first = types.size();  // of them that a name has
  for (const auto& [name, info] : source->tensors()) {
    for (std::size_t i = 0; i < first; ++i) {
      if (name.find(fmt::format("{}.", types[i])) != std::string::npos) first = i;
    }
  }
  if (first < types.size()) (*j)["family"] = types[first];
  const WeightHeads heads = HeadsIn(*source);
  (*j)["heads"] = nlohmann::json::array();
  if (heads.language) (*j)["heads"].push_back("language model");
  if (heads.question) (*j)["heads"].push_back("questions");
  if (heads.dense_classes > 0 || heads.classes > 0) {
    (*j)["heads"].push_back(
        fmt::format("classifier of {}", std::max(heads.dense_classes, heads.classes)));
  }
  AddTensors(*source, tensors, j);
}

}  // namespace

std::string InfoLine(std::string_view name, const std::string& value) {
  return fmt::format("{:<13} {}\n", name, value);
}

void AddTensors(const io::TensorSource& source, bool list, nlohmann::ordered_json* j) {
  std::uint64_t bytes = 0;
  for (const auto& [name, info] : source.tensors()) {
    bytes += info.bytes();
    if (list) {
      (*j)["tensors"].push_back(
          {{"name", name}, {"dtype", DTypeName(info.dtype)}, {"shape", info.shape}});
    }
  }
  (*j)["weight_bytes"] = bytes;
}

std::string LabelsText(const nlohmann::ordered_json& labels) {
  constexpr std::size_t kMost = 8;
  std::string text = fmt::format("{}", labels.size());
  for (std::size_t i = 0; i < std::min(labels.size(), kMost); ++i) {
    text += (i == 0 ? ": " : ", ") + Printable(labels[i].get<std::string>());
  }
  return text + (labels.size() > kMost ? ", ..." : "");
}

std::string TensorLines(const nlohmann::ordered_json& j) {
  std::string text;
  if (!j.contains("tensors")) return text;
  for (const auto& t : j["tensors"]) {
    text += InfoLine("tensor", fmt::format("{} {} {}", t["name"].get<std::string>(),
                                           t["dtype"].get<std::string>(),
                                           ShapeText(t["shape"].get<std::vector<idx_t>>())));
  }
  return text;
}

void AddContext(const ModelFolder& model, std::unique_ptr<io::TensorSource> tensors,
                nlohmann::ordered_json* j) {
  const std::filesystem::path folder =
      model.directory.has_filename() ? model.directory : model.directory.parent_path();
  std::error_code error;
  const auto has = [&](const char* name) { return std::filesystem::exists(folder / name, error); };
  const std::string name = folder.filename().string();
  if (name.starts_with("checkpoint-") && has("manifest.json")) (*j)["checkpoint"] = name.substr(11);
  const auto config = ReadModelConfig(model);
  auto notes = config->notes();
  const auto source = WithoutExtraPrefix(std::move(tensors), &notes);
  notes.insert(notes.end(), source->warnings().begin(), source->warnings().end());
  for (const std::string& note : notes) (*j)["notes"].push_back(note);
  // A folder of sentence-transformers was made for vectors, although its model may still have the
  // head that it was pretrained with. A head that was trained for a task afterwards decides.
  HeadKind head = config->info().head;
  if (has("modules.json") && (head == HeadKind::kNone || head == HeadKind::kMaskedLm)) {
    head = HeadKind::kNone;
    (*j)["sentence_transformers"] = true;
  }
  (*j)["next"] = fmt::format("longspan {} -m {} {}", CommandOf(head),
                             io::Escape(folder.native(), 4096), Arguments(head));
}

std::string ContextLines(const nlohmann::ordered_json& j) {
  std::string text;
  if (j.contains("checkpoint")) {
    text +=
        InfoLine("checkpoint",
                 fmt::format("of step {}: a model like any other; its run goes on with --resume",
                             io::Escape(j["checkpoint"].get<std::string>())));
  }
  if (j.contains("sentence_transformers")) {
    text += InfoLine("modules", "sentence-transformers: made for vectors of texts");
  }
  if (j.contains("notes")) {
    for (const auto& note : j["notes"]) text += InfoLine("note", note.get<std::string>());
  }
  return text + InfoLine("next", j["next"].get<std::string>());
}

nlohmann::ordered_json OtherJson(const std::string& path, bool tensors) {
  const WhatIs found = LookAt(path);
  for (const auto& [kind, name] : kKinds) {
    if (kind != found.kind) continue;
    nlohmann::ordered_json j;
    j["kind"] = name;
    j["what"] = found.what;
    if (kind == PathKind::kWeights) AddWeights(path, tensors, &j);
    j["next"] = found.next;
    return j;
  }
  throw NoModel(path, found);
}

std::string OtherText(const nlohmann::ordered_json& j) {
  std::string text = InfoLine(j["kind"].get<std::string>(), j["what"].get<std::string>());
  if (j.contains("count")) {
    text += InfoLine("tensors", fmt::format("{} ({:.1f} MB)", j["count"].get<std::size_t>(),
                                            j["weight_bytes"].get<double>() * 1e-6));
    if (j.contains("family")) text += InfoLine("names of", j["family"].get<std::string>());
    for (const auto& head : j["heads"]) text += InfoLine("head", head.get<std::string>());
    text += TensorLines(j);
  }
  return text + InfoLine("next", j["next"].get<std::string>());
}

}  // namespace longspan::cli
