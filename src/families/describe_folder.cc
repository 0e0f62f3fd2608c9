#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "families/families.h"
#include "families/what_is.h"
#include "io/json.h"
#include "io/tensor_source.h"
#include "longspan/files.h"
#include "longspan/folders.h"
#include "model/sentence_config.h"
#include "model/weight_heads.h"
#include "model/weight_names.h"

namespace longspan {
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
    {PathKind::kForeign, "foreign"},     {PathKind::kUnfinished, "run"},
    {PathKind::kTokenizer, "tokenizer"}, {PathKind::kWeights, "weights"},
    {PathKind::kTable, "table"},         {PathKind::kText, "text"},
    {PathKind::kFile, "file"},           {PathKind::kFolder, "folder"},
};

// Adds "weight_bytes" and, when `list`, "tensors".
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

// The heads and the family that names and shapes of one file speak of.
void AddWeights(const std::string& file, bool tensors, nlohmann::ordered_json* j) {
  const auto source = io::OpenModel(file);
  (*j)["count"] = source->tensors().size();
  std::vector<std::pair<std::string_view, std::string>> marks;  // families, and parts of names
  for (const ModelFamily* family : Families()) {
    for (const std::string_view part : family->own_tensors) marks.emplace_back(family->type, part);
    if (family->own_tensors.empty())
      marks.emplace_back(family->type, fmt::format("{}.", family->type));
  }
  std::size_t first = marks.size();  // of them that a name has
  for (const auto& [name, info] : source->tensors()) {
    for (std::size_t i = 0; i < first; ++i) {
      if (name.find(marks[i].second) != std::string::npos) first = i;
    }
  }
  if (first < marks.size()) (*j)["family"] = marks[first].first;
  const WeightHeads heads = HeadsIn(*source);
  (*j)["heads"] = nlohmann::json::array();
  if (heads.language || (heads.transform && heads.classes == 0)) {
    (*j)["heads"].push_back("language model");
  }
  if (heads.question) (*j)["heads"].push_back("questions");
  if (heads.dense_classes > 0 || heads.classes > 0) {
    (*j)["heads"].push_back(
        fmt::format("classifier of {}", std::max(heads.dense_classes, heads.classes)));
  }
  AddTensors(*source, tensors, j);
}

// Adds what is true of any model's directory: whether it is a checkpoint, a run that ended before
// its last update ("run") or sentence-transformers', what is odd about its labels ("notes"), what
// it is for and the command to ask it ("next").
void AddContext(const ModelFolder& model, std::unique_ptr<io::TensorSource> tensors,
                nlohmann::ordered_json* j) {
  const std::filesystem::path folder =
      model.directory.has_filename() ? model.directory : model.directory.parent_path();
  std::error_code error;
  const auto has = [&](const char* name) { return std::filesystem::exists(folder / name, error); };
  const std::string name = folder.filename().string();
  if (name.starts_with("checkpoint-") && has("manifest.json")) (*j)["checkpoint"] = name.substr(11);
  if (const auto steps = StepsOfRun(folder); steps && steps->done < steps->all) {
    (*j)["run"] = {{"step", steps->done}, {"steps", steps->all}};
  }
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
    if (const auto file = FindSentenceConfig(folder)) {
      const std::string named = io::Escape(file->string());
      const nlohmann::json settings = io::ReadJsonFile(*file);
      io::CheckObject(settings, named);
      const auto most = SentenceTokens(settings, named);
      if (most) (*j)["sentence_tokens"] = std::min(*most, config->info().longest);
    }
  }
  (*j)["next"] = fmt::format("longspan {} -m {} {}", CommandOf(head),
                             io::Escape(folder.native(), 4096), Arguments(head));
}

// What is said of a path that is no model to run: what it is, what to do. kIo where there is
// nothing.
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

}  // namespace

FolderInfo DescribeFolder(const std::filesystem::path& path, bool tensors) {
  FolderInfo info;
  if (LookAt(path).kind != PathKind::kModel) {
    info.json = io::DumpJson(OtherJson(path.string(), tensors));
    return info;
  }
  info.is_model = true;
  const ModelFolder folder = OpenModelFolder(path);
  CheckTensors(folder);  // with --strict
  ModelDescription shown = FamilyOf(folder).complete(folder)->Describe();
  auto source = io::OpenModel(path);  // once: there may be a million
  AddTensors(*source, tensors, &shown.json);
  AddContext(folder, std::move(source), &shown.json);
  info.json = io::DumpJson(shown.json);
  info.lines = std::move(shown.lines);
  return info;
}

}  // namespace longspan
