#include "model/model_folder.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/limits.h"
#include "io/atomic_directory.h"
#include "io/atomic_file.h"
#include "io/file.h"
#include "io/file_name.h"
#include "io/json.h"
#include "io/paths.h"
#include "io/policy.h"
#include "io/transformer_folder.h"
#include "longspan/files.h"
#include "model/sentence_config.h"
#include "model/weight_files.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Weights of any framework, and their indexes.
bool HoldsWeights(std::string_view name) {
  for (const std::string_view end :
       {".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".h5", ".msgpack",
        ".ot", ".onnx", ".pt", ".pth", ".ckpt", ".gguf", ".tflite"}) {
    if (name.ends_with(end)) return true;
  }
  return false;
}

// Those that a model is read from (io::OpenModel).
bool IsModelFile(std::string_view name) {
  return name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json") ||
         (name.starts_with("pytorch_model") && HoldsWeights(name));
}

bool IsArchive(std::string_view name) {
  for (const std::string_view end : {".zip", ".whl", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst",
                                     ".7z", ".rar", ".deb", ".rpm", ".jar"}) {
    if (name.ends_with(end)) return true;
  }
  return false;
}

// 0 where there is no such file.
std::uint64_t SizeOf(const fs::path& file) {
  std::error_code unknown;
  const std::uint64_t bytes = fs::is_regular_file(file, unknown) ? fs::file_size(file, unknown) : 0;
  return unknown ? 0 : bytes;
}

// Whether a file beside the weights is none of a model's: it is for another program, or what
// somebody has put there. A folder of the hub has several of them, larger than the model.
bool StaysBehind(const fs::path& folder, const std::string& name) {
  return HoldsWeights(name) || IsArchive(name) ||
         SizeOf(folder / name) > limits::kMostTokenizerBytes;
}

// A file or folder to copy: its name below the model's folder, and where it really lies.
struct Companion {
  std::string name;
  fs::path real;
};

// The files of a model's folder, and the links that lead out of it.
class Companions {
 public:
  // The top's files that are `wanted`.
  Companions(const fs::path& folder, const std::function<bool(const std::string& name)>& wanted)
      : root_(folder) {
    for (const std::string& name : io::ListFolder(folder)) {
      if (wanted(name)) AddFile(name);
    }
    for (const std::string& name : ModuleFolders()) AddFolder(name);
  }
  // Those of a model that hold no weights, without `except`.
  Companions(const fs::path& folder, const std::vector<std::string>& except)
      : Companions(folder, [&](const std::string& name) {
          return !StaysBehind(folder, name) && std::count(except.begin(), except.end(), name) == 0;
        }) {}

  const std::vector<Companion>& files() const { return files_; }
  const std::vector<std::string>& folders() const { return folders_; }
  const std::vector<std::string>& left_out() const { return left_out_; }

 private:
  // Resolves a name and its links. Empty if it is not a regular file, or if a link leads out of the
  // folder; such a link is recorded.
  fs::path Resolve(const std::string& name, fs::file_type wanted) {
    const fs::path path = root_ / name;
    std::error_code unknown;  // a link to nowhere is nothing
    if (fs::status(path, unknown).type() != wanted) return {};
    fs::path real = io::ResolveInside(root_, path);
    if (real.empty()) left_out_.push_back(name);
    return real;
  }

  void AddFile(const std::string& name) {
    if (fs::path(name).filename().native().starts_with(".")) return;
    fs::path real = Resolve(name, fs::file_type::regular);
    if (!real.empty()) files_.push_back({name, std::move(real)});
  }

  void AddFolder(const std::string& name) {
    const fs::path real = Resolve(name, fs::file_type::directory);
    if (real.empty()) return;
    folders_.push_back(name);
    for (const std::string& file : io::ListFolder(real)) AddFile(name + "/" + file);
  }

  // Folders of modules.json: [{"path": "1_Pooling", ...}, ...]. An empty path is the folder itself.
  // A module without files of its own (normalisation) may have no folder.
  std::vector<std::string> ModuleFolders() const {
    const fs::path file = root_ / "modules.json";
    if (!io::Exists(file)) return {};
    const std::string source = io::Escape(file.native(), 4096);
    const json modules = io::ReadJsonFile(file);
    Check(modules.is_array(), ErrorCode::kFormat, "{}: must be a list", source);
    std::vector<std::string> folders;
    for (const json& module : modules) {
      const std::string path = io::GetString(module, "path", "", source);
      Check(path.empty() || io::IsPlainFileName(path), ErrorCode::kFormat,
            "{}: path \"{}\" must be the plain name of a folder", source, io::Escape(path));
      if (!path.empty()) folders.push_back(path);
    }
    std::sort(folders.begin(), folders.end());
    folders.erase(std::unique(folders.begin(), folders.end()), folders.end());
    return folders;
  }

  fs::path root_;
  std::vector<Companion> files_;
  std::vector<std::string> folders_, left_out_;
};

// "a, b", or what that is under a strict policy: an error.
std::string LeftOutLine(const fs::path& folder, const std::vector<std::string>& names) {
  if (names.empty()) return {};
  const std::string list = fmt::format("{}: {} of its links lead{} out of the folder: {}",
                                       io::Escape(folder.native(), 4096), names.size(),
                                       names.size() == 1 ? "s" : "", NameList(names));
  Check(!io::GetPolicy().strict_paths, ErrorCode::kFormat,
        "{}; --strict-paths refuses that, put the files themselves there", list);
  return list + "; not copied";
}

constexpr const char* kTokenizerFiles[] = {"vocab.txt",
                                           "vocab.json",
                                           "merges.txt",
                                           "tokenizer.json",
                                           "added_tokens.json",
                                           "tokenizer_config.json",
                                           "sentencepiece.bpe.model",
                                           "spiece.model",
                                           "special_tokens_map.json"};

// Tokenizer files and where they really lie; links that lead out go to `left_out`.
std::vector<Companion> TokenizerCompanions(const fs::path& folder,
                                           std::vector<std::string>* left_out) {
  std::vector<Companion> files;
  for (const char* name : kTokenizerFiles) {
    std::error_code unknown;
    if (!fs::is_regular_file(folder / name, unknown)) continue;
    fs::path real = io::ResolveInside(folder, folder / name);
    if (real.empty()) {
      left_out->emplace_back(name);
    } else {
      files.push_back({name, std::move(real)});
    }
  }
  return files;
}

json ReadObject(const fs::path& file) {
  json object = io::ReadJsonFile(file);
  io::CheckObject(object, io::Escape(file.native(), 4096));
  return object;
}

// modules.json with the transformer, which was in the folder `inner`, at the top. A model of old
// that has none gets one.
void CopyModules(const fs::path& from, const fs::path& to, const std::string& inner) {
  const fs::path file = from / "modules.json";
  json modules = json::array();
  if (io::Exists(file)) modules = io::ReadJsonFile(file);
  for (json& module : modules) {
    if (module.is_object() && module.value("path", json()) == inner) module["path"] = "";
  }
  if (modules.empty()) {
    modules.push_back({{"idx", 0},
                       {"name", "0"},
                       {"path", ""},
                       {"type", "sentence_transformers.models.Transformer"}});
  }
  io::WriteFileAtomic(to / "modules.json", io::DumpJson(modules));
}

}  // namespace

std::vector<std::string> CopyCompanions(const fs::path& from, const fs::path& to,
                                        const std::vector<std::string>& except) {
  const Companions companions(from, except);
  LeftOutLine(from, companions.left_out());
  std::vector<std::string> copied;
  // A transformer in a folder of its own comes out at the top, where what is made of it is written.
  const fs::path inner = io::TransformerFolder(from);
  const std::string moved = inner == from ? std::string() : inner.filename().string();
  if (!moved.empty()) {
    copied = CopyCompanions(inner, to, except);
    CopyModules(from, to, moved);
    copied.emplace_back("modules.json");
  }
  for (const std::string& folder : companions.folders()) {
    if (folder != moved) io::MakeDirectories(to / folder);
  }
  for (const Companion& file : companions.files()) {
    if (std::count(copied.begin(), copied.end(), file.name) > 0) continue;
    if (!moved.empty() && file.name.starts_with(moved + "/")) continue;
    io::CopyFile(file.real, to / file.name);
    copied.push_back(file.name);
  }
  return copied;
}

void CopySentenceFiles(const fs::path& from, const fs::path& to) {
  const fs::path inner = io::TransformerFolder(from);
  const std::string moved = inner == from ? std::string() : inner.filename().string();
  const fs::path settings = FindSentenceConfig(from).value_or(fs::path()).filename();
  const Companions companions(from, [&](const std::string& name) {
    return name == "modules.json" || name == "config_sentence_transformers.json" ||
           name == settings;
  });
  for (const Companion& file : companions.files()) {
    const fs::path name = file.name, folder = name.parent_path();
    if (!moved.empty() && (folder == moved || name == "modules.json")) continue;
    if (!io::IsPlainFileName(name.filename().native()) || name.native()[0] == '.') continue;
    if (!folder.empty()) io::MakeDirectories(to / folder);
    io::CopyFile(file.real, to / name);
  }
  if (moved.empty()) return;
  CopySentenceFiles(inner, to);  // its files come to the top, over others of the same name
  CopyModules(from, to, moved);
}

std::string LinksLeftOut(const fs::path& folder, const std::vector<std::string>& except) {
  return LeftOutLine(folder, Companions(folder, except).left_out());
}

std::string FilesLeftOut(const fs::path& folder, const std::vector<std::string>& except) {
  std::vector<std::string> names;
  const auto add = [&](const fs::path& from, const std::string& before) {
    for (const std::string& name : io::ListFolder(from)) {
      const bool named = !name.starts_with('.') && !IsModelFile(name) &&
                         std::count(except.begin(), except.end(), name) == 0;
      const std::uint64_t bytes = named && StaysBehind(from, name) ? SizeOf(from / name) : 0;
      if (bytes == 0) continue;  // no file, or nothing is lost
      names.push_back(
          bytes < 1'000'000
              ? fmt::format("{}{} ({} kB)", before, name, (bytes + 999) / 1000)
              : fmt::format("{}{} ({:.0f} MB)", before, name, static_cast<double>(bytes) * 1e-6));
    }
  };
  add(folder, "");
  if (const fs::path inner = io::TransformerFolder(folder); inner != folder) {
    add(inner, inner.filename().string() + "/");
  }
  if (names.empty()) return {};
  return fmt::format(
      "{}: not copied, as weights of other formats, archives and files above {} MB are not: {}",
      io::Escape(folder.native(), 4096), limits::kMostTokenizerBytes / 1'000'000, NameList(names));
}

std::string TokenizerLinksLeftOut(const fs::path& folder) {
  std::vector<std::string> left_out;
  TokenizerCompanions(folder, &left_out);
  return LeftOutLine(folder, left_out);
}

std::vector<std::string> TokenizerFiles(const fs::path& folder) {
  std::vector<std::string> names, left_out;
  for (const Companion& file : TokenizerCompanions(folder, &left_out)) names.push_back(file.name);
  return names;
}

void CopyTokenizer(const fs::path& given, const fs::path& to) {
  const fs::path from = io::TransformerFolder(given);
  std::vector<std::string> left_out;
  const std::vector<Companion> files = TokenizerCompanions(from, &left_out);
  LeftOutLine(from, left_out);
  for (const Companion& file : files) io::CopyFile(file.real, to / file.name);
}

void SetLongestText(const fs::path& folder, idx_t tokens, std::string_view tokenizer_class) {
  const fs::path tokenizer = folder / "tokenizer_config.json";
  const bool has_vocabulary = io::Exists(folder / "vocab.txt") ||
                              io::Exists(folder / "vocab.json") ||
                              io::Exists(folder / "tokenizer.json");
  if (io::Exists(tokenizer) || has_vocabulary || tokenizer_class.empty()) {
    json object = io::Exists(tokenizer) ? ReadObject(tokenizer) : json::object();
    object["model_max_length"] = tokens;
    if (!tokenizer_class.empty() && io::IsNullOrAbsent(object, "tokenizer_class")) {
      object["tokenizer_class"] = tokenizer_class;
    }
    io::WriteFileAtomic(tokenizer, io::DumpJson(object));
  }
  // Older folders have the file of another family, or have it beside the transformer that they came
  // with.
  std::vector<std::string> places = Companions(folder, std::vector<std::string>()).folders();
  places.emplace_back();
  for (const std::string& place : places) {
    const auto sentences = FindSentenceConfig(folder / place);
    if (!sentences) continue;
    json object = ReadObject(*sentences);
    object["max_seq_length"] = tokens;
    io::WriteFileAtomic(*sentences, io::DumpJson(object));
  }
}

idx_t TokenId(const fs::path& folder, std::string_view token) {
  if (io::Exists(folder / "vocab.txt")) {
    const std::string text = io::ReadWholeFile(folder / "vocab.txt", limits::kVocabularyFile);
    idx_t id = 0;
    for (std::size_t at = 0; at < text.size(); ++id) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      std::string_view line = std::string_view(text).substr(at, end - at);
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line == token) return id;
      at = end + 1;
    }
    return -1;
  }
  if (!io::Exists(folder / "tokenizer.json")) return -1;
  io::JsonLimits most;
  most.bytes = limits::kVocabularyFile;
  const json document = io::ReadJsonFile(folder / "tokenizer.json", most);
  if (!document.is_object() || !document.contains("model") || !document["model"].is_object()) {
    return -1;
  }
  const json& model = document["model"];
  if (!model.contains("vocab") || !model["vocab"].is_object()) return -1;
  const auto found = model["vocab"].find(token);
  const bool is_id = found != model["vocab"].end() && found->is_number_unsigned();
  return is_id ? found->get<idx_t>() : -1;
}

}  // namespace longspan
