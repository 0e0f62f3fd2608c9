// The table of contents of a zip archive, as torch.save writes it: stored entries only. Nothing is
// ever unpacked to disk; an entry's name is a key and never a path.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "io/file.h"

namespace longspan::io {

struct ZipEntry {
  std::uint64_t begin = 0;  // of its data in the archive
  std::uint64_t bytes = 0;
  std::uint32_t checksum = 0;  // CRC-32 of the data, as the archive states it
};
using ZipDirectory = std::map<std::string, ZipEntry, std::less<>>;

// Reads and checks the whole directory, zip64 included. kFormat when the archive does not begin at
// byte 0 or end with its end record (no comment); when an entry is compressed, encrypted, named
// twice or like a way to elsewhere; when an entry's own header contradicts the directory; when two
// entries overlap, or bytes between them belong to none.
ZipDirectory ReadZipDirectory(const ByteSource& archive);

// kFormat unless the entry's data have its checksum.
void CheckZipEntry(const ByteSource& archive, std::string_view name, const ZipEntry& entry);

}  // namespace longspan::io
