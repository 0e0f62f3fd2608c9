// Files of options: what is accepted reads the same after it has been written again.
#include "cli/toml.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  fuzz::Accepts([&] {
    for (const cli::TomlEntry& entry : cli::ParseToml(fuzz::AsText(data, bytes), "input")) {
      const auto again = cli::ParseToml(cli::TomlLine("key", entry.values, true), "again");
      fuzz::Require(again.size() == 1 && again[0].values == entry.values);
    }
  });
  return 0;
}
