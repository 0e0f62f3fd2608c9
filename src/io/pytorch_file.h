// pytorch_model.bin, read as data: the zip archive that torch.save writes since PyTorch 1.6, and
// the legacy stream before it. Nothing in a file is ever executed (io/pickle.h).
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "io/file.h"
#include "io/tensor_source.h"

namespace longspan::io {

// Whether the file begins like one of the two. False when it cannot be read.
bool IsPytorchFile(const std::filesystem::path& path);

// A table of tensors (state_dict). Every shape, stride, offset and storage is compared with the
// file's size when it is opened; data are copied when they are read, in row-major order whatever
// the strides, at a cost that grows with the tensor and not with the storage that it is a view of.
// A zip's records are compared with their CRC-32 when they are first read; the legacy
// stream has no checksums.
class PytorchFile final : public TensorSource {
 public:
  // kIo when it cannot be read or is no regular file; kFormat naming the byte, record or tensor.
  static PytorchFile Open(const std::filesystem::path& path);
  static PytorchFile Parse(std::unique_ptr<const ByteSource> bytes);

  const TensorTable& tensors() const override { return tensors_; }
  const std::map<std::string, std::string>& metadata() const override;
  std::string source() const override { return bytes_->source(); }

 private:
  struct Storage {
    DType dtype = DType::kF32;
    idx_t size = 0;           // elements
    std::uint64_t begin = 0;  // in the file
  };
  struct Record {
    std::string name;
    std::uint64_t bytes = 0;
    std::uint32_t checksum = 0;
    bool verified = false;
  };
  // Mutable state behind const reads: which records are verified, and the last view that had to be
  // put in order.
  struct Cache {
    std::mutex mutex;
    std::map<std::uint64_t, Record> records;  // by their first byte
    std::uint64_t begin = 0;
    std::shared_ptr<const std::vector<std::byte>> bytes;
  };
  friend class StateDict;

  explicit PytorchFile(std::unique_ptr<const ByteSource> bytes)
      : bytes_(std::move(bytes)), cache_(std::make_unique<Cache>()) {}
  void ParseZip();
  void ParseLegacy();
  void ReadBytes(const TensorInfo& info, std::uint64_t offset, void* out,
                 std::size_t bytes) const override;
  TensorTable TakeTable() override { return std::exchange(tensors_, {}); }
  void VerifyRecord(std::uint64_t byte) const;
  std::shared_ptr<const std::vector<std::byte>> SpanOf(const TensorInfo& info,
                                                       std::size_t bytes) const;

  std::unique_ptr<const ByteSource> bytes_;
  TensorTable tensors_;
  std::unique_ptr<Cache> cache_;
};

}  // namespace longspan::io
