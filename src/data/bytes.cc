#include "data/bytes.h"

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "io/ascii.h"
#include "io/file.h"
#include "io/posix.h"
#include "longspan/files.h"

namespace longspan::data {
namespace {

constexpr std::size_t kPackedChunk = std::size_t{64} << 10;
constexpr std::string_view kGzipMark = "\x1f\x8b", kZstdMark = "\x28\xb5\x2f\xfd";

// A frame of data, or one that is to be skipped: 0x184D2A50 to 0x184D2A5F.
bool IsZstd(std::string_view head) {
  const bool skipped = head.size() >= 4 && (static_cast<unsigned char>(head[0]) & 0xF0) == 0x50 &&
                       head.substr(1, 3) == "\x2a\x4d\x18";
  return head.starts_with(kZstdMark) || skipped;
}

class FileBytes final : public ByteStream {
 public:
  explicit FileBytes(const std::filesystem::path& path) : file_(io::File::OpenRegular(path)) {}
  std::size_t Read(char* data, std::size_t most) override {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(most, file_.size() - at_));
    if (count > 0) file_.ReadAt(at_, data, count);
    at_ += count;
    return count;
  }

 private:
  io::File file_;
  std::uint64_t at_ = 0;
};

class StdinBytes final : public ByteStream {
 public:
  std::size_t Read(char* data, std::size_t most) override {
    const ssize_t got =
        io::Again([&] { return read(STDIN_FILENO, data, std::min<std::size_t>(most, 1u << 30)); });
    if (got < 0) io::FailSystem(kStdinName, "read", errno);
    return static_cast<std::size_t>(got);
  }
};

class ViewBytes final : public ByteStream {
 public:
  explicit ViewBytes(std::string_view bytes) : rest_(bytes) {}
  std::size_t Read(char* data, std::size_t most) override {
    const std::size_t count = rest_.copy(data, most);
    rest_.remove_prefix(count);
    return count;
  }

 private:
  std::string_view rest_;
};

// Bytes that were looked at, and then what follows them.
class WithHead final : public ByteStream {
 public:
  WithHead(std::string head, std::unique_ptr<ByteStream> rest)
      : head_(std::move(head)), rest_(std::move(rest)) {}
  std::size_t Read(char* data, std::size_t most) override {
    const std::size_t count = head_.copy(data, most, at_);
    at_ += count;
    // As much as was asked for: who looks at the beginning sees more than the mark.
    return count < most ? count + rest_->Read(data + count, most - count) : count;
  }

 private:
  std::string head_;
  std::size_t at_ = 0;
  std::unique_ptr<ByteStream> rest_;
};

// What both unpackers share: a chunk of packed bytes and what of it is left.
class Packed {
 public:
  Packed(std::unique_ptr<ByteStream> bytes, std::string source)
      : source_(std::move(source)), bytes_(std::move(bytes)), chunk_(kPackedChunk) {}

 protected:
  // False at the end of the packed bytes.
  bool Refill() {
    at_ = 0;
    size_ = bytes_->Read(chunk_.data(), chunk_.size());
    return size_ > 0;
  }
  const char* begin() const { return chunk_.data() + at_; }
  std::size_t left() const { return size_ - at_; }
  void Take(std::size_t bytes) { at_ += bytes; }
  [[noreturn]] void Damaged(const char* kind, const char* why) const {
    throw PackingError(fmt::format("{}: damaged {}: {}", source_, kind, why));
  }
  [[noreturn]] void CutOff(const char* kind) const {
    throw PackingError(
        fmt::format("{}: the {} data end too early: the file is cut off", source_, kind));
  }

 private:
  std::string source_;
  std::unique_ptr<ByteStream> bytes_;
  std::vector<char> chunk_;
  std::size_t at_ = 0, size_ = 0;
};

class GzipBytes final : public ByteStream, private Packed {
 public:
  GzipBytes(std::unique_ptr<ByteStream> bytes, std::string source)
      : Packed(std::move(bytes), std::move(source)) {
    constexpr int kGzipOnly = 15 + 16;
    Check(inflateInit2(&stream_, kGzipOnly) == Z_OK, ErrorCode::kLimit, "gzip: no memory");
  }
  GzipBytes(const GzipBytes&) = delete;
  GzipBytes& operator=(const GzipBytes&) = delete;
  ~GzipBytes() override { inflateEnd(&stream_); }

  std::size_t Read(char* data, std::size_t most) override {
    most = std::min<std::size_t>(most, 1u << 30);
    stream_.next_out = reinterpret_cast<Bytef*>(data);
    stream_.avail_out = static_cast<uInt>(most);
    while (stream_.avail_out == most) {
      if (left() == 0 && !Refill()) {
        if (inside_) CutOff("gzip");
        return 0;
      }
      if (!inside_) {  // another member may follow; its mark is checked by inflate
        while (left() > 0 && *begin() == '\0') Take(1);  // padding of tapes
        if (left() == 0) continue;
        inflateReset(&stream_);
        inside_ = true;
      }
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(begin()));
      stream_.avail_in = static_cast<uInt>(left());
      const int status = inflate(&stream_, Z_NO_FLUSH);
      Take(left() - stream_.avail_in);
      if (status == Z_STREAM_END) {
        inside_ = false;
      } else if (status != Z_OK && status != Z_BUF_ERROR) {
        Damaged("gzip", stream_.msg != nullptr ? stream_.msg : "it cannot be unpacked");
      }
    }
    return most - stream_.avail_out;
  }

 private:
  z_stream stream_{};
  bool inside_ = true;  // of a member
};

class ZstdBytes final : public ByteStream, private Packed {
 public:
  ZstdBytes(std::unique_ptr<ByteStream> bytes, std::string source)
      : Packed(std::move(bytes), std::move(source)), stream_(ZSTD_createDStream()) {
    Check(stream_ != nullptr, ErrorCode::kLimit, "zstd: no memory");
  }
  ZstdBytes(const ZstdBytes&) = delete;
  ZstdBytes& operator=(const ZstdBytes&) = delete;
  ~ZstdBytes() override { ZSTD_freeDStream(stream_); }

  std::size_t Read(char* data, std::size_t most) override {
    ZSTD_outBuffer out{data, most, 0};
    while (out.pos == 0) {
      if (left() == 0 && !Refill()) {
        if (inside_) CutOff("zstd");
        return 0;
      }
      ZSTD_inBuffer in{begin(), left(), 0};
      const std::size_t status = ZSTD_decompressStream(stream_, &out, &in);
      if (ZSTD_isError(status) != 0) Damaged("zstd", ZSTD_getErrorName(status));
      Take(in.pos);
      inside_ = status != 0;
    }
    return out.pos;
  }

 private:
  ZSTD_DStream* stream_;
  bool inside_ = true;  // of a frame
};

std::unique_ptr<ByteStream> Unpacked(std::unique_ptr<ByteStream> bytes, const std::string& source,
                                     bool must_be_packed) {
  std::string head = ReadHead(*bytes, kZstdMark.size());
  const bool gzip = head.starts_with(kGzipMark), zstd = IsZstd(head);
  if (!gzip && !zstd && must_be_packed) {
    throw PackingError(source + ": neither gzip nor zstd, though its name says so");
  }
  auto whole = std::make_unique<WithHead>(std::move(head), std::move(bytes));
  if (gzip) return std::make_unique<GzipBytes>(std::move(whole), source);
  if (zstd) return std::make_unique<ZstdBytes>(std::move(whole), source);
  return whole;
}

}  // namespace

bool IsPacked(std::string_view head) { return head.starts_with(kGzipMark) || IsZstd(head); }

std::string ReadHead(ByteStream& bytes, std::size_t most) {
  std::string head(most, '\0');
  std::size_t size = 0;
  while (size < most) {
    const std::size_t got = bytes.Read(head.data() + size, most - size);
    if (got == 0) break;
    size += got;
  }
  head.resize(size);
  return head;
}

std::filesystem::path WithoutPacking(const std::filesystem::path& path, bool* packed) {
  const std::string ending = io::LowerAscii(path.extension().string());
  const bool is_packed = ending == ".gz" || ending == ".zst";
  if (packed != nullptr) *packed = is_packed;
  return is_packed ? path.parent_path() / path.stem() : path;
}

std::unique_ptr<ByteStream> OpenBytes(const std::filesystem::path& path) {
  if (path == kStdinPath) return Unpacked(std::make_unique<StdinBytes>(), kStdinName, false);
  bool packed = false;
  WithoutPacking(path, &packed);
  return Unpacked(std::make_unique<FileBytes>(path), io::Escape(path.string(), 400), packed);
}

std::unique_ptr<ByteStream> MemoryBytes(std::string_view bytes, const std::string& source) {
  return Unpacked(std::make_unique<ViewBytes>(bytes), source, false);
}

}  // namespace longspan::data
