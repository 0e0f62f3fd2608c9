// Escaping: whatever goes in, one line without control characters comes out, in bounded length.
#include "longspan/files.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  constexpr std::size_t kMost = 80;
  const std::string escaped = io::Escape(fuzz::AsText(data, bytes), kMost);
  for (const char c : escaped) {
    fuzz::Require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  }
  // At most four characters for a byte, and the note of what was cut.
  fuzz::Require(escaped.size() <= 4 * kMost + 64);
  return 0;
}
