// Names that a file may give to another file.
#pragma once

#include <algorithm>
#include <string_view>

namespace longspan::io {

// One component of [A-Za-z0-9._-]{1,255}, not "." or "..": no way to another folder.
inline bool IsPlainFileName(std::string_view name) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), plain);
}

}  // namespace longspan::io
