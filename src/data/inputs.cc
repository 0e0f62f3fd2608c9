#include "data/inputs.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/limits.h"
#include "data/utf8.h"
#include "io/escape.h"

namespace longspan::data {
namespace {

namespace fs = std::filesystem;

std::string Shown(const std::string& path) { return io::Escape(path, 400); }

[[noreturn]] void FailFolder(const fs::path& path, const std::error_code& error) {
  Fail(ErrorCode::kIo, "{}: cannot read the folder: {}", Shown(path.string()), error.message());
}

// Appends what lies below `folder`.
void ListFolder(const fs::path& folder, std::vector<std::string>* files) {
  std::error_code error;
  fs::recursive_directory_iterator at(folder, error);
  if (error) FailFolder(folder, error);
  for (const fs::recursive_directory_iterator end; at != end; at.increment(error)) {
    if (error) FailFolder(folder, error);
    const std::string name = at->path().filename().string();
    if (IsLeftover(name)) {
      at.disable_recursion_pending();
      continue;
    }
    if (!at->is_regular_file(error)) {
      error.clear();  // a dangling link is no file
      continue;
    }
    files->push_back(at->path().string());
    Check(files->size() <= limits::kMostFolderFiles, ErrorCode::kLimit,
          "{}: has more than {} files", Shown(folder.string()), limits::kMostFolderFiles);
  }
  if (error) FailFolder(folder, error);
}

}  // namespace

bool IsLeftover(std::string_view name) {
  constexpr std::string_view kEndings[] = {"~",     ".swp", ".swo",  ".bak",
                                           ".orig", ".tmp", ".part", ".crdownload"};
  constexpr std::string_view kNames[] = {"Thumbs.db", "desktop.ini", "__MACOSX"};
  if (name.starts_with('.') || (name.starts_with('#') && name.ends_with('#'))) return true;
  return std::any_of(std::begin(kEndings), std::end(kEndings),
                     [&](std::string_view ending) { return name.ends_with(ending); }) ||
         std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

std::vector<InputFile> ListFiles(const std::vector<std::string>& paths) {
  std::vector<InputFile> files;
  for (const std::string& path : paths) {
    std::error_code error;
    const fs::file_status status = path == kStdinPath ? fs::file_status() : fs::status(path, error);
    Check(path == kStdinPath || fs::exists(status), ErrorCode::kIo,
          "{}: cannot open: {} (a text itself is given with --text)", Shown(path),
          error ? error.message() : "no such file or folder");
    if (!fs::is_directory(status)) {
      files.push_back({path, false});
      continue;
    }
    std::vector<std::string> found;
    ListFolder(path, &found);
    Check(!found.empty(), ErrorCode::kUsage, "{}: has no file to read", Shown(path));
    std::sort(found.begin(), found.end());
    for (std::string& file : found) files.push_back({std::move(file), true});
  }
  return files;
}

std::optional<std::string> WhyPassedOver(const InputFile& file, const DataOptions& options) {
  constexpr std::size_t kLookAt = 8192;
  if (!file.listed) return std::nullopt;
  const auto bytes = OpenBytes(file.path);
  const std::string head = ReadHead(*bytes, kLookAt);
  if (head.empty()) return "empty";
  // Texts of two and four bytes a character are full of NULs, and say so or are said to be.
  const std::string encoding = EncodingName(options.encoding);
  const bool one_byte = encoding == kUtf8 || encoding == kVerbatim;
  const bool marked = head.starts_with("\xff\xfe") || head.starts_with("\xfe\xff");
  if (one_byte && !marked && head.find('\0') != std::string::npos) return "binary";
  return std::nullopt;
}

Texts::Texts(const std::vector<std::string>& paths, std::vector<std::string> given, RowRules rules)
    : rules_(std::move(rules)), given_(std::move(given)) {
  Check(!paths.empty() || !given_.empty(), ErrorCode::kUsage,
        "inputs: nothing to read; give files, folders, - for stdin, or --text TEXT");
  CheckDataOptions(rules_.options);
  for (InputFile& file : ListFiles(paths)) files_.push_back(std::move(file));
}

// Opens the next file that is one to read. False: there is none.
bool Texts::Open() {
  while (!files_.empty()) {
    const InputFile file = std::move(files_.front());
    files_.pop_front();
    if (const auto why = WhyPassedOver(file, rules_.options)) {
      notes_.push_back(fmt::format("{}: {}, passed over", Shown(file.path), *why));
      continue;
    }
    reader_ = std::make_unique<RowReader>(fs::path(file.path), rules_);
    return true;
  }
  return false;
}

std::optional<Row> Texts::Given() {
  if (next_given_ == given_.size()) return std::nullopt;
  Row row;
  row.text = given_[next_given_++];
  row.name = fmt::format("text {}", next_given_);
  row.given = true;
  try {
    if (!rules_.any_bytes) CheckUtf8(row.text, row.name, 1);
  } catch (const Error& error) {
    row.refused = error;
  }
  return row;
}

std::optional<Row> Texts::Next() {
  for (;;) {
    if (reader_) {
      if (std::optional<Row> row = reader_->Next()) return row;
      reader_.reset();
    }
    const std::string path = files_.empty() ? std::string() : files_.front().path;
    try {
      if (!Open()) return Given();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kFormat) throw;
      Row row;
      row.name = path;
      row.refused = error;
      return row;
    }
  }
}

std::vector<Row> Texts::NextChunk() {
  std::vector<Row> chunk;
  std::size_t bytes = 0;
  while (chunk.size() < limits::kChunkTexts && bytes < limits::kChunkBytes) {
    std::optional<Row> row = Next();
    if (!row) break;
    bytes += row->text.size();
    for (const auto& field : row->fields) {
      if (field.is_string()) bytes += field.get_ref<const std::string&>().size();
    }
    chunk.push_back(std::move(*row));
  }
  return chunk;
}

}  // namespace longspan::data
