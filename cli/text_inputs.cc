#include "cli/text_inputs.h"

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "base/errors.h"
#include "io/escape.h"
#include "io/file.h"
#include "io/json.h"

namespace longspan::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 30;  // of a file
constexpr std::size_t kMostFiles = 1'000'000;                 // below a folder
// Of a chunk: texts that are sorted by length and run together.
constexpr std::size_t kChunkTexts = 512, kChunkBytes = std::size_t{16} << 20;

bool IsJsonLines(const std::string& path) { return fs::path(path).extension() == ".jsonl"; }

std::string ReadStdin() {
  std::string content;
  std::vector<char> piece(std::size_t{1} << 20);
  while (std::cin.read(piece.data(), static_cast<std::streamsize>(piece.size())) ||
         std::cin.gcount() > 0) {
    content.append(piece.data(), static_cast<std::size_t>(std::cin.gcount()));
    Check(content.size() <= kMostBytes, ErrorCode::kLimit,
          "stdin: more than {} bytes; give the text in several files", kMostBytes);
  }
  return content;
}

}  // namespace

void AddInputOptions(CLI::App& command, InputOptions& options) {
  command.add_option("inputs", options.paths, "text files, *.jsonl files, folders, - for stdin")
      ->type_name("FILE");
  command.add_option("--text", options.texts, "a text as it stands; may be given again")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command.add_flag("--lines", options.lines, "each line of a file is a text of its own");
  command.add_flag("--json-lines", options.json_lines, "stdin has a JSON object a line");
}

std::string InputText::Field(std::string_view field) const {
  return io::GetString(fields, field, io::kRequired, io::Escape(name));
}

std::optional<std::string> InputText::OptionalField(std::string_view field) const {
  return is_json() ? io::GetOptionalString(fields, field, io::Escape(name)) : std::nullopt;
}

TextInputs::TextInputs(InputOptions options) : options_(std::move(options)) {
  Check(!options_.paths.empty() || !options_.texts.empty(), ErrorCode::kUsage,
        "inputs: nothing to read; give files, folders, - for stdin, or --text TEXT");
  for (const std::string& path : options_.paths) {
    if (path != "-" && fs::is_directory(path)) {
      AddFolder(path);
      continue;
    }
    Check(path == "-" || fs::exists(path), ErrorCode::kIo,
          "{}: no such file or folder (a text itself is given with --text)", io::Escape(path));
    sources_.emplace_back(path);
  }
}

void TextInputs::AddFolder(const std::string& path) {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    const std::string extension = entry.path().extension().string();
    if (!entry.is_regular_file() || (extension != ".txt" && extension != ".jsonl")) continue;
    files.push_back(entry.path().string());
    Check(files.size() <= kMostFiles, ErrorCode::kLimit, "{}: has more than {} files",
          io::Escape(path), kMostFiles);
  }
  Check(!files.empty(), ErrorCode::kUsage, "{}: has no .txt or .jsonl file", io::Escape(path));
  std::sort(files.begin(), files.end());
  for (std::string& file : files) sources_.emplace_back(std::move(file));
}

void TextInputs::Open(Source& source) const {
  const bool standard = source.path == "-";
  source.content = standard ? ReadStdin() : io::ReadWholeFile(source.path, kMostBytes);
  const std::size_t nul = source.content.find('\0');
  Check(nul == std::string::npos, ErrorCode::kFormat,
        "{}: is no text: byte {} is 0; models read UTF-8",
        standard ? "stdin" : io::Escape(source.path), nul);
  source.json = standard ? options_.json_lines : IsJsonLines(source.path);
  source.lines = source.json || options_.lines;
  source.open = true;
  if (standard) source.path = "stdin";
}

InputText TextInputs::NextLine(Source& source) const {
  const std::size_t end = std::min(source.content.find('\n', source.at), source.content.size());
  std::string_view line = std::string_view(source.content).substr(source.at, end - source.at);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  source.at = end + 1;
  ++source.line;
  InputText text;
  text.name = fmt::format("{}:{}", source.path, source.line);
  if (!source.json) {
    text.text = line;
    return text;
  }
  text.fields = io::ParseJson(line, io::Escape(text.name));
  Check(text.fields.is_object(), ErrorCode::kFormat, "{}: is no JSON object",
        io::Escape(text.name));
  text.text = text.OptionalField("text").value_or("");
  return text;
}

std::optional<InputText> TextInputs::Next() {
  while (!sources_.empty()) {
    Source& source = sources_.front();
    if (!source.open) Open(source);
    if (!source.lines) {
      InputText text{source.path, std::move(source.content), {}};
      sources_.pop_front();
      return text;
    }
    // Blank lines are none.
    while (source.at < source.content.size() && source.content[source.at] == '\n') {
      ++source.at;
      ++source.line;
    }
    if (source.at < source.content.size()) return NextLine(source);
    sources_.pop_front();
  }
  if (next_text_ == options_.texts.size()) return std::nullopt;
  const std::size_t i = next_text_++;
  return InputText{fmt::format("text {}", i + 1), options_.texts[i], {}};
}

std::vector<InputText> TextInputs::NextChunk() {
  std::vector<InputText> chunk;
  std::size_t bytes = 0;
  while (chunk.size() < kChunkTexts && bytes < kChunkBytes) {
    std::optional<InputText> text = Next();
    if (!text) break;
    bytes += text->text.size();
    chunk.push_back(std::move(*text));
  }
  return chunk;
}

}  // namespace longspan::cli
