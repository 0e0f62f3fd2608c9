// Whether bytes are UTF-8: one rule for all that is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace longspan::io {

struct Utf8Sequence {
  std::size_t length = 0;
  std::uint32_t code = 0;
};

// The well-formed sequence of two or more bytes at the start of a text that is not empty; length 0:
// there is none. Overlong forms, surrogates and what lies beyond U+10FFFF are none.
Utf8Sequence LongSequence(std::string_view text);

// The first byte at which no well-formed sequence begins; npos: all of it is UTF-8.
std::size_t FirstInvalidUtf8(std::string_view text);

}  // namespace longspan::io
