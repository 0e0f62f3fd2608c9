#include "data/utf8.h"

#include <algorithm>
#include <cstdint>

#include "base/errors.h"
#include "io/file_hint.h"
#include "io/utf8.h"

namespace longspan::data {

void CheckUtf8(std::string_view text, std::string_view where, std::size_t first_line,
               std::string_view what, std::size_t skipped) {
  const std::size_t bad = io::FirstInvalidUtf8(text);
  if (bad == std::string_view::npos) [[likely]]
    return;
  const std::string_view before = text.substr(0, bad);
  const std::size_t lines =
      static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
  const std::size_t begin = lines == 0 ? 0 : before.rfind('\n') + 1;
  const std::string hint = lines == 0 && begin == 0 ? io::FileHint(text.substr(0, 16)) : "";
  Fail(ErrorCode::kFormat, "{}:{}: {}byte {}{} is 0x{:02x}, which is no UTF-8{}", where,
       first_line + lines, what, bad - begin + (lines == 0 ? skipped : 0),
       what.empty() ? " of the line" : "", static_cast<std::uint8_t>(text[bad]),
       hint.empty()
           ? "; --encoding latin-1, cp1252 or utf-16 reads other encodings, --skip-bad leaves "
             "such texts out"
           : hint);
}

}  // namespace longspan::data
