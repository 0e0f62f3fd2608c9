#include "io/pytorch_file.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/errors.h"
#include "base/limits.h"
#include "io/file_hint.h"
#include "io/pickle.h"
#include "io/safetensors.h"
#include "io/zip_directory.h"
#include "longspan/files.h"

namespace longspan::io {

// A state_dict's tensors and the storages that they stand on, before it is known where those lie.
class StateDict {
 public:
  StateDict(const Pickle& pickle, std::string source)
      : pickle_(pickle), source_(std::move(source)) {
    const PickleValue& root = pickle.at(pickle.root);
    Check(root.kind == PickleKind::kDict, ErrorCode::kFormat,
          "{}: holds {}, not a table of tensors (state_dict)", source_, PickleKindName(root.kind));
    Check(root.items.size() / 2 <= limits::kTensors, ErrorCode::kFormat, "{}: more than {} tensors",
          source_, limits::kTensors);
    for (std::size_t i = 0; i < root.items.size(); i += 2) {
      AddTensor(pickle.at(root.items[i]).text, pickle.at(root.items[i + 1]));
    }
    CheckSharing();
  }

  std::map<std::string, PytorchFile::Storage, std::less<>>& storages() { return storages_; }

  // Once every storage has its place.
  TensorTable Take() {
    for (auto& [name, info] : tensors_)
      info.begin += storages_.find(storage_of_[name])->second.begin;
    return std::move(tensors_);
  }

 private:
  [[noreturn]] void FailTensor(std::string_view name, std::string_view what) const {
    Fail(ErrorCode::kFormat, "{}: tensor \"{}\": {}", source_, Escape(name), what);
  }
  std::int64_t Int(PickleRef ref) const { return pickle_.at(ref).number; }

  // A storage that occurs again must be the same again. Returns its key.
  std::string_view AddStorage(std::string_view name, const PickleValue& storage) {
    const std::string_view key = pickle_.at(storage.items[1]).text;
    const PytorchFile::Storage found{StorageType(pickle_.at(storage.items[0]), source_),
                                     Int(storage.items[3]), 0};
    const auto width = static_cast<idx_t>(ElementBytes(found.dtype));
    if (found.size < 0 || found.size > std::numeric_limits<idx_t>::max() / width) {
      FailTensor(name, fmt::format("its storage has {} elements", found.size));
    }
    const auto [place, added] = storages_.emplace(key, found);
    if (place->second.dtype != found.dtype || place->second.size != found.size) {
      FailTensor(name, fmt::format("storage {} has two types or lengths", Escape(key)));
    }
    return key;
  }

  // The part of the storage that a legacy file's tensor may use: first element and length.
  std::pair<idx_t, idx_t> ViewOf(std::string_view name, const PickleValue& storage) const {
    const idx_t size = Int(storage.items[3]);
    if (storage.items.size() < 5) return {0, size};
    const PickleValue& view = pickle_.at(storage.items[4]);
    if (view.kind == PickleKind::kNone) return {0, size};
    const bool fits = view.items.size() == 3 &&
                      pickle_.at(view.items[1]).kind == PickleKind::kInt &&
                      pickle_.at(view.items[2]).kind == PickleKind::kInt;
    if (!fits) FailTensor(name, "its storage's view has no offset and length");
    const idx_t offset = Int(view.items[1]), length = Int(view.items[2]);
    if (offset < 0 || length < 0 || offset > size || length > size - offset) {
      FailTensor(name, fmt::format("its storage's view of {} from {} is not inside {}", length,
                                   offset, size));
    }
    return {offset, length};
  }

  std::vector<idx_t> Ints(std::string_view name, const PickleValue& tuple) const {
    if (tuple.items.size() > limits::kTensorRank)
      FailTensor(name, fmt::format("more than {} axes", limits::kTensorRank));
    std::vector<idx_t> values;
    for (const PickleRef ref : tuple.items) {
      const PickleValue& value = pickle_.at(ref);
      if (value.kind != PickleKind::kInt || value.number < 0) {
        FailTensor(name, "an extent or a stride is no integer from 0");
      }
      values.push_back(value.number);
    }
    return values;
  }

  void AddTensor(std::string_view name, const PickleValue& value) {
    if (value.kind != PickleKind::kTensor) {
      Fail(ErrorCode::kFormat, "{}: \"{}\" is {}, not a tensor; only a model's state_dict is read",
           source_, Escape(name), PickleKindName(value.kind));
    }
    Check(name.size() <= limits::kTensorName, ErrorCode::kFormat,
          "{}: a name is longer than 4096 bytes", source_);
    const PickleValue& storage = pickle_.at(value.items[0]);
    const std::string_view key = AddStorage(name, storage);
    const auto [first, length] = ViewOf(name, storage);
    TensorInfo info;
    info.dtype = storages_.find(key)->second.dtype;
    info.shape = Ints(name, pickle_.at(value.items[2]));
    info.stride = Ints(name, pickle_.at(value.items[3]));
    Place(name, Int(value.items[1]), length, &info);
    info.begin += static_cast<std::uint64_t>(first) * ElementBytes(info.dtype);
    const auto [place, added] = tensors_.emplace(name, std::move(info));
    if (!added) FailTensor(name, "occurs twice");
    storage_of_.emplace(name, key);
  }

  // Tensors that share storages are tied weights; a small file of thousands of views of one storage
  // would be read, and written by a conversion, at any length.
  void CheckSharing() const {
    std::uint64_t stored = 0;
    for (const auto& [key, storage] : storages_) {
      stored += static_cast<std::uint64_t>(storage.size) * ElementBytes(storage.dtype);
    }
    std::uint64_t all = 0, views = 0;  // far below 2^64: each is at most its storage
    for (const auto& [name, info] : tensors_) {
      all = std::min(all + info.bytes(), std::uint64_t{1} << 62);
      if (!info.stride.empty()) views = std::min(views + info.bytes(), std::uint64_t{1} << 62);
    }
    const auto check = [&](std::uint64_t claimed, std::uint64_t times, std::string_view what) {
      Check(
          claimed / times <= stored, ErrorCode::kFormat,
          "{}: its {} have {} bytes and stand on storages of {}, at most {} times as much is read",
          source_, what, claimed, stored, times);
    };
    check(all, limits::kSharedStorage, "tensors");
    check(views, limits::kSharedViews, "views (transposed or strided tensors)");
  }

  // Every element lies inside the `length` elements of the storage, and no more elements are
  // claimed than it has: an expanded view cannot ask for memory that no file stands for.
  void Place(std::string_view name, idx_t offset, idx_t length, TensorInfo* info) const {
    if (info->stride.size() != info->shape.size()) {
      FailTensor(name,
                 fmt::format("{} extents and {} strides", info->shape.size(), info->stride.size()));
    }
    idx_t size = 1, last = offset, dense = 1;
    bool overflows = offset < 0, in_order = true;
    for (std::size_t i = info->shape.size(); i-- > 0;) {
      const idx_t extent = info->shape[i];
      if (extent != 1 && info->stride[i] != dense) in_order = false;
      idx_t reach = 0;
      overflows = overflows || __builtin_mul_overflow(size, extent, &size) ||
                  __builtin_mul_overflow(std::max<idx_t>(extent - 1, 0), info->stride[i], &reach) ||
                  __builtin_add_overflow(last, reach, &last);
      if (!overflows) dense = size;
    }
    const bool inside = !overflows && (size == 0 ? offset <= length : last < length);
    if (!inside || size > length) {
      FailTensor(name,
                 fmt::format("shape {}, strides {} from {} are not inside its storage of {} "
                             "elements",
                             ShapeText(info->shape), ShapeText(info->stride), offset, length));
    }
    info->size = size;
    info->begin = static_cast<std::uint64_t>(offset) * ElementBytes(info->dtype);
    if (in_order || size == 0) info->stride.clear();
  }

  const Pickle& pickle_;
  std::string source_;
  TensorTable tensors_;
  std::map<std::string, std::string, std::less<>> storage_of_;
  std::map<std::string, PytorchFile::Storage, std::less<>> storages_;
};

namespace {

constexpr std::string_view kZipStart("PK\x03\x04", 4);
// A pickle of the number 0x1950a86a20f9469cfc6c: how torch.save began before 1.6.
constexpr std::string_view kLegacyStart("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
                                        15);
constexpr std::int64_t kLegacyProtocol = 1001;

std::string ReadStart(const ByteSource& bytes, std::uint64_t most) {
  std::string start(static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), most)), '\0');
  bytes.ReadAt(0, start.data(), start.size());
  return start;
}

// The folder of the archive that everything lies in: "pytorch_model/".
std::string TopFolder(const ZipDirectory& directory, const std::string& source) {
  std::string top;
  for (const auto& [name, entry] : directory) {
    const std::size_t slash = name.find('/');
    Check(slash != name.npos && (top.empty() || name.starts_with(top)), ErrorCode::kFormat,
          "{}: zip: \"{}\" does not lie in the one folder of a PyTorch file", source, Escape(name));
    if (top.empty()) top = name.substr(0, slash + 1);
    Check(!name.starts_with(top + "code/") && name != top + "constants.pkl", ErrorCode::kFormat,
          "{}: a TorchScript program, not a table of tensors; save the model's state_dict", source);
  }
  Check(directory.count(top + "data.pkl") != 0, ErrorCode::kFormat,
        "{}: zip: no data.pkl; not a file that torch.save wrote", source);
  return top;
}

std::string ReadEntry(const ByteSource& bytes, const std::string& name, const ZipEntry& entry,
                      std::uint64_t most) {
  Check(entry.bytes <= most, ErrorCode::kFormat,
        "{}: zip: \"{}\" has {} bytes, at most {} are read", bytes.source(), Escape(name),
        entry.bytes, most);
  CheckZipEntry(bytes, name, entry);
  std::string text(static_cast<std::size_t>(entry.bytes), '\0');
  bytes.ReadAt(entry.begin, text.data(), text.size());
  return text;
}

// {"protocol_version": 1001, "little_endian": True, "type_sizes": {...}}
void CheckSystem(const Pickle& system, const std::string& source) {
  const PickleValue& root = system.at(system.root);
  Check(root.kind == PickleKind::kDict, ErrorCode::kFormat, "{}: no description of its system",
        source);
  for (std::size_t i = 0; i < root.items.size(); i += 2) {
    const PickleValue& value = system.at(root.items[i + 1]);
    if (system.at(root.items[i]).text != "little_endian") continue;
    Check(value.kind == PickleKind::kBool && value.number == 1, ErrorCode::kFormat,
          "{}: written on a big-endian machine, which is not read", source);
  }
}

}  // namespace

bool IsPytorchFile(const std::filesystem::path& path) {
  try {
    const std::string start = ReadStart(File::OpenRegular(path), kLegacyStart.size());
    return start.starts_with(kZipStart) || start == kLegacyStart;
  } catch (const Error&) {
    return false;
  }
}

PytorchFile PytorchFile::Open(const std::filesystem::path& path) {
  return Parse(std::make_unique<File>(File::OpenRegular(path)));
}

PytorchFile PytorchFile::Parse(std::unique_ptr<const ByteSource> bytes) {
  PytorchFile file(std::move(bytes));
  const std::string start = ReadStart(*file.bytes_, 512);
  if (start.starts_with(kZipStart)) {
    file.ParseZip();
  } else if (start.starts_with(kLegacyStart)) {
    file.ParseLegacy();
  } else {
    const bool tar = start.size() > 262 && start.compare(257, 5, "ustar") == 0;
    const std::string hint =
        tar ? "; this is a tar archive: open it with the torch that wrote it and save it again"
        : start.starts_with("\x80") ? "; this is a pickle of another kind"
                                    : FileHint(start);
    Fail(ErrorCode::kFormat, "{}: byte 0: neither a PyTorch archive nor its legacy stream{}",
         file.source(), hint);
  }
  return file;
}

void PytorchFile::ParseZip() {
  const ZipDirectory directory = ReadZipDirectory(*bytes_);
  const std::string top = TopFolder(directory, source());
  if (const auto order = directory.find(top + "byteorder"); order != directory.end()) {
    const std::string text = ReadEntry(*bytes_, order->first, order->second, 64);
    Check(text == "little", ErrorCode::kFormat, "{}: zip: byteorder is \"{}\", only little is read",
          source(), Escape(text));
  }
  const auto data = directory.find(top + "data.pkl");
  const std::string program = ReadEntry(*bytes_, data->first, data->second, limits::kPickle);
  const Pickle pickle = ReadPickle(program, source(), data->second.begin);
  Check(pickle.end == program.size(), ErrorCode::kFormat, "{}: byte {}: bytes behind the pickle",
        source(), data->second.begin + pickle.end);
  StateDict state(pickle, source());
  for (auto& [key, storage] : state.storages()) {
    const auto found = directory.find(fmt::format("{}data/{}", top, key));
    Check(found != directory.end(), ErrorCode::kFormat, "{}: zip: no record data/{}", source(),
          Escape(key));
    const ZipEntry& entry = found->second;
    const auto bytes = static_cast<std::uint64_t>(storage.size) * ElementBytes(storage.dtype);
    Check(entry.bytes == bytes, ErrorCode::kFormat,
          "{}: zip: record \"{}\" has {} bytes, {} elements of {} need {}", source(),
          Escape(found->first), entry.bytes, storage.size, DTypeName(storage.dtype), bytes);
    storage.begin = entry.begin;
    if (bytes > 0) cache_->records[entry.begin] = {found->first, bytes, entry.checksum, false};
  }
  tensors_ = state.Take();
}

void PytorchFile::ParseLegacy() {
  const std::string head = ReadStart(*bytes_, limits::kPickle);
  std::size_t at = kLegacyStart.size();
  const auto next = [&] {
    Pickle pickle = ReadPickle(std::string_view(head).substr(at), source(), at);
    at += pickle.end;
    return pickle;
  };
  const Pickle protocol = next();
  const PickleValue& version = protocol.at(protocol.root);
  Check(version.kind == PickleKind::kInt && version.number == kLegacyProtocol, ErrorCode::kFormat,
        "{}: a legacy stream of another protocol than {}", source(), kLegacyProtocol);
  CheckSystem(next(), source());
  const Pickle pickle = next();
  StateDict state(pickle, source());
  const Pickle keys = next();
  const PickleValue& list = keys.at(keys.root);
  Check(list.kind == PickleKind::kList, ErrorCode::kFormat, "{}: no list of storages", source());
  // Behind the pickles: for each key its length and its elements.
  std::uint64_t reached = at;
  std::size_t placed = 0;
  for (const PickleRef ref : list.items) {
    const PickleValue& key = keys.at(ref);
    const auto found = state.storages().find(key.text);
    Check(key.kind == PickleKind::kText && found != state.storages().end(), ErrorCode::kFormat,
          "{}: storage \"{}\" belongs to no tensor", source(), Escape(key.text));
    Storage& storage = found->second;
    Check(storage.begin == 0, ErrorCode::kFormat, "{}: storage \"{}\" occurs twice", source(),
          Escape(key.text));
    const auto bytes = static_cast<std::uint64_t>(storage.size) * ElementBytes(storage.dtype);
    const std::uint64_t rest = bytes_->size() - reached;
    Check(rest >= 8 && bytes <= rest - 8, ErrorCode::kFormat,
          "{}: byte {}: the file ends inside storage \"{}\" of {} bytes", source(), reached,
          Escape(key.text), bytes);
    std::int64_t elements = 0;
    bytes_->ReadAt(reached, &elements, sizeof(elements));
    Check(elements == storage.size, ErrorCode::kFormat,
          "{}: byte {}: storage \"{}\" has {} elements, {} are announced", source(), reached,
          Escape(key.text), elements, storage.size);
    storage.begin = reached + 8;
    reached = storage.begin + bytes;
    ++placed;
  }
  Check(placed == state.storages().size(), ErrorCode::kFormat,
        "{}: {} storages are announced, {} are there", source(), state.storages().size(), placed);
  Check(reached == bytes_->size(), ErrorCode::kFormat, "{}: {} bytes behind the last storage",
        source(), bytes_->size() - reached);
  tensors_ = state.Take();
}

const std::map<std::string, std::string>& PytorchFile::metadata() const {
  static const std::map<std::string, std::string> none;
  return none;
}

// Compares the record that holds this byte with its checksum, once.
void PytorchFile::VerifyRecord(std::uint64_t byte) const {
  const std::lock_guard lock(cache_->mutex);
  auto place = cache_->records.upper_bound(byte);
  if (place == cache_->records.begin()) return;  // the legacy stream has none
  Record& record = (--place)->second;
  if (record.verified) return;
  CheckZipEntry(*bytes_, record.name, {place->first, record.bytes, record.checksum});
  record.verified = true;
}

namespace {

// A view is read whole, with what lies between its elements, when that is at most so many times the
// view itself; a sparser one page by page.
constexpr std::size_t kDenseSpan = 64;

// Bytes from a view's first to its last element.
std::size_t SpanBytes(const TensorInfo& info) {
  idx_t elements = 1;
  for (std::size_t i = 0; i < info.shape.size(); ++i) {
    elements += (info.shape[i] - 1) * info.stride[i];
  }
  return static_cast<std::size_t>(elements) * ElementBytes(info.dtype);
}

// The elements of a sparse view, through the page that the last one was on.
class SparseSpan {
 public:
  SparseSpan(const ByteSource& bytes, std::uint64_t begin, std::size_t size)
      : bytes_(bytes), begin_(begin), size_(size) {}
  void Copy(std::size_t at, void* out, std::size_t width) {
    if (at < first_ || at + width > first_ + count_) {
      first_ = at;
      count_ = std::min(sizeof(page_), size_ - at);
      bytes_.ReadAt(begin_ + first_, page_, count_);
    }
    std::memcpy(out, page_ + (at - first_), width);
  }

 private:
  const ByteSource& bytes_;
  std::uint64_t begin_;
  std::size_t size_, first_ = 0, count_ = 0;
  std::byte page_[4096];
};

// Elements [offset, offset + bytes) of a view in row-major order, each by copy(byte in the span,
// out).
void Gather(const TensorInfo& info, std::uint64_t offset, std::size_t bytes, const auto& copy) {
  const std::size_t width = ElementBytes(info.dtype);
  // The row-major index of the first element, axis by axis; then it counts like an odometer.
  std::vector<idx_t> index(info.shape.size());
  auto rest = static_cast<idx_t>(offset / width);
  idx_t at = 0;
  for (std::size_t i = info.shape.size(); i-- > 0;) {
    index[i] = rest % info.shape[i];
    rest /= info.shape[i];
    at += index[i] * info.stride[i];
  }
  for (std::size_t n = 0; n < bytes; n += width) {
    copy(static_cast<std::size_t>(at) * width, n);
    for (std::size_t i = info.shape.size(); i-- > 0;) {
      at += info.stride[i];
      if (++index[i] < info.shape[i]) break;
      at -= index[i] * info.stride[i];
      index[i] = 0;
    }
  }
}

}  // namespace

// All bytes from a view's first to its last element. The last span is kept: a view is read piece
// by piece.
std::shared_ptr<const std::vector<std::byte>> PytorchFile::SpanOf(const TensorInfo& info,
                                                                  std::size_t bytes) const {
  const std::lock_guard lock(cache_->mutex);
  const bool kept =
      cache_->bytes != nullptr && cache_->begin == info.begin && cache_->bytes->size() == bytes;
  if (!kept) {
    cache_->bytes.reset();
    const auto span = std::make_shared<std::vector<std::byte>>(bytes);
    bytes_->ReadAt(info.begin, span->data(), bytes);
    cache_->begin = info.begin;
    cache_->bytes = span;
  }
  return cache_->bytes;
}

void PytorchFile::ReadBytes(const TensorInfo& info, std::uint64_t offset, void* out,
                            std::size_t bytes) const {
  if (bytes == 0) return;
  VerifyRecord(info.begin);
  if (info.stride.empty()) return bytes_->ReadAt(info.begin + offset, out, bytes);
  const std::size_t width = ElementBytes(info.dtype), reach = SpanBytes(info);
  auto* cursor = static_cast<std::byte*>(out);
  if (reach / kDenseSpan > info.bytes()) {
    SparseSpan span(*bytes_, info.begin, reach);
    Gather(info, offset, bytes,
           [&](std::size_t at, std::size_t n) { span.Copy(at, cursor + n, width); });
    return;
  }
  const auto span = SpanOf(info, reach);
  Gather(info, offset, bytes,
         [&](std::size_t at, std::size_t n) { std::memcpy(cursor + n, span->data() + at, width); });
}

}  // namespace longspan::io
