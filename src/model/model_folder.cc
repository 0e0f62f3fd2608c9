#include "model/model_folder.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "io/atomic_directory.h"
#include "io/atomic_file.h"
#include "io/escape.h"
#include "io/file.h"
#include "io/file_name.h"
#include "io/json.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t kMostVocabulary = std::uint64_t{64} << 20;  // bytes

// Weights of any framework, and their indexes.
bool HoldsWeights(std::string_view name) {
  for (const std::string_view end :
       {".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".h5", ".msgpack",
        ".ot", ".onnx", ".pt", ".pth", ".ckpt", ".gguf", ".tflite"}) {
    if (name.ends_with(end)) return true;
  }
  return false;
}

// Regular files of a folder, by name.
std::vector<std::string> FilesIn(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    const std::string name = entries->path().filename().native();
    std::error_code unknown;  // a link to nowhere is no regular file
    if (entries->is_regular_file(unknown) && !name.starts_with(".")) names.push_back(name);
  }
  Check(!error, ErrorCode::kIo, "{}: cannot list: {}", io::Escape(folder.native(), 4096),
        error.message());
  std::sort(names.begin(), names.end());
  return names;
}

// Folders of modules.json: [{"path": "1_Pooling", ...}, ...]. An empty path is the folder itself.
std::vector<std::string> ModuleFolders(const fs::path& folder) {
  const fs::path file = folder / "modules.json";
  if (!fs::exists(file)) return {};
  const std::string source = io::Escape(file.native(), 4096);
  const json modules = io::ReadJsonFile(file);
  Check(modules.is_array(), ErrorCode::kFormat, "{}: must be a list", source);
  std::vector<std::string> folders;
  for (const json& module : modules) {
    const std::string path = io::GetString(module, "path", "", source);
    Check(path.empty() || io::IsPlainFileName(path), ErrorCode::kFormat,
          "{}: path \"{}\" must be the plain name of a folder", source, io::Escape(path));
    // A module without files of its own (normalisation) may have no folder.
    if (!path.empty() && fs::is_directory(folder / path)) folders.push_back(path);
  }
  std::sort(folders.begin(), folders.end());
  folders.erase(std::unique(folders.begin(), folders.end()), folders.end());
  return folders;
}

json ReadObject(const fs::path& file) {
  json object = io::ReadJsonFile(file);
  Check(object.is_object(), ErrorCode::kFormat, "{}: not a JSON object",
        io::Escape(file.native(), 4096));
  return object;
}

}  // namespace

std::vector<std::string> CopyCompanions(const fs::path& from, const fs::path& to,
                                        const std::vector<std::string>& except) {
  std::vector<std::string> copied;
  for (const std::string& name : FilesIn(from)) {
    if (HoldsWeights(name) || std::count(except.begin(), except.end(), name) > 0) continue;
    io::CopyFile(from / name, to / name);
    copied.push_back(name);
  }
  for (const std::string& folder : ModuleFolders(from)) {
    std::error_code error;
    fs::create_directory(to / folder, error);
    Check(!error, ErrorCode::kIo, "{}: cannot create the directory: {}",
          io::Escape((to / folder).native(), 4096), error.message());
    for (const std::string& name : FilesIn(from / folder)) {
      io::CopyFile(from / folder / name, to / folder / name);
      copied.push_back(folder + "/" + name);
    }
  }
  return copied;
}

std::vector<std::string> TokenizerFiles(const fs::path& folder) {
  std::vector<std::string> names;
  for (const char* name : {"vocab.txt", "vocab.json", "merges.txt", "tokenizer.json",
                           "added_tokens.json", "tokenizer_config.json", "sentencepiece.bpe.model",
                           "spiece.model", "special_tokens_map.json"}) {
    std::error_code unknown;
    if (fs::is_regular_file(folder / name, unknown)) names.emplace_back(name);
  }
  return names;
}

void CopyTokenizer(const fs::path& from, const fs::path& to) {
  for (const std::string& name : TokenizerFiles(from)) io::CopyFile(from / name, to / name);
}

void SetLongestText(const fs::path& folder, idx_t tokens, std::string_view tokenizer_class) {
  const fs::path tokenizer = folder / "tokenizer_config.json";
  const bool has_vocabulary = fs::exists(folder / "vocab.txt") ||
                              fs::exists(folder / "vocab.json") ||
                              fs::exists(folder / "tokenizer.json");
  if (fs::exists(tokenizer) || has_vocabulary) {
    json object = fs::exists(tokenizer) ? ReadObject(tokenizer) : json::object();
    object["model_max_length"] = tokens;
    if (io::IsNullOrAbsent(object, "tokenizer_class")) object["tokenizer_class"] = tokenizer_class;
    io::WriteFileAtomic(tokenizer, object.dump(2) + "\n");
  }
  const fs::path sentences = folder / "sentence_bert_config.json";
  if (!fs::exists(sentences)) return;
  json object = ReadObject(sentences);
  object["max_seq_length"] = tokens;
  io::WriteFileAtomic(sentences, object.dump(2) + "\n");
}

idx_t TokenId(const fs::path& folder, std::string_view token) {
  if (fs::exists(folder / "vocab.txt")) {
    const std::string text = io::ReadWholeFile(folder / "vocab.txt", kMostVocabulary);
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
  if (!fs::exists(folder / "tokenizer.json")) return -1;
  io::JsonLimits limits;
  limits.bytes = kMostVocabulary;
  const json document = io::ReadJsonFile(folder / "tokenizer.json", limits);
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
