// Separated values: what is accepted means the same after it was written and read again.
#include "io/csv.h"
#include "tests/fuzz/fuzz.h"

namespace {

using Records = std::vector<std::vector<std::string>>;

Records Read(std::string_view text) {
  longspan::io::CsvReader reader(text, ',', "fuzz");
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
  fuzz::Accepts([&] {
    const Records records = Read(fuzz::AsText(data, bytes));
    fuzz::Require(Read(Write(records)) == records);
  });
  return 0;
}
