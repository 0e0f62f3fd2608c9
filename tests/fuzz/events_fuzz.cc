// Files of events: records lie side by side from the start of the input.
#include "tests/fuzz/fuzz.h"
#include "train/tensorboard_log.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  const std::string_view text = fuzz::AsText(data, bytes);
  EventRecords records(text);
  std::string again;
  while (const auto payload = records.Next()) again += EventRecord(*payload);
  fuzz::Require(text.starts_with(again) && again.size() + records.rest().size() == bytes);
  return 0;
}
