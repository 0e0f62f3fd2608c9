// JSON documents: what is accepted means the same after it was written and read again.
#include <nlohmann/json.hpp>

#include "io/json.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  fuzz::Accepts([&] {
    const auto document = io::ParseJson(fuzz::AsText(data, bytes), "fuzz");
    const bool again =
        fuzz::Accepts([&] { fuzz::Require(io::ParseJson(document.dump(), "again") == document); });
    fuzz::Require(again);
  });
  return 0;
}
