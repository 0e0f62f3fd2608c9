// Text that came out of a file, made fit for a one-line message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace longspan::io {

// Printable ASCII stays; quotes, backslashes, control characters and every byte above 0x7e become
// \n, \", \\, \xHH. Longer than `most` bytes: cut, with the full length behind it. No terminal
// sequence, NUL or line break of a file reaches a log this way.
std::string Escape(std::string_view text, std::size_t most = 80);

}  // namespace longspan::io
