// What people download instead of weights.
#pragma once

#include <string_view>

namespace longspan::io {

// Ends a message about a file that begins with `start` and is not what it should be; often empty.
inline std::string_view FileHint(std::string_view start) {
  if (start.starts_with("version ")) {
    return "; this is a git-LFS pointer, fetch the file that it stands for";
  }
  if (start.starts_with("<!") || start.starts_with("<html") || start.starts_with("<?xml")) {
    return "; this is a web page, not a model";
  }
  if (start.starts_with("PK\x03\x04")) return "; this is a zip archive (a PyTorch file?)";
  if (start.starts_with("\x1f\x8b")) return "; this is gzip, unpack it first";
  if (start.starts_with("7z\xbc\xaf")) return "; this is a 7z archive, unpack it first";
  if (start.starts_with("\x89HDF")) return "; this is HDF5 (a TensorFlow model?)";
  return "";
}

}  // namespace longspan::io
