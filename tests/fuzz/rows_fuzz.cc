// Rows of any format: whatever the bytes are, reading ends, what is wrong is told in a line, and
// what is not refused is text. The first byte chooses how the others are read.
#include "data/rows.h"
#include "io/utf8.h"
#include "tests/fuzz/fuzz.h"

namespace {

void CheckLine(std::string_view message) {
  longspan::fuzz::Require(!message.empty());
  for (const char c : message) {
    longspan::fuzz::Require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  using namespace longspan::data;
  if (bytes == 0) return 0;
  constexpr Format kFormats[] = {Format::kText, Format::kCsv, Format::kTsv, Format::kJsonLines,
                                 Format::kJson};
  constexpr const char* kEncodings[] = {"utf-8", "utf-8", "latin-1", "cp1252", "utf-16"};
  RowRules rules;
  rules.fields = {{"text", true}, {"context"}, {"question"}, {"id", false, true}};
  rules.options.most_line_bytes = 4096;
  rules.options.encoding = kEncodings[(data[0] / 5) % 5];
  rules.options.text_field = (data[0] & 0x80) != 0 ? "context" : "text";
  rules.lines = (data[0] & 0x40) != 0;
  rules.squad = (data[0] & 0x80) != 0;
  rules.labels = (data[0] & 0x20) != 0;
  if (rules.squad) rules.fields[0].required = false;
  if (rules.squad && kFormats[data[0] % 5] == Format::kText) rules.columns = TaggedColumns{};
  const std::string_view text = fuzz::AsText(data + 1, bytes - 1);
  fuzz::Accepts([&] {
    RowReader reader(text, "fuzz", kFormats[data[0] % 5], rules);
    std::size_t rows = 0;
    while (const auto row = reader.Next()) {
      fuzz::Require(++rows <= 2 * bytes + 2);
      if (row->refused) {
        CheckLine(row->refused->what());
        continue;
      }
      fuzz::Require(row->has_fields() || !row->text.empty());
      fuzz::Require(io::FirstInvalidUtf8(row->text) == std::string_view::npos);
      if (row->has_fields()) row->fields.dump();  // throws for bytes that are no UTF-8
    }
  });
  return 0;
}
