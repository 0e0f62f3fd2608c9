#include "families/what_is.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "base/errors.h"
#include "data/bytes.h"
#include "data/format.h"
#include "families/families.h"
#include "io/ascii.h"
#include "io/checkpoint.h"
#include "io/file.h"
#include "io/file_hint.h"
#include "io/json.h"
#include "io/paths.h"
#include "io/transformer_folder.h"
#include "longspan/files.h"
#include "model/model_folder.h"
#include "model/weight_heads.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string Shown(const fs::path& path) { return io::Escape(path.native(), 4096); }

// Is there, whatever it is: a link that leads nowhere too, so that opening it says what is wrong.
// So is what the system does not let us see.
bool IsThere(const fs::path& path) {
  std::error_code error;
  const auto status = fs::symlink_status(path, error);
  return fs::exists(status) || (error && status.type() != fs::file_type::not_found);
}

// "GPT2LMHeadModel" -> "gpt2".
std::string TypeOfClass(const std::string& class_name) {
  std::size_t end = class_name.size();
  for (const char* part : {"For", "Model", "LMHead", "With"}) {
    end = std::min(end, class_name.find(part));
  }
  return io::LowerAscii(class_name.substr(0, end));
}

std::string FullName(const std::string& type, const std::vector<std::string>& classes) {
  const ModelFamily* family = FindFamily(type);
  std::string name = family != nullptr ? std::string(family->title) : io::Escape(type, 60);
  const bool vowel =  // as they sound: "an XLM-RoBERTa"
      !name.empty() && std::string_view("aeiouAEIOUX").find(name[0]) != std::string::npos;
  name = (vowel ? "an " : "a ") + name;
  if (!classes.empty()) name += " (" + io::Escape(classes.front(), 80) + ")";
  return name;
}

// "Reformers and Longformers".
std::string FamilyTitles() {
  std::string titles;
  const auto families = Families();
  for (std::size_t i = 0; i < families.size(); ++i) {
    titles.append(i == 0 ? "" : i + 1 == families.size() ? " and " : ", ");
    titles.append(families[i]->title).append("s");
  }
  return titles;
}

WhatIs ByConfig(const fs::path& file) {
  json object = io::ReadJsonFile(file);
  const std::string source = Shown(file);
  io::CheckObject(object, source);
  const std::string type = ModelTypeIn(object, source);
  if (type.empty()) {
    std::string types;
    for (const ModelFamily* family : Families()) {
      types += fmt::format("{}\"{}\"", types.empty() ? "" : " or ", family->type);
    }
    return {PathKind::kForeign,
            "its config.json names no model_type, and none of its fields does",
            fmt::format("write \"model_type\": {} into it if it is one", types),
            {}};
  }
  WhatIs found{PathKind::kForeign, FullName(type, Architectures(object, source))};
  found.config = std::move(object);
  if (FindFamily(type) != nullptr) {
    found.kind = PathKind::kModel;
  } else {
    found.next = fmt::format("longspan cannot run it: it runs {}", FamilyTitles());
  }
  return found;
}

// A folder in `path`, or among the snapshots of a download cache, that holds a config.json; empty:
// none. The first by name.
fs::path ModelInside(const fs::path& path) {
  constexpr int most = 1000;  // entries looked at
  for (const fs::path& folder : {path, path / "snapshots"}) {
    std::vector<fs::path> found;
    std::error_code error;
    int seen = 0;
    for (fs::directory_iterator entry(folder, error);
         !error && entry != fs::directory_iterator() && seen < most; entry.increment(error)) {
      ++seen;
      std::error_code unknown;
      if (fs::exists(entry->path() / "config.json", unknown)) found.push_back(entry->path());
    }
    if (!found.empty()) return *std::min_element(found.begin(), found.end());
  }
  return {};
}

// A folder without a config.json.
WhatIs OtherFolder(const fs::path& path) {
  std::error_code error;
  const auto checkpoints = io::ListCheckpoints(path);
  if (!checkpoints.empty()) {
    const auto steps = StepsOfRun(path);
    return {PathKind::kUnfinished,
            fmt::format("has not finished{}; newest checkpoint: {}",
                        steps ? fmt::format(": step {} of {}", steps->done, steps->all) : "",
                        Shown(checkpoints.back().path)),
            "go on with --resume or use the checkpoint as a model"};
  }
  if (IsThere(path / "metrics.jsonl")) {
    return {PathKind::kUnfinished, "a training that has not saved a checkpoint yet",
            "wait for its first one, or start it again"};
  }
  if (fs::is_empty(path, error) && !error) {
    return {PathKind::kEmpty, "an empty folder", HowToGet(path)};
  }
  for (const char* weights : {"model.safetensors", "model.safetensors.index.json",
                              "pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (!IsThere(path / weights)) continue;
    return {PathKind::kConfigLess, fmt::format("has {} but no config.json", weights),
            "put the config.json of the same model beside it"};
  }
  if (!TokenizerFiles(path).empty()) {
    return {PathKind::kTokenizer, "a tokenizer without a model: no config.json, no weights",
            fmt::format("look at it with `longspan tokenize -m {} TEXT`, or make a model for it: "
                        "`longspan init --tokenizer {} -o DIR`",
                        Shown(path), Shown(path))};
  }
  if (const fs::path inside = ModelInside(path); !inside.empty()) {
    return {PathKind::kFolder, "a folder around a model's", "give that one: " + Shown(inside)};
  }
  return {PathKind::kFolder, "a folder without a config.json", HowToGet(path)};
}

const char* const kGiveFolder = "give a model's folder";

std::string Start(const fs::path& path) {
  try {
    const auto file = io::File::OpenRegular(path);
    std::string start(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 512)), '\0');
    file.ReadAt(0, start.data(), start.size());
    return start;
  } catch (const Error&) {
    return {};
  }
}

bool EndsIn(const std::string& name, std::initializer_list<std::string_view> ends) {
  const std::string lower = io::LowerAscii(name);
  return std::any_of(ends.begin(), ends.end(),
                     [&](std::string_view end) { return lower.ends_with(end); });
}

// Texts and tables, or neither, by name and first bytes.
WhatIs OneText(const fs::path& path, const std::string& start, bool packed) {
  const std::string shown = Shown(path);
  const bool rows = data::HasRows(data::FormatOf(path));
  const PathKind kind = rows ? PathKind::kTable : PathKind::kText;
  const char* what = rows ? "table" : "text";
  if (packed) return {kind, fmt::format("a packed {}", what), "longspan data stats " + shown};
  const std::string wide(io::WideEncodingOf(start));
  if (!wide.empty()) {
    return {kind, fmt::format("a {} in {}", what, wide == "utf-32" ? "UTF-32" : "UTF-16"),
            fmt::format("longspan data stats {} --encoding {}", shown, wide)};
  }
  if (rows || start.find('\0') == std::string::npos) {
    return {kind, fmt::format("a {}", what), "longspan data stats " + shown};
  }
  return {PathKind::kFile, "a file that is neither weights, a table nor a text", kGiveFolder};
}

WhatIs OneFile(const fs::path& path) {
  if (io::FileBytes(path) == 0) return {PathKind::kFile, "an empty file", kGiveFolder};
  const std::string name = path.filename().string(), start = Start(path);
  const fs::path parent = path.parent_path().empty() ? "." : path.parent_path();
  const bool weights = EndsIn(name, {".safetensors", ".bin", ".pt", ".pth"}) ||
                       (start.starts_with("PK") && start.find("/data.pkl") != start.npos);
  bool packed = false;
  data::WithoutPacking(path, &packed);
  if (packed || (!weights && data::IsPacked(start))) return OneText(path, start, true);
  const io::KnownFile* known = io::KnownFileOf(start);
  const bool archive = weights && start.starts_with("PK");
  if (known != nullptr && !archive && !start.starts_with("version ")) {
    return {PathKind::kFile, std::string(known->what),
            known->next.empty() ? kGiveFolder : std::string(known->next)};
  }
  if (const std::string hint = io::FileHint(start); !hint.empty() && !archive) {
    return {PathKind::kFile, "no model but something else", hint.substr(2)};
  }
  if (name == "config.json" || name == "modules.json" || name == "model.safetensors.index.json" ||
      name == "pytorch_model.bin.index.json") {
    return {PathKind::kFile, "a file of a model's folder", "give the folder: " + Shown(parent)};
  }
  if (EndsIn(name, {"tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model",
                    "tokenizer_config.json"})) {
    return {PathKind::kFile, "a file of a tokenizer",
            fmt::format("look at it with `longspan tokenize -m {} TEXT`", Shown(parent))};
  }
  if (weights) {
    return {PathKind::kWeights, "one file of weights",
            fmt::format("give the folder with it and its config.json, or rewrite it with `longspan "
                        "convert {} DIR`",
                        Shown(path))};
  }
  return OneText(path, start, false);
}

// A run keeps its newest checkpoints: an older one may have been removed since it was named.
WhatIs NothingThere(const fs::path& path) {
  const fs::path run = path.parent_path();
  if (path.filename().string().starts_with("checkpoint-") && io::IsDirectory(run)) {
    std::string others;
    for (const io::CheckpointInfo& other : io::ListCheckpoints(run)) {
      others += (others.empty() ? "" : ", ") + other.path.filename().string();
    }
    return {PathKind::kMissing, "there is no such checkpoint",
            fmt::format("{} has {}; a run keeps its newest ones (--keep)", Shown(run),
                        others.empty() ? "none" : others)};
  }
  return {PathKind::kMissing, "there is no such folder or file", HowToGet(path)};
}

}  // namespace

std::string HowToGet(const fs::path& path) {
  return fmt::format(
      "nothing is downloaded: download the model's files (config.json, weights, tokenizer files) "
      "into a folder {}, e.g. with git or hf download, and give that folder",
      Shown(path));
}

WhatIs LookAt(const fs::path& path) {
  if (!IsThere(path)) return NothingThere(path);
  if (!io::IsDirectory(path)) {
    io::File::OpenRegular(path);  // says what a device, a loop of links or a link to nowhere is
    return OneFile(path);
  }
  const fs::path config = io::TransformerFolder(path) / "config.json";
  return IsThere(config) ? ByConfig(config) : OtherFolder(path);
}

std::optional<RunSteps> StepsOfRun(const fs::path& run) {
  const auto checkpoints = io::ListCheckpoints(run);
  if (checkpoints.empty()) return std::nullopt;
  constexpr idx_t kMost = std::numeric_limits<idx_t>::max();
  const std::string source = Shown(checkpoints.back().path);
  try {
    const json state = io::ReadJsonFile(checkpoints.back().path / "trainer_state.json");
    if (!state.is_object() || !state.contains("options")) return std::nullopt;
    return RunSteps{io::GetInt(state, "step", 0, kMost, io::kRequired, source),
                    io::GetInt(state["options"], "steps", 1, kMost, io::kRequired, source)};
  } catch (const Error&) {
    return std::nullopt;  // the run itself says what is wrong with it
  }
}

Error NoModel(const fs::path& path, const WhatIs& found) {
  const bool format = found.kind == PathKind::kForeign || found.kind == PathKind::kModel ||
                      found.kind == PathKind::kFile;
  const bool whole = found.kind == PathKind::kUnfinished || found.kind == PathKind::kConfigLess ||
                     found.kind == PathKind::kMissing || found.what.starts_with("its ");
  return Error(format ? ErrorCode::kFormat : ErrorCode::kIo,
               fmt::format("{}: {}{}{}{}", Shown(path), whole ? "" : "is ", found.what,
                           found.next.empty() ? "" : "; ", found.next));
}

std::string ModelTypeIn(const json& object, std::string_view source) {
  if (!io::IsNullOrAbsent(object, "model_type")) {
    return io::GetString(object, "model_type", io::kRequired, source);
  }
  const auto classes = Architectures(object, source);
  if (!classes.empty()) return TypeOfClass(classes.front());
  for (const ModelFamily* family : Families()) {
    for (const std::string_view field : family->own_fields) {
      if (!io::IsNullOrAbsent(object, std::string(field).c_str())) return std::string(family->type);
    }
  }
  return {};
}

}  // namespace longspan
