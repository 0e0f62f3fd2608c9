// config.json of a BERT or RoBERTa: what is accepted can be written, read back and counted.
#include "families/bert/bert_config.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  fuzz::Accepts([&] {
    const BertConfig config = ParseBertConfig(fuzz::AsText(data, bytes), "fuzz");
    const bool again = fuzz::Accepts([&] {
      const std::string written = ToJson(config);
      const BertConfig read = ParseBertConfig(written, "again");
      fuzz::Require(ToJson(read) == written);
      fuzz::Require(ParameterCount(read) == ParameterCount(config));
    });
    fuzz::Require(again);
  });
  return 0;
}
