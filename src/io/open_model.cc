// One interface over model.safetensors and its shards.
#include <algorithm>
#include <map>
#include <set>

#include "base/errors.h"
#include "io/escape.h"
#include "io/file_name.h"
#include "io/json.h"
#include "io/posix.h"
#include "io/safetensors.h"
#include "io/tensor_source.h"

namespace longspan::io {

// Tensors of several files, as an index file assigns them.
class ShardedSafetensors final : public TensorSource {
 public:
  explicit ShardedSafetensors(const std::filesystem::path& index) : source_(PathText(index)) {
    const nlohmann::json document = ReadJsonFile(index);
    const auto shard_of = ReadWeightMap(document);
    OpenShards(index.parent_path(), shard_of);
    CheckTotal(document);
  }

  const TensorTable& tensors() const override { return tensors_; }
  const std::map<std::string, std::string>& metadata() const override {
    return files_.front().metadata();
  }
  std::string source() const override { return source_; }
  const std::vector<std::string>& warnings() const override { return warnings_; }

 private:
  using WeightMap = std::map<std::string, std::string, std::less<>>;  // tensor name, file name
  static constexpr std::size_t kMostShards = 4096;
  static constexpr std::size_t kMostWarnings = 10;

  void ReadBytes(const TensorInfo& info, std::uint64_t offset, void* out,
                 std::size_t bytes) const override {
    files_[static_cast<std::size_t>(info.file)].ReadBytes(info, offset, out, bytes);
  }

  WeightMap ReadWeightMap(const nlohmann::json& document) const {
    const bool has_map = document.is_object() && document.contains("weight_map") &&
                         document["weight_map"].is_object();
    Check(has_map, ErrorCode::kFormat, "{}: weight_map must be an object", source_);
    WeightMap shard_of;
    // Every name is judged before any file is opened.
    for (const auto& [name, file] : document["weight_map"].items()) {
      Check(file.is_string(), ErrorCode::kFormat, "{}: weight_map[\"{}\"] must be a string",
            source_, Escape(name));
      const auto& text = file.get_ref<const std::string&>();
      Check(IsPlainFileName(text), ErrorCode::kFormat,
            "{}: weight_map[\"{}\"] is \"{}\", must be a file name of letters, digits, '.', '_' "
            "and '-' without a folder",
            source_, Escape(name), Escape(text));
      shard_of.emplace(name, text);
    }
    Check(!shard_of.empty(), ErrorCode::kFormat, "{}: weight_map is empty", source_);
    return shard_of;
  }

  void OpenShards(const std::filesystem::path& folder, const WeightMap& shard_of) {
    std::set<std::string> names;
    for (const auto& [tensor, shard] : shard_of) names.insert(shard);
    Check(names.size() <= kMostShards, ErrorCode::kFormat, "{}: {} shards, at most {} are read",
          source_, names.size(), kMostShards);
    for (const std::string& shard : names) {
      Check(std::filesystem::exists(folder / shard), ErrorCode::kFormat,
            "{}: the shard {} is missing", source_, shard);
      files_.push_back(SafetensorsFile::Open(folder / shard));
      AddTensors(shard, shard_of);
    }
    for (const auto& [tensor, shard] : shard_of) {
      Check(tensors_.count(tensor) != 0, ErrorCode::kFormat, "{}: tensor \"{}\" is not in {}",
            source_, Escape(tensor), shard);
    }
  }

  void AddTensors(const std::string& shard, const WeightMap& shard_of) {
    for (const auto& [name, info] : files_.back().tensors()) {
      const auto assigned = shard_of.find(name);
      if (assigned == shard_of.end()) {
        Warn(fmt::format("{}: tensor \"{}\" of {} is not in weight_map and ignored", source_,
                         Escape(name), shard));
        continue;
      }
      Check(assigned->second == shard, ErrorCode::kFormat,
            "{}: tensor \"{}\" is assigned to {} and also in {}", source_, Escape(name),
            assigned->second, shard);
      TensorInfo& added = tensors_.emplace(name, info).first->second;
      added.file = static_cast<int>(files_.size()) - 1;
    }
  }

  void CheckTotal(const nlohmann::json& document) {
    if (!document.contains("metadata") || !document["metadata"].is_object()) return;
    const auto& metadata = document["metadata"];
    if (!metadata.contains("total_size") || !metadata["total_size"].is_number()) return;
    double total = 0.0;
    for (const auto& [name, info] : tensors_) total += static_cast<double>(info.bytes());
    const auto stated = metadata["total_size"].get<double>();
    if (stated != total) {
      Warn(fmt::format("{}: total_size is {:.0f}, the tensors have {:.0f} bytes", source_, stated,
                       total));
    }
  }

  void Warn(std::string text) {
    if (warnings_.size() < kMostWarnings) warnings_.push_back(std::move(text));
  }

  std::string source_;
  std::vector<SafetensorsFile> files_;
  TensorTable tensors_;
  std::vector<std::string> warnings_;
};

std::unique_ptr<TensorSource> OpenModel(const std::filesystem::path& directory) {
  std::error_code error;
  const auto status = std::filesystem::status(directory, error);
  if (!std::filesystem::exists(status)) FailSystem(directory, "open", ENOENT);
  if (!std::filesystem::is_directory(status)) {
    return std::make_unique<SafetensorsFile>(SafetensorsFile::Open(directory));
  }
  // A link that leads nowhere is there too: opening it says what is wrong.
  const auto holds = [&](const char* name) {
    return std::filesystem::exists(std::filesystem::symlink_status(directory / name, error));
  };
  if (holds("model.safetensors")) {
    return std::make_unique<SafetensorsFile>(
        SafetensorsFile::Open(directory / "model.safetensors"));
  }
  if (holds("model.safetensors.index.json")) {
    return std::make_unique<ShardedSafetensors>(directory / "model.safetensors.index.json");
  }
  Check(!holds("pytorch_model.bin") && !holds("pytorch_model.bin.index.json"), ErrorCode::kFormat,
        "{}: has pytorch_model.bin only, which is not read yet; save the model as safetensors",
        PathText(directory));
  Fail(ErrorCode::kIo, "{}: no weights: neither model.safetensors nor model.safetensors.index.json",
       PathText(directory));
}

}  // namespace longspan::io
