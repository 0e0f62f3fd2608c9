#include "data/format.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "data/bytes.h"
#include "data/encoding.h"
#include "data/json_text.h"
#include "io/ascii.h"
#include "io/file_hint.h"
#include "longspan/files.h"

namespace longspan::data {
namespace {

constexpr std::pair<Format, const char*> kFormats[] = {{Format::kText, "text"},
                                                       {Format::kCsv, "csv"},
                                                       {Format::kTsv, "tsv"},
                                                       {Format::kJsonLines, "jsonl"},
                                                       {Format::kJson, "json"}};
// Other names of the same.
constexpr std::pair<Format, const char*> kMoreEndings[] = {{Format::kJsonLines, "ndjson"}};

const Format* Named(std::string_view name) {
  for (const auto& [format, known] : kFormats) {
    if (name == known) return &format;
  }
  for (const auto& [format, known] : kMoreEndings) {
    if (name == known) return &format;
  }
  return nullptr;
}

}  // namespace

Format FormatOf(const std::filesystem::path& path) {
  const std::string ending = io::LowerAscii(WithoutPacking(path).extension().string());
  if (ending.empty()) return Format::kText;
  const Format* format = Named(ending.substr(1));
  return format == nullptr ? Format::kText : *format;
}

Format FormatOf(const std::filesystem::path& path, const DataOptions& options) {
  if (options.format != Format::kAuto) return options.format;
  return path == kStdinPath ? Format::kText : FormatOf(path);
}

void CheckDataOptions(const DataOptions& options) {
  EncodingName(options.encoding);
  Check(!options.text_field.empty(), ErrorCode::kUsage, "text-field: the name is empty");
  Check(options.most_line_bytes >= 1, ErrorCode::kUsage, "max-line-bytes: must be at least 1");
}

void CheckIsText(std::string_view start, std::string_view source) {
  const io::KnownFile* known = io::KnownFileOf(start);
  if (known == nullptr) return;
  Fail(ErrorCode::kFormat, "{}: is {}, no text{}{}; --format text takes it as it stands", source,
       known->what, known->next.empty() ? "" : ": ", known->next);
}

void CheckIsNoJsonLines(std::string_view text, std::string_view source) {
  text = text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  const std::string_view line = text.substr(0, text.find_first_of("\r\n"));
  if (!line.starts_with('{')) return;
  bool named = false;
  try {
    ForEachMember(line, source, [&](std::string_view, std::string_view) { named = true; });
  } catch (const Error&) {
    return;
  }
  Check(!named, ErrorCode::kFormat,
        "{}: its first line is a JSON object: read it with --format jsonl, or as it stands with "
        "--format text",
        source);
}

}  // namespace longspan::data

namespace longspan {

DataFormat DataFormatOf(const std::filesystem::path& path) { return data::FormatOf(path); }

DataFormat ParseDataFormat(std::string_view name) {
  if (name == "auto") return DataFormat::kAuto;
  const DataFormat* format = data::Named(name);
  Check(format != nullptr, ErrorCode::kUsage,
        "format: '{}' is unknown; files hold text, csv, tsv, jsonl or json", io::Escape(name));
  return *format;
}

}  // namespace longspan
