// What converting a model takes and reports, whatever it becomes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/safetensors.h"
#include "longspan/tensor.h"

namespace longspan {

inline constexpr std::uint64_t kShardBytes = 5'000'000'000;

struct ConvertOptions {
  idx_t max_tokens = 4096;                 // N: what a text may have
  idx_t window = 256;                      // W: keys to each side of a token
  std::uint64_t most_bytes = kShardBytes;  // of a shard
};

struct ConvertReport {
  std::string from, to;     // classes: "RobertaForMaskedLM", "LongformerForMaskedLM"
  idx_t old_tokens = 0;     // what a text could have before
  std::uint64_t bytes = 0;  // of tensors
  std::size_t tensors = 0, shards = 0;
  std::vector<std::string> copied;    // files beside the weights
  std::vector<std::string> warnings;  // one line each
};

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

// Copies what lies beside the weights. Returns a line about what was not, if there is any.
std::string CopyBeside(const std::filesystem::path& in, const std::vector<std::string>& except,
                       const std::filesystem::path& out, ConvertReport* report);

}  // namespace longspan
