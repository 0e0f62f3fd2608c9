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

// Such a name, or two of them with a slash between: a file of a folder in the folder.
inline bool IsPlainFilePath(std::string_view path) {
  const std::size_t slash = path.find('/');
  if (slash == path.npos) return IsPlainFileName(path);
  return IsPlainFileName(path.substr(0, slash)) && IsPlainFileName(path.substr(slash + 1));
}

}  // namespace longspan::io
