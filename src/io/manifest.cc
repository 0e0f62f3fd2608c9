#include "io/manifest.h"

#include <fmt/format.h>

#include <limits>

#include "base/errors.h"
#include "io/checksum.h"
#include "io/file_name.h"
#include "io/json.h"
#include "longspan/files.h"

namespace longspan::io {
namespace {

constexpr std::string_view kFormatName = "longspan-checkpoint";
constexpr idx_t kVersion = 1;

}  // namespace

std::string ManifestText(const Manifest& manifest) {
  std::string text =
      fmt::format("{{\n  \"format\": \"{}\",\n  \"version\": {},\n  \"step\": {},\n  \"files\": [",
                  kFormatName, kVersion, manifest.step);
  const char* separator = "\n";
  for (const ManifestEntry& file : manifest.files) {
    text += fmt::format("{}    {{\"name\": \"{}\", \"bytes\": {}, \"xxh128\": \"{}\"}}", separator,
                        file.name, file.bytes, file.checksum);
    separator = ",\n";
  }
  text += "\n  ],\n";
  return text + fmt::format("  \"checksum\": \"{}\"\n}}\n", ChecksumOf(text));
}

Manifest ParseManifest(std::string_view text, std::string_view source) {
  constexpr idx_t kMost = std::numeric_limits<idx_t>::max();
  const nlohmann::json document = ParseJson(text, source);
  const std::string format = GetString(document, "format", kRequired, source);
  Check(format == kFormatName, ErrorCode::kFormat, "{}: format is \"{}\", must be \"{}\"", source,
        Escape(format), kFormatName);
  const idx_t version = GetInt(document, "version", 1, kMost, kRequired, source);
  Check(version == kVersion, ErrorCode::kFormat, "{}: version {}, this program reads {}", source,
        version, kVersion);
  Manifest manifest;
  manifest.step = GetInt(document, "step", 0, kMost, kRequired, source);
  const auto files = document.find("files");
  Check(files != document.end() && files->is_array(), ErrorCode::kFormat,
        "{}: files must be a list", source);
  for (const auto& file : *files) {
    ManifestEntry entry;
    entry.name = GetString(file, "name", kRequired, source);
    Check(IsPlainFilePath(entry.name), ErrorCode::kFormat, "{}: \"{}\" is no plain file name",
          source, Escape(entry.name));
    entry.bytes = static_cast<std::uint64_t>(GetInt(file, "bytes", 0, kMost, kRequired, source));
    entry.checksum = GetString(file, "xxh128", kRequired, source);
    manifest.files.push_back(std::move(entry));
  }
  Check(ManifestText(manifest) == text, ErrorCode::kFormat,
        "{}: damaged: its checksum does not match its content", source);
  return manifest;
}

}  // namespace longspan::io
