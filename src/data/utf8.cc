#include "data/utf8.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/errors.h"
#include "io/file_hint.h"

namespace longspan::data {

std::size_t FirstInvalidUtf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (std::size_t at = 0; at < text.size();) {
    // Eight bytes of ASCII at a time: most texts are that for the most part.
    std::uint64_t eight = 0;
    if (text.size() - at >= sizeof(eight)) {
      std::memcpy(&eight, bytes + at, sizeof(eight));
      if ((eight & 0x8080808080808080u) == 0) {
        at += sizeof(eight);
        continue;
      }
    }
    if (bytes[at] < 0x80) {
      ++at;
      continue;
    }
    utf8proc_int32_t character = 0;
    const auto most = static_cast<utf8proc_ssize_t>(std::min<std::size_t>(4, text.size() - at));
    const utf8proc_ssize_t length = utf8proc_iterate(bytes + at, most, &character);
    if (length <= 0) return at;
    at += static_cast<std::size_t>(length);
  }
  return std::string_view::npos;
}

void CheckUtf8(std::string_view text, std::string_view where, std::size_t first_line,
               std::string_view what, std::size_t skipped) {
  const std::size_t bad = FirstInvalidUtf8(text);
  if (bad == std::string_view::npos) [[likely]]
    return;
  const std::string_view before = text.substr(0, bad);
  const std::size_t lines =
      static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
  const std::size_t begin = lines == 0 ? 0 : before.rfind('\n') + 1;
  const std::string_view hint = lines == 0 && begin == 0 ? io::FileHint(text.substr(0, 16)) : "";
  Fail(ErrorCode::kFormat, "{}:{}: {}byte {}{} is 0x{:02x}, which is no UTF-8{}", where,
       first_line + lines, what, bad - begin + (lines == 0 ? skipped : 0),
       what.empty() ? " of the line" : "", static_cast<std::uint8_t>(text[bad]),
       hint.empty() ? "; --encoding latin-1, cp1252 or utf-16 reads other encodings" : hint);
}

}  // namespace longspan::data
