// A file's text is the same in whatever pieces its bytes arrive.
#include "data/text_stream.h"
#include "tests/fuzz/fuzz.h"

namespace {

class Pieces final : public longspan::data::ByteStream {
 public:
  Pieces(std::string_view bytes, std::size_t size) : rest_(bytes), size_(size) {}
  std::size_t Read(char* data, std::size_t most) override {
    const std::size_t got = rest_.copy(data, most < size_ ? most : size_);
    rest_.remove_prefix(got);
    return got;
  }

 private:
  std::string_view rest_;
  std::size_t size_;
};

std::string Read(std::string_view bytes, std::size_t size, const char* encoding, bool table) {
  using namespace longspan::data;
  TextStream stream(std::make_unique<Pieces>(bytes, size), "fuzz", EncodingName(encoding),
                    table ? LineBreaks::kTable : LineBreaks::kAll);
  while (stream.More()) {
  }
  return std::string(stream.rest());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes) {
  using namespace longspan;
  if (bytes == 0) return 0;
  constexpr const char* kEncodings[] = {"utf-8",  "latin-1",  "cp1252",
                                        "utf-16", "utf-16le", "bytes"};
  const char* encoding = kEncodings[data[0] % 6];
  const bool table = (data[0] & 0x80) != 0;
  const std::string_view text = fuzz::AsText(data + 1, bytes - 1);
  std::string whole, pieces;
  const bool accepted = fuzz::Accepts([&] { whole = Read(text, 1 << 20, encoding, table); });
  const std::size_t size = 1 + (data[0] >> 3) % 7;
  fuzz::Require(fuzz::Accepts([&] { pieces = Read(text, size, encoding, table); }) == accepted);
  if (accepted) {
    fuzz::Require(whole == pieces);
    if (!table && data[0] % 6 != 5) fuzz::Require(whole.find('\r') == std::string::npos);
  }
  fuzz::Accepts([&] {  // unpacking
    const auto stream = data::MemoryBytes(text, "fuzz");
    char buffer[4096];
    std::size_t all = 0;
    while (const std::size_t got = stream->Read(buffer, sizeof(buffer))) {
      all += got;
      if (all > (std::size_t{64} << 20)) break;  // a bomb is the reader's to refuse
    }
  });
  return 0;
}
