// Where a model's tensors come from, whatever the file format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "longspan/tensor.h"

namespace longspan::io {

struct TensorInfo {
  DType dtype = DType::kF32;
  std::vector<idx_t> shape;
  idx_t size = 0;           // elements
  std::uint64_t begin = 0;  // first byte in its file
  int file = 0;             // which file of the source
  // In elements, when the data do not lie row-major side by side (PyTorch's views); else empty.
  std::vector<idx_t> stride = {};
  std::uint64_t bytes() const { return static_cast<std::uint64_t>(size) * ElementBytes(dtype); }
};

using TensorTable = std::map<std::string, TensorInfo, std::less<>>;

// NaN and infinities in weights are refused unless the caller says otherwise.
enum class NonFinite { kRefuse, kAllow };

// Named tensors in one or more files. Const methods may be called from several threads.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // Names are opaque: they are never used as paths.
  virtual const TensorTable& tensors() const = 0;
  // Strings of the file's own header ("format": "pt"); empty when it has none.
  virtual const std::map<std::string, std::string>& metadata() const = 0;
  // For messages: the path, escaped.
  virtual std::string source() const = 0;
  // What is odd but harmless: one line each.
  virtual const std::vector<std::string>& warnings() const;
  // Files that an index names and that are not there, or lack what they should hold; escaped. What
  // needs none of their tensors can be read all the same.
  virtual const std::vector<std::string>& incomplete() const;

  bool Has(std::string_view name) const { return tensors().find(name) != tensors().end(); }
  // kFormat when the tensor is missing.
  const TensorInfo& Info(std::string_view name) const;

  // In the file's own element type.
  Tensor Read(std::string_view name) const;
  // Converted to fp32. kFormat names the tensor and counts its values that are not finite (as
  // fp32: an F64 value beyond it counts).
  Tensor ReadFloat(std::string_view name, NonFinite non_finite = NonFinite::kRefuse) const;
  // The same into the caller's memory, of exactly the tensor's size (else kFormat).
  void ReadFloatInto(std::string_view name, std::span<float> out,
                     NonFinite non_finite = NonFinite::kRefuse) const;
  // The same of the elements from `begin` on, of a tensor of `size` elements (else kFormat).
  void ReadFloatPart(std::string_view name, idx_t size, idx_t begin, std::span<float> out,
                     NonFinite non_finite = NonFinite::kRefuse) const;

 protected:
  friend class ShardedTensors;
  friend class RenamedTensors;
  // Hands the table over: for sources that give the tensors another table. tensors() is empty
  // from then on, and ReadBytes goes on to work with the entries that were taken.
  virtual TensorTable TakeTable() = 0;
  // Copies `bytes` bytes of the tensor's data, in row-major order, from byte `offset` on.
  virtual void ReadBytes(const TensorInfo& info, std::uint64_t offset, void* out,
                         std::size_t bytes) const = 0;

 private:
  // ReadBytes a piece at a time, which the thread's CancelScope ends.
  void ReadPieces(const TensorInfo& info, std::uint64_t offset, void* out, std::size_t bytes) const;
  // kLimit for a tensor that does not fit into memory: files with holes are as long as they like.
  void CheckRoom(std::string_view name, std::uint64_t bytes) const;
};

// kFormat when values are not finite: names the tensor, as `name` has it, and counts them.
void CheckFiniteTensor(const TensorSource& source, std::string_view name,
                       std::span<const float> values);

// The weights of a model folder in the Hugging Face layout. The first of these that is there is
// taken, and nothing else is tried when it is damaged: model.safetensors, the shards that
// model.safetensors.index.json names, pytorch_model.bin (io/pytorch_file.h), the shards of
// pytorch_model.bin.index.json. A path to a single file is opened for what it is, a folder around a
// transformer's (io/transformer_folder.h) for that one. Tensors of an index that are not there are
// left out with a warning. kIo when the folder has no weights or cannot be read, kFormat when they
// are damaged.
std::unique_ptr<TensorSource> OpenModel(const std::filesystem::path& path);

// The same tensors under other names: `name_of` says under which, or that a tensor is left out
// (empty). `copies` stand beside that, each with the name whose tensor it repeats, where that is
// there and the copy's own name is free. kFormat when two tensors get one name.
using TensorNameOf = std::function<std::optional<std::string>(std::string_view name)>;
std::unique_ptr<TensorSource> RenameTensors(
    std::unique_ptr<TensorSource> source, const TensorNameOf& name_of,
    std::span<const std::pair<std::string_view, std::string_view>> copies = {});

}  // namespace longspan::io
