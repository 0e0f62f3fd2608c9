// Throwing with both values named: the message is formatted only when the check fails.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "longspan/error.h"

namespace longspan {

// Throws Error(code) with a formatted one-line message.
template <class... Args>
[[noreturn]] void Fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

// Checks what a caller of the library handed in. Our own mistakes are asserts, not Checks.
template <class... Args>
void Check(bool ok, ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) [[unlikely]] {
    throw Error(code, fmt::format(format, std::forward<Args>(args)...));
  }
}

}  // namespace longspan
