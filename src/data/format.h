// What a file of texts holds, by its name or because somebody says so.
#pragma once

#include <filesystem>
#include <string>

#include "longspan/data.h"

namespace longspan::data {

using Format = DataFormat;  // never kAuto here

// By the ending, in any case and before .gz or .zst: .csv, .tsv, .jsonl and .ndjson, .json;
// anything else is text.
Format FormatOf(const std::filesystem::path& path);
// The format that the options ask for, or that of the file; text for standard input.
Format FormatOf(const std::filesystem::path& path, const DataOptions& options);
inline bool HasRows(Format format) { return format != Format::kText; }
inline bool IsTable(Format format) { return format == Format::kCsv || format == Format::kTsv; }

// kUsage for options that cannot be.
void CheckDataOptions(const DataOptions& options);

// Refuses (kFormat) a file that begins as one does that holds no text as it lies there: an archive,
// a picture, a PDF. `start` is its first bytes.
void CheckIsText(std::string_view start, std::string_view source);

// Refuses prose (kFormat) whose first line is a whole JSON object with a name in it: nobody wants
// to learn or to ask about JSON as text without saying so. `text` is the beginning of the file.
void CheckIsNoJsonLines(std::string_view text, std::string_view source);

}  // namespace longspan::data
