// Bytes in any encoding that iconv knows, as UTF-8.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace longspan::data {

// The name as iconv takes it: "latin-1" is ISO-8859-1, "cp1252" and "windows-1252" are CP1252.
// "UTF-8" and "bytes" stay what they are. kUsage for a name that iconv does not know.
std::string EncodingName(const std::string& name);
inline constexpr const char* kUtf8 = "UTF-8";
inline constexpr const char* kVerbatim = "bytes";

// "utf-16le" or "utf-16be" where a text begins with these bytes, its letters are mostly Latin, and
// no byte-order mark says so: every second byte is 0. Else empty.
std::string UnmarkedUtf16(std::string_view start);
inline constexpr const char* kIsUnmarkedUtf16 =
    "UTF-16 without a byte-order mark (every second byte is 0)";
// kFormat that names the option which reads such a text; `source` is what messages call it.
void RefuseUnmarkedUtf16(std::string_view start, const std::string& source);

// Turns a stream of bytes into UTF-8, piece by piece; a character may lie across two pieces.
class Decoder {
 public:
  // `name` as EncodingName gives it, neither UTF-8 nor bytes; `source` is what messages call the
  // stream.
  Decoder(const std::string& name, std::string source);
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // Appends the piece to `out`. kFormat with the byte's offset for what the encoding does not have.
  void Decode(std::string_view piece, std::string* out);
  // Says that no more will come: kFormat for half a character at the end.
  void Finish() const;

 private:
  struct Handle;
  std::unique_ptr<Handle> handle_;
  std::string name_, source_;
  std::string held_;        // the begin of a character that the last piece cut
  std::size_t offset_ = 0;  // of held_ in the stream
};

}  // namespace longspan::data
