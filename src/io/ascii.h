// Rules about single bytes that files, names and options share.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace longspan::io {

// Capital letters of ASCII as small ones, whatever the locale; other bytes stay.
inline std::string LowerAscii(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return lower;
}

// Small letters of ASCII as capital ones, whatever the locale; other bytes stay.
inline std::string UpperAscii(std::string_view text) {
  std::string upper(text);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return upper;
}

// Nothing, or white space only.
inline bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\f\v") == std::string_view::npos;
}

}  // namespace longspan::io
