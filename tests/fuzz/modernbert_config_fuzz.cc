// config.json of a ModernBERT: what is accepted can be written, read back and counted.
#include "families/modernbert/modernbert_config.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  fuzz::Accepts([&] {
    const ModernBertConfig config = ParseModernBertConfig(fuzz::AsText(data, bytes), "fuzz");
    const bool again = fuzz::Accepts([&] {
      const std::string written = ToJson(config);
      const ModernBertConfig read = ParseModernBertConfig(written, "again");
      fuzz::Require(ToJson(read) == written);
      fuzz::Require(ParameterCount(read) == ParameterCount(config));
    });
    fuzz::Require(again);
  });
  return 0;
}
