// What converters of all families share.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/safetensors.h"
#include "longspan/folders.h"
#include "longspan/tensor.h"

namespace longspan {

// Opens what was written into `folder`, which is to become `out`, as every command will. Throws
// what says that its model does not open; anything else that does not is a warning. `left_out` says
// what was not copied, which may be why.
using ConvertedCheck =
    std::function<void(const std::filesystem::path& folder, const std::filesystem::path& out,
                       std::string left_out, std::vector<std::string>* warnings)>;

// Reads a shard's tensors into memory that the next call frees.
class ShardLoader {
 public:
  using Read = std::function<Tensor(const std::string& name)>;
  explicit ShardLoader(Read read) : read_(std::move(read)) {}
  void operator()(std::span<io::TensorEntry> shard) {
    tensors_.clear();
    for (io::TensorEntry& entry : shard) {
      tensors_.push_back(read_(entry.name));
      entry.data = tensors_.back().raw();
    }
  }
  void Clear() { tensors_.clear(); }

 private:
  Read read_;
  std::vector<Tensor> tensors_;
};

// Copies what lies beside the weights. Files that are not a model's become a warning. Returns a
// line about links that were not followed, if there are any.
std::string CopyBeside(const std::filesystem::path& in, const std::vector<std::string>& except,
                       const std::filesystem::path& out, ConvertReport* report);

}  // namespace longspan
