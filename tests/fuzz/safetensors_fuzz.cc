// The header of a safetensors file. The first 8 bytes are the length of the data behind it.
#include <cstring>

#include "io/safetensors.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  std::uint64_t data_bytes = 0;
  if (bytes < sizeof(data_bytes)) return 0;
  std::memcpy(&data_bytes, data, sizeof(data_bytes));
  const auto header = fuzz::AsText(data + sizeof(data_bytes), bytes - sizeof(data_bytes));
  fuzz::Accepts([&] {
    const auto parsed = io::ParseSafetensorsHeader(header, data_bytes, "fuzz");
    // What was accepted covers the data exactly and lies inside it, behind length and header.
    const std::uint64_t data_begin = 8 + header.size();
    std::uint64_t covered = 0;
    for (const auto& [name, info] : parsed.tensors) {
      fuzz::Require(info.size >= 0 && info.begin >= data_begin);
      fuzz::Require(info.begin - data_begin <= data_bytes);
      fuzz::Require(info.bytes() <= data_bytes - (info.begin - data_begin));
      covered += info.bytes();
    }
    fuzz::Require(covered == data_bytes);
  });
  return 0;
}
