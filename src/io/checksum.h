// XXH3, 128 bits: finds damage, proves no authorship.
#pragma once

#include <cstddef>
#include <string>

#include "longspan/files.h"

struct XXH3_state_s;

namespace longspan::io {

// The same number as `xxh128sum` prints.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;

  void Update(const void* data, std::size_t bytes);
  // 32 hexadecimal digits, of everything so far.
  std::string Hex() const;

 private:
  XXH3_state_s* state_;
};

}  // namespace longspan::io
