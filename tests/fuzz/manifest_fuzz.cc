// A checkpoint's manifest: only the very text that the writer writes is accepted.
#include "io/manifest.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  const auto text = fuzz::AsText(data, bytes);
  fuzz::Accepts([&] {
    const auto manifest = io::ParseManifest(text, "fuzz");
    fuzz::Require(io::ManifestText(manifest) == text);
  });
  return 0;
}
