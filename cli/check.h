// Throwing with the values named: the message is formatted only when the check fails.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "longspan/error.h"

namespace longspan::cli {

// Throws Error(code) with a formatted one-line message.
template <class... Args>
[[noreturn]] void Fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

// Checks what a user asked for.
template <class... Args>
void Check(bool ok, ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) Fail(code, format, std::forward<Args>(args)...);
}

}  // namespace longspan::cli
