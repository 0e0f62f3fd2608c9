// manifest.json of a checkpoint: what belongs to it, and its checksum. Internal.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/types.h"

namespace longspan::io {

inline constexpr std::string_view kManifestName = "manifest.json";

struct ManifestEntry {
  std::string name;
  std::uint64_t bytes = 0;
  std::string checksum;  // XXH3-128, 32 hexadecimal digits
};

struct Manifest {
  idx_t step = 0;
  std::vector<ManifestEntry> files;  // by name
};

// One text for one manifest, its own checksum on the last line: a reader that rebuilds the text
// and finds another one has found damage, wherever it is.
std::string ManifestText(const Manifest& manifest);

// kFormat when the text is not exactly what ManifestText writes.
Manifest ParseManifest(std::string_view text, std::string_view source);

}  // namespace longspan::io
