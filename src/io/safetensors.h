// The safetensors format (as documented by Hugging Face): an 8-byte little-endian header
// length, a JSON header, then the tensors' bytes without gap, overlap or rest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/file.h"
#include "io/tensor_source.h"

namespace longspan::io {

struct SafetensorsHeader {
  TensorTable tensors;
  std::map<std::string, std::string> metadata;
};

// Checks the JSON header of a file that has `data_bytes` bytes behind it: every tensor's shape,
// type and offsets, and that the tensors cover the data exactly. Streams: builds no document.
SafetensorsHeader ParseSafetensorsHeader(std::string_view header, std::uint64_t data_bytes,
                                         std::string_view source);

// One file. The header is checked completely when the file is opened and nothing is allocated by a
// size that has not been checked; data are copied when they are read.
class SafetensorsFile final : public TensorSource {
 public:
  // kIo when it cannot be read or is no regular file; kFormat naming path, byte offset and what is
  // wrong otherwise.
  static SafetensorsFile Open(const std::filesystem::path& path);

  const TensorTable& tensors() const override { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const override { return header_.metadata; }
  std::string source() const override { return file_.source(); }

 private:
  explicit SafetensorsFile(File file) : file_(std::move(file)) {}
  TensorTable TakeTable() override { return std::exchange(header_.tensors, {}); }
  void ReadBytes(const TensorInfo& info, std::uint64_t offset, void* out,
                 std::size_t bytes) const override;

  File file_;
  SafetensorsHeader header_;
};

// A tensor to write: somebody else's row-major memory.
struct TensorEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<idx_t> shape;
  const void* data = nullptr;
  // Instead of `data`: writes the tensor's bytes, all of them, when their turn has come. For what
  // is never in one place as a whole.
  std::function<void(ByteSink&)> write = {};
};

// Bytes that WriteSafetensors will write.
std::uint64_t SafetensorsBytes(std::span<const TensorEntry> entries,
                               const std::map<std::string, std::string>& metadata = {});

// Larger element types first (every tensor is aligned to its element), then by name; header padded
// with spaces to 8 bytes. The same entries give the same bytes. kUsage on duplicate or unfit names.
void WriteSafetensors(ByteSink& sink, std::span<const TensorEntry> entries,
                      const std::map<std::string, std::string>& metadata = {});
// Atomically (io/atomic_file.h).
void WriteSafetensors(const std::filesystem::path& path, std::span<const TensorEntry> entries,
                      const std::map<std::string, std::string>& metadata = {});

// A model's weights into a folder: model.safetensors when they fit into one shard, else
// model-00001-of-0000N.safetensors and, last of all, the index. Tensors go to shards in the order
// of their names; a shard is full before it would exceed `most_bytes` of data, and a tensor that is
// larger alone has a shard of its own. `load` makes one tensor's data stand in its entry, and is
// called shard by shard: no more than one shard is in memory when it frees the last one's. The same
// tensors give the same bytes. kUsage when the folder has a model.safetensors that would hide an
// index.
struct ShardedWrite {
  std::uint64_t bytes = 0;  // of tensors
  std::size_t shards = 0;
};
using LoadShard = std::function<void(std::span<TensorEntry> shard)>;
ShardedWrite WriteModel(const std::filesystem::path& directory, std::vector<TensorEntry> entries,
                        std::uint64_t most_bytes, const LoadShard& load = {},
                        const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace longspan::io
