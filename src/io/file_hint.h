// What people download instead of a model's files.
#pragma once

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>

namespace longspan::io {

// Ends a message about a file that begins with `start` and is not what it should be; often empty.
// JSON readers (io/json_events.h) and readers of weights add it, so every reader has it.
inline std::string_view FileHint(std::string_view start) {
  if (start.starts_with("version https://git-lfs") || start.starts_with("version ")) {
    return "; this is a git-LFS pointer, fetch the file that it stands for (git lfs pull)";
  }
  if (start.starts_with("PK\x03\x04")) return "; this is a zip archive (a PyTorch file?)";
  if (start.starts_with("\x1f\x8b")) return "; this is gzip, unpack it first";
  if (start.starts_with("7z\xbc\xaf")) return "; this is a 7z archive, unpack it first";
  if (start.starts_with("\x89HDF")) return "; this is HDF5 (a TensorFlow model?)";
  if (start.starts_with("\xef\xbb\xbf")) start.remove_prefix(3);
  start.remove_prefix(std::min(start.find_first_not_of(" \t\r\n"), start.size()));
  std::string lower(start.substr(0, 16));
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const std::string_view page : {"<!", "<html", "<?xml", "<head", "<body"}) {
    if (lower.starts_with(page)) return "; this is a web page, not a file of a model";
  }
  for (const std::string_view answer : {"entry not found", "not found", "404", "repository not ",
                                        "invalid username", "access to"}) {
    if (lower.starts_with(answer)) return "; this is a server's refusal, not a file of a model";
  }
  return "";
}

}  // namespace longspan::io
