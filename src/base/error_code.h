// The kind of any exception.
#pragma once

#include <exception>
#include <filesystem>

#include "longspan/error.h"

namespace longspan {

// The kind of an exception that left the library: an Error's own; kIo of std::filesystem's; kLimit
// of all others, such as std::bad_alloc. It is what the program ends with.
inline ErrorCode CodeOf(const std::exception& error) noexcept {
  if (const auto* own = dynamic_cast<const Error*>(&error)) return own->code();
  const bool is_file = dynamic_cast<const std::filesystem::filesystem_error*>(&error) != nullptr;
  return is_file ? ErrorCode::kIo : ErrorCode::kLimit;
}

}  // namespace longspan
