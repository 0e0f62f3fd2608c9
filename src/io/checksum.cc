#include "io/checksum.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <new>

#include "io/file.h"

namespace longspan::io {

Checksum::Checksum() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_);
}
Checksum::~Checksum() { XXH3_freeState(state_); }

void Checksum::Update(const void* data, std::size_t bytes) {
  if (bytes > 0) XXH3_128bits_update(state_, data, bytes);
}

std::string Checksum::Hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

std::string ChecksumOf(std::string_view bytes) {
  Checksum checksum;
  checksum.Update(bytes.data(), bytes.size());
  return checksum.Hex();
}

std::string FileChecksum(const std::filesystem::path& path) {
  Checksum checksum;
  ForEachPiece(File::OpenRegular(path),
               [&](const char* data, std::size_t bytes) { checksum.Update(data, bytes); });
  return checksum.Hex();
}

}  // namespace longspan::io
