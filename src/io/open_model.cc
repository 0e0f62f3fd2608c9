// One interface over every form of a model's weights.
#include <algorithm>
#include <map>
#include <set>

#include "base/errors.h"
#include "io/escape.h"
#include "io/posix.h"
#include "io/pytorch_file.h"
#include "io/safetensors.h"
#include "io/shard_index.h"
#include "io/tensor_source.h"

namespace longspan::io {
namespace {

constexpr std::uint64_t kMostIndex = std::uint64_t{16} << 20;  // bytes
constexpr std::size_t kMostShards = 4096;
constexpr std::size_t kMostWarnings = 10;

using OpenFile = std::unique_ptr<TensorSource> (*)(const std::filesystem::path&);

std::unique_ptr<TensorSource> OpenSafetensors(const std::filesystem::path& path) {
  return std::make_unique<SafetensorsFile>(SafetensorsFile::Open(path));
}
std::unique_ptr<TensorSource> OpenPytorch(const std::filesystem::path& path) {
  return std::make_unique<PytorchFile>(PytorchFile::Open(path));
}

// The weights of a folder, best first.
struct Form {
  const char* name;
  OpenFile open;
  bool sharded;
};
constexpr Form kForms[] = {
    {"model.safetensors", OpenSafetensors, false},
    {"model.safetensors.index.json", OpenSafetensors, true},
    {"pytorch_model.bin", OpenPytorch, false},
    {"pytorch_model.bin.index.json", OpenPytorch, true},
};

// What this program does not read, and says so.
constexpr const char* kOtherWeights[] = {"tf_model.h5", "flax_model.msgpack", "rust_model.ot",
                                         "model.onnx"};

}  // namespace

// Tensors of several files, as an index file assigns them.
class ShardedTensors final : public TensorSource {
 public:
  ShardedTensors(const std::filesystem::path& index, OpenFile open) : source_(PathText(index)) {
    const ShardIndex parsed = ParseShardIndex(ReadWholeFile(index, kMostIndex), source_);
    OpenShards(index.parent_path(), parsed, open);
    CheckTotal(parsed);
  }

  const TensorTable& tensors() const override { return tensors_; }
  const std::map<std::string, std::string>& metadata() const override {
    return files_.front()->metadata();
  }
  std::string source() const override { return source_; }
  const std::vector<std::string>& warnings() const override { return warnings_; }

 private:
  void ReadBytes(const TensorInfo& info, std::uint64_t offset, void* out,
                 std::size_t bytes) const override {
    files_[static_cast<std::size_t>(info.file)]->ReadBytes(info, offset, out, bytes);
  }

  void OpenShards(const std::filesystem::path& folder, const ShardIndex& index, OpenFile open) {
    std::set<std::string> names;
    for (const auto& [tensor, shard] : index.shard_of) names.insert(shard);
    Check(names.size() <= kMostShards, ErrorCode::kFormat, "{}: {} shards, at most {} are read",
          source_, names.size(), kMostShards);
    for (const std::string& shard : names) {
      Check(std::filesystem::exists(folder / shard), ErrorCode::kFormat,
            "{}: the shard {} is missing", source_, shard);
      files_.push_back(open(folder / shard));
      AddTensors(shard, index);
    }
    for (const auto& [tensor, shard] : index.shard_of) {
      Check(tensors_.count(tensor) != 0, ErrorCode::kFormat, "{}: tensor \"{}\" is not in {}",
            source_, Escape(tensor), shard);
    }
  }

  void AddTensors(const std::string& shard, const ShardIndex& index) {
    for (const auto& [name, info] : files_.back()->tensors()) {
      const auto assigned = index.shard_of.find(name);
      if (assigned == index.shard_of.end()) {
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

  void CheckTotal(const ShardIndex& index) {
    if (!index.total_bytes) return;
    double total = 0.0;
    for (const auto& [name, info] : tensors_) total += static_cast<double>(info.bytes());
    if (*index.total_bytes != total) {
      Warn(fmt::format("{}: total_size is {:.0f}, the tensors have {:.0f} bytes", source_,
                       *index.total_bytes, total));
    }
  }

  void Warn(std::string text) {
    if (warnings_.size() < kMostWarnings) warnings_.push_back(std::move(text));
  }

  std::string source_;
  std::vector<std::unique_ptr<TensorSource>> files_;
  TensorTable tensors_;
  std::vector<std::string> warnings_;
};

std::unique_ptr<TensorSource> OpenModel(const std::filesystem::path& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) FailSystem(path, "open", ENOENT);
  if (!std::filesystem::is_directory(status)) {
    return IsPytorchFile(path) ? OpenPytorch(path) : OpenSafetensors(path);
  }
  // A link that leads nowhere is there too: opening it says what is wrong.
  const auto holds = [&](const char* name) {
    return std::filesystem::exists(std::filesystem::symlink_status(path / name, error));
  };
  for (const Form& form : kForms) {
    if (!holds(form.name)) continue;
    if (form.sharded) return std::make_unique<ShardedTensors>(path / form.name, form.open);
    return form.open(path / form.name);
  }
  for (const char* other : kOtherWeights) {
    Check(!holds(other), ErrorCode::kFormat,
          "{}: its only weights are {}, which is not read; save the model as safetensors",
          PathText(path), other);
  }
  Fail(ErrorCode::kIo,
       "{}: no weights: none of model.safetensors, model.safetensors.index.json, "
       "pytorch_model.bin and pytorch_model.bin.index.json",
       PathText(path));
}

}  // namespace longspan::io
