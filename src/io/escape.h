// Text that came out of a file, made fit for a one-line message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace longspan::io {

// Printable ASCII and well-formed UTF-8 stay; quotes, backslashes, line breaks, control characters,
// direction overrides and stray bytes become \", \\, \n, \xHH. Longer than `most` bytes: cut, with
// the full length behind it. No terminal sequence, NUL or line break of a file reaches a log.
std::string Escape(std::string_view text, std::size_t most = 80);

// The name of a file or of a row ("FILE, line 3"), which may be long: at most 400 bytes.
inline std::string EscapeName(std::string_view name) { return Escape(name, 400); }

// Whether a text is well-formed UTF-8, which JSON and config files want.
bool IsUtf8(std::string_view text);

}  // namespace longspan::io
