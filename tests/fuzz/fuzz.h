// What every fuzz target does with a parser: whatever the bytes are, it returns or throws an
// Error of the right kind with a message that is fit for a terminal. Anything else is a finding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "longspan/error.h"

namespace longspan::fuzz {

// Not an assert: it must hold in every build.
inline void Require(bool holds) {
  if (!holds) std::abort();
}

// Runs parse(); true when it accepted the input.
template <class Parse>
bool Accepts(Parse&& parse) {
  try {
    parse();
    return true;
  } catch (const Error& error) {
    Require(error.code() == ErrorCode::kFormat || error.code() == ErrorCode::kLimit);
    const std::string_view message = error.what();
    Require(!message.empty());
    for (const char c : message) Require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
    return false;
  }
}

inline std::string_view AsText(const std::uint8_t* data, std::size_t bytes) {
  return {reinterpret_cast<const char*>(data), bytes};
}

}  // namespace longspan::fuzz
