// Separated values: what is accepted means the same after it was written and read again.
#include "data/csv.h"
#include "tests/fuzz/fuzz.h"

namespace {

using Records = std::vector<std::vector<std::string>>;

Records Read(std::string_view text, char separator) {
  using namespace longspan::data;
  TextStream stream(MemoryBytes(text, "fuzz"), "fuzz", kUtf8, LineBreaks::kTable);
  CsvReader reader(stream, separator, 1 << 20);
  Records records;
  for (std::vector<std::string> fields; reader.Next(&fields);) records.push_back(fields);
  return records;
}

std::string Write(const Records& records) {
  std::string text;
  for (const auto& record : records) {
    for (std::size_t i = 0; i < record.size(); ++i) {
      text += i == 0 ? "\"" : ",\"";
      for (const char c : record[i]) text += c == '"' ? std::string("\"\"") : std::string(1, c);
      text += '"';
    }
    text += '\n';
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  const std::string_view text = fuzz::AsText(data, bytes);
  fuzz::Accepts([&] {
    const Records records = Read(text, ',');
    fuzz::Require(Read(Write(records), ',') == records);
  });
  fuzz::Accepts([&] { Read(text, '\t'); });
  return 0;
}
