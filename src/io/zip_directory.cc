#include "io/zip_directory.h"

#include <zlib.h>

#include <algorithm>
#include <vector>

#include "base/cancel.h"
#include "base/errors.h"
#include "base/limits.h"
#include "longspan/files.h"

namespace longspan::io {
namespace {

constexpr std::uint32_t kLocalMark = 0x04034b50, kCentralMark = 0x02014b50, kEndMark = 0x06054b50;
constexpr std::uint32_t kEnd64Mark = 0x06064b50, kLocator64Mark = 0x07064b50;
constexpr std::uint64_t kEndBytes = 22, kEnd64Bytes = 56, kLocator64Bytes = 20;
constexpr std::uint64_t kCentralBytes = 46, kLocalBytes = 30;
constexpr std::uint64_t kMostDescriptor = 24;  // bytes that may follow an entry's data
constexpr std::uint32_t kIn64 = 0xffffffff;    // "see the zip64 field"
constexpr unsigned kEncrypted = 1u << 0 | 1u << 6 | 1u << 13;

// Little-endian numbers of a piece of the archive; reading behind its end is a format error.
class Fields {
 public:
  Fields(const ByteSource& archive, std::uint64_t offset, std::string_view bytes)
      : archive_(archive), offset_(offset), bytes_(bytes) {}

  std::uint64_t Number(std::size_t width) {
    const std::string_view field = Bytes(width);
    std::uint64_t value = 0;
    for (std::size_t i = width; i-- > 0;) {
      value = (value << 8) | static_cast<unsigned char>(field[i]);
    }
    return value;
  }
  std::uint64_t U2() { return Number(2); }
  std::uint64_t U4() { return Number(4); }
  std::uint64_t U8() { return Number(8); }
  std::string_view Bytes(std::uint64_t count) {
    Require(count <= bytes_.size() - at_, "a record is cut off");
    const std::string_view field = bytes_.substr(at_, static_cast<std::size_t>(count));
    at_ += static_cast<std::size_t>(count);
    return field;
  }
  void Skip(std::size_t count) { Bytes(count); }
  bool done() const { return at_ == bytes_.size(); }
  std::uint64_t offset() const { return offset_ + at_; }
  void Require(bool ok, std::string_view what) const {
    if (!ok) [[unlikely]] {
      Fail(ErrorCode::kFormat, "{}: byte {}: zip: {}", archive_.source(), offset(), what);
    }
  }

 private:
  const ByteSource& archive_;
  std::uint64_t offset_;
  std::string_view bytes_;
  std::size_t at_ = 0;
};

// Where the central directory lies, and how many entries it has.
struct Extent {
  std::uint64_t begin = 0, bytes = 0, entries = 0;
};

std::string ReadPiece(const ByteSource& archive, std::uint64_t offset, std::uint64_t bytes) {
  std::string piece(static_cast<std::size_t>(bytes), '\0');
  archive.ReadAt(offset, piece.data(), piece.size());
  return piece;
}

// The zip64 end record and the locator that must follow it directly; their fields bind.
Extent ReadEnd64(const ByteSource& archive, std::uint64_t locator) {
  const std::string locator_text = ReadPiece(archive, locator, kLocator64Bytes);
  Fields l(archive, locator, locator_text);
  l.Skip(4);
  const std::uint64_t disk = l.U4(), begin = l.U8(), disks = l.U4();
  l.Require(disk == 0 && disks == 1, "it is split over several disks");
  l.Require(locator >= kEnd64Bytes && begin == locator - kEnd64Bytes,
            "the zip64 end record is not where its locator says");
  const std::string text = ReadPiece(archive, begin, kEnd64Bytes);
  Fields f(archive, begin, text);
  f.Require(f.U4() == kEnd64Mark, "no zip64 end record");
  f.Require(f.U8() == kEnd64Bytes - 12, "a zip64 end record of another length");
  f.Skip(4);  // versions
  f.Require(f.U4() == 0 && f.U4() == 0, "it is split over several disks");
  const std::uint64_t here = f.U8(), entries = f.U8(), bytes = f.U8(), first = f.U8();
  f.Require(here == entries, "it is split over several disks");
  f.Require(first <= begin && bytes == begin - first,
            "the directory does not end where the zip64 end record begins");
  return {first, bytes, entries};
}

Extent ReadEnd(const ByteSource& archive) {
  Check(archive.size() >= kEndBytes, ErrorCode::kFormat,
        "{}: zip: {} bytes are too few for an archive", archive.source(), archive.size());
  const std::uint64_t end = archive.size() - kEndBytes;
  const std::string text = ReadPiece(archive, end, kEndBytes);
  Fields f(archive, end, text);
  f.Require(f.U4() == kEndMark,
            "no end record in the last 22 bytes: the file is cut off or damaged");
  f.Require(f.U2() == 0 && f.U2() == 0, "it is split over several disks");
  const std::uint64_t here = f.U2(), entries = f.U2(), bytes = f.U4(), first = f.U4();
  f.Require(here == entries, "it is split over several disks");
  f.Require(f.U2() == 0, "a comment");
  if (end >= kLocator64Bytes) {
    const std::string mark = ReadPiece(archive, end - kLocator64Bytes, 4);
    if (Fields(archive, end, mark).U4() == kLocator64Mark) {
      const Extent large = ReadEnd64(archive, end - kLocator64Bytes);
      f.Require((entries == 0xffff || entries == large.entries) &&
                    (bytes == kIn64 || bytes == large.bytes) &&
                    (first == kIn64 || first == large.begin),
                "its two end records disagree");
      return large;
    }
  }
  f.Require(first <= end && bytes == end - first,
            "the directory does not end where the end record begins");
  return {first, bytes, entries};
}

// An entry and where its own header begins.
struct Listed {
  std::string name;
  ZipEntry entry;
  std::uint64_t header = 0;
  std::uint64_t method = 0;
  bool has_descriptor = false;
};

void CheckName(const Fields& f, std::string_view name) {
  const bool plain = !name.empty() && name.size() <= limits::kZipName && name.front() != '/' &&
                     name.find('\0') == name.npos && name.find('\\') == name.npos &&
                     name.find(':') == name.npos && !name.starts_with("../") && name != ".." &&
                     name.find("/../") == name.npos && !name.ends_with("/..");
  if (!plain) f.Require(false, fmt::format("an entry is named \"{}\"", Escape(name)));
}

// Takes the 64-bit values of those fields that are full, in their fixed order.
void ReadExtra(Fields& f, std::string_view extra, std::uint64_t* full, std::uint64_t* packed,
               std::uint64_t* header) {
  std::size_t at = 0;
  const auto number = [&](std::size_t from, std::size_t width) {
    std::uint64_t value = 0;
    for (std::size_t i = width; i-- > 0;) {
      value = (value << 8) | static_cast<unsigned char>(extra[from + i]);
    }
    return value;
  };
  bool found = false;
  while (at < extra.size()) {
    f.Require(extra.size() - at >= 4, "an extra field is cut off");
    const std::uint64_t id = number(at, 2), bytes = number(at + 2, 2);
    at += 4;
    f.Require(bytes <= extra.size() - at, "an extra field is cut off");
    if (id == 1) {
      f.Require(!found, "two zip64 fields");
      found = true;
      std::size_t used = 0;
      for (std::uint64_t* value : {full, packed, header}) {
        if (*value != kIn64) continue;
        f.Require(bytes - used >= 8, "a zip64 field is cut off");
        *value = number(at + used, 8);
        used += 8;
      }
    }
    at += static_cast<std::size_t>(bytes);
  }
}

Listed ReadCentral(Fields& f) {
  f.Require(f.U4() == kCentralMark, "no directory entry where one must be");
  f.Skip(4);  // versions
  const std::uint64_t flags = f.U2();
  Listed listed;
  listed.method = f.U2();
  f.Skip(4);  // time and date
  listed.entry.checksum = static_cast<std::uint32_t>(f.U4());
  std::uint64_t packed = f.U4(), full = f.U4();
  const std::uint64_t name_bytes = f.U2(), extra_bytes = f.U2(), comment_bytes = f.U2();
  const std::uint64_t disk = f.U2();
  f.Skip(6);  // attributes
  listed.header = f.U4();
  const std::string_view name = f.Bytes(name_bytes);
  CheckName(f, name);
  listed.name = name;
  ReadExtra(f, f.Bytes(extra_bytes), &full, &packed, &listed.header);
  f.Skip(static_cast<std::size_t>(comment_bytes));
  const auto refuse = [&](std::string_view what) {
    f.Require(false, fmt::format("\"{}\" {}", Escape(name), what));
  };
  if ((flags & kEncrypted) != 0) refuse("is encrypted");
  if (disk != 0) refuse("lies on another disk");
  if (listed.method != 0) {
    refuse(
        fmt::format("is compressed (method {}); PyTorch stores, and only that is read: pack the "
                    "archive again without compression (zip -0)",
                    listed.method));
  }
  if (full != packed) {
    refuse(fmt::format("is stored, but {} bytes shall hold {}", packed, full));
  }
  listed.entry.bytes = full;
  listed.has_descriptor = (flags & (1u << 3)) != 0;
  return listed;
}

// The entry's own header repeats the directory; sizes and checksum may be left to a descriptor.
void CheckLocal(const ByteSource& archive, Listed* listed, std::uint64_t directory) {
  const auto refuse = [&](std::string_view what) {
    Fail(ErrorCode::kFormat, "{}: byte {}: zip: \"{}\" {}", archive.source(), listed->header,
         Escape(listed->name), what);
  };
  if (listed->header > directory || directory - listed->header < kLocalBytes) {
    refuse("begins inside or behind the directory");
  }
  const std::string fixed = ReadPiece(archive, listed->header, kLocalBytes);
  Fields f(archive, listed->header, fixed);
  if (f.U4() != kLocalMark) refuse("has no header where the directory says");
  f.Skip(2);  // version
  const std::uint64_t flags = f.U2(), method = f.U2();
  f.Skip(4);  // time and date
  const std::uint64_t checksum = f.U4(), packed = f.U4(), full = f.U4();
  const std::uint64_t name_bytes = f.U2(), extra_bytes = f.U2();
  const std::uint64_t begin = listed->header + kLocalBytes + name_bytes + extra_bytes;
  const bool inside = begin <= directory && listed->entry.bytes <= directory - begin;
  if (!inside) refuse("runs into the directory");
  const auto agrees = [](std::uint64_t here, std::uint64_t there) {
    return here == 0 || here == kIn64 || here == there;
  };
  if (ReadPiece(archive, listed->header + kLocalBytes, name_bytes) != listed->name) {
    refuse("has another name in its own header");
  }
  const bool same = (flags & kEncrypted) == 0 && method == listed->method &&
                    (checksum == 0 || checksum == listed->entry.checksum) &&
                    agrees(packed, listed->entry.bytes) && agrees(full, listed->entry.bytes);
  if (!same) refuse("is described otherwise in its own header");
  listed->entry.begin = begin;
}

// Entries lie one behind another from byte 0 to the directory.
void CheckLayout(const ByteSource& archive, std::vector<Listed>& entries, std::uint64_t directory) {
  std::sort(entries.begin(), entries.end(),
            [](const Listed& a, const Listed& b) { return a.header < b.header; });
  std::uint64_t reached = 0, slack = 0;
  const auto next = [&](std::uint64_t begin, std::string_view what) {
    Check(begin >= reached, ErrorCode::kFormat, "{}: byte {}: zip: {} overlaps an entry before it",
          archive.source(), begin, what);
    Check(begin - reached <= slack, ErrorCode::kFormat,
          "{}: bytes {} to {}: zip: they belong to no entry", archive.source(), reached, begin);
  };
  for (const Listed& listed : entries) {
    next(listed.header, fmt::format("\"{}\"", Escape(listed.name)));
    reached = listed.entry.begin + listed.entry.bytes;
    slack = listed.has_descriptor ? kMostDescriptor : 0;
  }
  next(directory, "the directory");
}

}  // namespace

ZipDirectory ReadZipDirectory(const ByteSource& archive) {
  const Extent extent = ReadEnd(archive);
  Check(extent.bytes <= limits::kZipDirectory && extent.entries <= limits::kZipEntries,
        ErrorCode::kFormat,
        "{}: zip: a directory of {} entries in {} bytes, at most {} in {} are read",
        archive.source(), extent.entries, extent.bytes, limits::kZipEntries, limits::kZipDirectory);
  Check(extent.entries <= extent.bytes / kCentralBytes, ErrorCode::kFormat,
        "{}: zip: {} entries do not fit into a directory of {} bytes", archive.source(),
        extent.entries, extent.bytes);
  const std::string text = ReadPiece(archive, extent.begin, extent.bytes);
  Fields f(archive, extent.begin, text);
  std::vector<Listed> entries;
  for (std::uint64_t i = 0; i < extent.entries; ++i) entries.push_back(ReadCentral(f));
  f.Require(f.done(), "the directory has more entries than the end record says");
  for (Listed& listed : entries) CheckLocal(archive, &listed, extent.begin);
  CheckLayout(archive, entries, extent.begin);
  ZipDirectory directory;
  for (const Listed& listed : entries) {
    const bool added = directory.emplace(listed.name, listed.entry).second;
    Check(added, ErrorCode::kFormat, "{}: zip: \"{}\" occurs twice", archive.source(),
          Escape(listed.name));
  }
  return directory;
}

void CheckZipEntry(const ByteSource& archive, std::string_view name, const ZipEntry& entry) {
  std::vector<unsigned char> piece(
      static_cast<std::size_t>(std::min<std::uint64_t>(entry.bytes, std::uint64_t{1} << 20)));
  uLong sum = crc32(0, nullptr, 0);
  for (std::uint64_t at = 0; at < entry.bytes;) {
    const auto count =
        static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), entry.bytes - at));
    CancelScope::Check();
    archive.ReadAt(entry.begin + at, piece.data(), count);
    sum = crc32(sum, piece.data(), static_cast<uInt>(count));
    at += count;
  }
  Check(sum == entry.checksum, ErrorCode::kFormat,
        "{}: zip: \"{}\" is damaged: its checksum is {:08x}, the archive says {:08x}",
        archive.source(), Escape(name), sum, entry.checksum);
}

}  // namespace longspan::io
