// One interface over every form of a model's weights.
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "io/paths.h"
#include "io/policy.h"
#include "io/posix.h"
#include "io/pytorch_file.h"
#include "io/safetensors.h"
#include "io/shard_index.h"
#include "io/tensor_source.h"
#include "io/transformer_folder.h"
#include "longspan/files.h"

namespace longspan::io {
namespace {

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
    const ShardIndex parsed = ParseShardIndex(ReadWholeFile(index, limits::kJsonBytes), source_);
    OpenShards(index.parent_path(), parsed, open);
    TellUnnamed();
    CheckTotal(parsed);
  }

  const TensorTable& tensors() const override { return tensors_; }
  const std::map<std::string, std::string>& metadata() const override {
    return files_.front()->metadata();
  }
  std::string source() const override { return source_; }
  const std::vector<std::string>& warnings() const override { return warnings_; }
  const std::vector<std::string>& incomplete() const override { return incomplete_; }

 private:
  TensorTable TakeTable() override { return std::exchange(tensors_, {}); }
  void ReadBytes(const TensorInfo& info, std::uint64_t offset, void* out,
                 std::size_t bytes) const override {
    files_[static_cast<std::size_t>(info.file)]->ReadBytes(info, offset, out, bytes);
  }

  void OpenShards(const std::filesystem::path& folder, const ShardIndex& index, OpenFile open) {
    std::map<std::string_view, std::vector<std::string_view>> tensors_of;
    for (const auto& [tensor, shard] : index.shard_of) tensors_of[shard].push_back(tensor);
    Check(tensors_of.size() <= limits::kShards, ErrorCode::kFormat,
          "{}: {} shards, at most {} are read", source_, tensors_of.size(), limits::kShards);
    std::map<std::string, std::vector<std::string>> lacking;  // by shard
    // A link that leads nowhere is there too: opening it says what is wrong.
    const auto is_there = [&](std::string_view shard) {
      std::error_code error;
      return std::filesystem::exists(std::filesystem::symlink_status(folder / shard, error));
    };
    Files seen;  // all are looked at before one is read
    for (const auto& [shard, tensors] : tensors_of) {
      if (is_there(shard)) CheckIsNew(folder, shard, &seen);
    }
    for (const auto& [shard, tensors] : tensors_of) {
      if (is_there(shard)) {
        files_.push_back(open(folder / shard));
        AddTensors(shard, index);
      }
      for (const std::string_view tensor : tensors) {
        if (tensors_.count(tensor) == 0) lacking[std::string(shard)].emplace_back(tensor);
      }
    }
    Check(!files_.empty(), ErrorCode::kFormat, "{}: the shard {} is missing{}", source_,
          tensors_of.begin()->first, tensors_of.size() > 1 ? ", and so are the others" : "");
    for (const auto& [shard, tensors] : lacking) TellLacking(folder, shard, tensors);
  }

  // Which of them a model needs is for who reads it to say.
  void TellLacking(const std::filesystem::path& folder, const std::string& shard,
                   const std::vector<std::string>& tensors) {
    std::error_code error;
    const bool there = std::filesystem::exists(folder / shard, error);
    const std::string more =
        tensors.size() > 1 ? fmt::format(" and {} more", tensors.size() - 1) : "";
    incomplete_.push_back(there ? fmt::format("{} lacks \"{}\"{}", shard, Escape(tensors[0]), more)
                                : fmt::format("the shard {} is missing", shard));
    warnings_.push_back(there ? fmt::format("{}: {}", source_, incomplete_.back())
                              : fmt::format("{}: {}, with \"{}\"{}", source_, incomplete_.back(),
                                            Escape(tensors[0]), more));
  }

  using Files = std::map<std::pair<dev_t, ino_t>, std::string_view>;
  // Every shard is a file of its own: one under many names would be read as often.
  void CheckIsNew(const std::filesystem::path& folder, std::string_view shard, Files* seen) const {
    struct stat status {};
    const std::filesystem::path path = folder / shard;
    if (Again([&] { return stat(path.c_str(), &status); }) != 0) FailSystem(path, "open", errno);
    const auto [first, fresh] = seen->emplace(std::pair(status.st_dev, status.st_ino), shard);
    Check(fresh, ErrorCode::kFormat, "{}: the shards {} and {} are one file under two names",
          source_, first->second, shard);
  }

  // Takes the shard's table over, and lets go of what the index does not name: what is kept grows
  // with the index, whatever the shards hold.
  void AddTensors(std::string_view shard, const ShardIndex& index) {
    TensorTable table = files_.back()->TakeTable();
    while (!table.empty()) {
      auto entry = table.extract(table.begin());
      const auto assigned = index.shard_of.find(entry.key());
      if (assigned == index.shard_of.end()) {
        if (unnamed_.size() < limits::kToldTensors) {
          unnamed_.push_back(fmt::format("\"{}\" of {}", Escape(entry.key()), shard));
        }
        ++unnamed_count_;
        continue;
      }
      Check(assigned->second == shard, ErrorCode::kFormat,
            "{}: tensor \"{}\" is assigned to {} and also in {}", source_, Escape(entry.key()),
            assigned->second, shard);
      entry.mapped().file = static_cast<int>(files_.size()) - 1;
      tensors_.insert(std::move(entry));
    }
  }

  void TellUnnamed() {
    if (unnamed_count_ == 0) return;
    const std::string text =
        fmt::format("{}: {} tensor{} not in weight_map: {}{}", source_, unnamed_count_,
                    unnamed_count_ == 1 ? " is" : "s are", fmt::join(unnamed_, ", "),
                    unnamed_count_ > unnamed_.size() ? ", ..." : "");
    Check(!GetPolicy().strict_weights, ErrorCode::kFormat, "{}; --strict takes no others", text);
    warnings_.push_back(text + "; ignored");
  }

  void CheckTotal(const ShardIndex& index) {
    if (!index.total_bytes) return;
    double total = 0.0;
    for (const auto& [name, info] : tensors_) total += static_cast<double>(info.bytes());
    if (*index.total_bytes != total) {
      warnings_.push_back(fmt::format("{}: total_size is {:.0f}, the tensors have {:.0f} bytes",
                                      source_, *index.total_bytes, total));
    }
  }

  std::string source_;
  std::vector<std::unique_ptr<TensorSource>> files_;
  TensorTable tensors_;
  std::vector<std::string> warnings_, incomplete_;
  std::vector<std::string> unnamed_;  // the first tensors that weight_map does not name
  std::size_t unnamed_count_ = 0;
};

std::unique_ptr<TensorSource> OpenModel(const std::filesystem::path& given) {
  if (!Exists(given)) FailSystem(given, "open", ENOENT);
  if (!IsDirectory(given))
    return IsPytorchFile(given) ? OpenPytorch(given) : OpenSafetensors(given);
  Confine(given);
  const std::filesystem::path path = TransformerFolder(given);
  // A link that leads nowhere is there too: opening it says what is wrong.
  const auto holds = [&](const char* name) {
    std::error_code error;
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
