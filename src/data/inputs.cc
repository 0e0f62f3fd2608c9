#include "data/inputs.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>
#include <system_error>
#include <utility>

#include "base/limits.h"
#include "data/utf8.h"
#include "io/file.h"
#include "io/file_hint.h"
#include "io/posix.h"
#include "longspan/files.h"

namespace longspan::data {
namespace {

namespace fs = std::filesystem;

std::string PassedOver(const std::string& path, const std::string& why) {
  return fmt::format("{}: {}, passed over", io::EscapeName(path), why);
}

// Standard input, under any of the names that the system has for it.
bool IsStdin(const std::string& path) {
  return path == kStdinPath || path == "/dev/stdin" || path == "/dev/fd/0" ||
         path == "/proc/self/fd/0";
}

// What the system says of a file that cannot be opened; empty: it can.
std::string WhyNotOpen(const std::string& path) {
  try {
    io::File::OpenRegular(path);
    return {};
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kIo) throw;
    const std::string_view what = error.what();
    const std::string name = io::EscapeName(path) + ": ";
    return std::string(what.starts_with(name) ? what.substr(name.size()) : what);
  }
}

// Why an entry of a folder is no file to read; empty: it is one.
std::string WhyNoFile(const fs::directory_entry& entry) {
  std::error_code error;
  const fs::file_type type = entry.status(error).type();
  if (type == fs::file_type::regular) return {};
  if (type == fs::file_type::directory) return "a link to a folder, which is not followed";
  if (type == fs::file_type::not_found && entry.is_symlink(error)) return "a link to nowhere";
  return WhyNotOpen(entry.path().string());
}

// Appends what lies below `folder`.
void ListFolder(const fs::path& folder, std::vector<InputFile>* files) {
  const auto check = [](const fs::path& path, const std::error_code& error) {
    Check(!error, ErrorCode::kIo, "{}: cannot read the folder: {}", io::EscapeName(path.string()),
          error.message());
  };
  std::vector<fs::path> open = {folder};
  while (!open.empty()) {
    const fs::path here = std::move(open.back());
    open.pop_back();
    std::error_code error;
    auto at = io::Again(error, [&] { return fs::directory_iterator(here, error); });
    if (here == folder) check(here, error);
    if (error) {
      files->push_back({here.string(), true, "cannot read the folder: " + error.message()});
      continue;
    }
    for (const fs::directory_iterator end; at != end; at.increment(error), check(here, error)) {
      if (IsLeftover(at->path().filename().string())) continue;
      std::error_code unknown;
      if (at->is_directory(unknown) && !at->is_symlink(unknown)) {
        open.push_back(at->path());
        continue;
      }
      files->push_back({at->path().string(), true, WhyNoFile(*at)});
      Check(files->size() <= limits::kMostFolderFiles, ErrorCode::kLimit,
            "{}: has more than {} files", io::EscapeName(folder.string()),
            limits::kMostFolderFiles);
    }
  }
}

// Why a file that was found in a folder is none to read.
std::string WhyPassedOver(const InputFile& file, const DataOptions& options) {
  constexpr std::size_t kLookAt = 8192;
  if (!file.listed || !file.unfit.empty()) return file.unfit;
  if (std::string why = WhyNotOpen(file.path); !why.empty()) return why;
  std::string head;
  try {
    head = ReadHead(*OpenBytes(file.path), kLookAt);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kFormat) throw;
    return {};  // damaged: for whoever reads it to say
  }
  if (head.empty()) return "empty";
  const io::KnownFile* known =
      options.format == DataFormat::kText ? nullptr : io::KnownFileOf(head);
  // Texts of two and four bytes a character are full of NULs, and say so or are said to be.
  const std::string encoding = EncodingName(options.encoding);
  const bool one_byte = encoding == kUtf8 || encoding == kVerbatim;
  const bool marked = head.starts_with("\xff\xfe") || head.starts_with("\xfe\xff");
  if (one_byte && !marked && head.find('\0') != std::string::npos) {
    const std::string wide = UnmarkedUtf16(std::string_view(head).substr(0, 512));
    if (wide.empty()) return "binary";
    return fmt::format("{} (--encoding {} reads it)", kIsUnmarkedUtf16, wide);
  }
  return known == nullptr ? std::string() : std::string(known->what);
}

// The names of a folder's own sub-folders.
std::vector<std::string> SubFolders(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  auto at = io::Again(error, [&] { return fs::directory_iterator(folder, error); });
  for (const fs::directory_iterator end; !error && at != end; at.increment(error)) {
    std::error_code unknown;
    const std::string name = at->path().filename().string();
    if (!IsLeftover(name) && at->is_directory(unknown) && !at->is_symlink(unknown)) {
      names.push_back(name);
    }
  }
  Check(!error, ErrorCode::kIo, "{}: cannot read the folder: {}", io::EscapeName(folder),
        error.message());
  std::sort(names.begin(), names.end());
  return names;
}

// Labels what was found in `folder` by the names of its sub-folders, if they hold prose.
void LabelByFolder(const std::string& folder, const DataOptions& options,
                   std::vector<InputFile>* files) {
  // The sub-folder that a file lies in, and what is below that; none: it lies beside them.
  const auto parts = [&](const InputFile& file) {
    std::string_view rest = std::string_view(file.path).substr(folder.size());
    rest.remove_prefix(std::min(rest.find_first_not_of('/'), rest.size()));
    const std::size_t end = rest.find('/');
    return end == rest.npos ? std::pair(std::string_view(), rest)
                            : std::pair(rest.substr(0, end), rest.substr(end + 1));
  };
  const auto is_prose = [&](const InputFile& file) {
    return !HasRows(FormatOf(file.path, options));
  };
  std::set<std::string, std::less<>> labels;
  for (InputFile& file : *files) {
    file.unfit = WhyPassedOver(file, options);
    const std::string_view label = parts(file).first;
    if (file.unfit.empty() && !label.empty() && is_prose(file)) labels.emplace(label);
  }
  if (labels.empty()) return;  // tables, or files of lines with labels
  for (InputFile& file : *files) {
    if (!file.unfit.empty()) continue;
    const auto [label, name] = parts(file);
    const std::string where = io::EscapeName(file.path);
    Check(!label.empty(), ErrorCode::kFormat,
          "{}: lies beside sub-folders whose names are the labels of the texts in them; move it "
          "away, or give files or sub-folders of one kind",
          where);
    Check(is_prose(file), ErrorCode::kFormat,
          "{}: a table or JSON in a sub-folder whose name is the label of the texts in it; give "
          "tables and texts apart",
          where);
    Check(name.find('/') == name.npos, ErrorCode::kFormat,
          "{}: lies in a folder within the one whose name is its label; give the folder whose "
          "sub-folders are the labels",
          where);
    file.label = label;
    CheckUtf8(file.label, where, 1, "the folder's name, ");
  }
  for (const std::string& name : SubFolders(folder)) {
    Check(labels.contains(name), ErrorCode::kFormat,
          "{}: holds no text, and its name is a label like those of the folders beside it; fill it "
          "or remove it",
          io::EscapeName((fs::path(folder) / name).string()));
  }
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

std::vector<InputFile> ListFiles(const std::vector<std::string>& paths, const std::string& hint) {
  std::vector<InputFile> files;
  for (const std::string& path : paths) {
    if (IsStdin(path)) {
      files.push_back({kStdinPath, false});
      continue;
    }
    std::error_code error;
    const fs::file_status status = io::Again(error, [&] { return fs::status(path, error); });
    Check(fs::exists(status), ErrorCode::kIo, "{}: cannot open: {}{}", io::EscapeName(path),
          error ? error.message() : "no such file or folder", hint);
    // It can be read once, and nobody knows whether something will ever come.
    Check(
        status.type() != fs::file_type::fifo, ErrorCode::kIo,
        "{}: not a regular file but a FIFO; redirect it and give - (longspan ... - < {}), or save "
        "the text in a file first",
        io::EscapeName(path), io::EscapeName(path));
    if (!fs::is_directory(status)) {
      files.push_back({path, false});
      continue;
    }
    std::vector<InputFile> found;
    ListFolder(path, &found);
    std::sort(found.begin(), found.end(),
              [](const InputFile& a, const InputFile& b) { return a.path < b.path; });
    const auto fit = [](const InputFile& file) { return file.unfit.empty(); };
    Check(std::any_of(found.begin(), found.end(), fit), ErrorCode::kFormat,
          "{}: has no file to read{}", io::EscapeName(path),
          found.empty() ? "" : "; " + PassedOver(found.front().path, found.front().unfit));
    std::move(found.begin(), found.end(), std::back_inserter(files));
  }
  return files;
}

InputFiles::InputFiles(const std::vector<std::string>& paths, const DataOptions& options,
                       const std::string& hint, bool labels)
    : options_(options) {
  CheckDataOptions(options_);
  for (const std::string& path : paths) {
    std::vector<InputFile> files = ListFiles({path}, hint);
    const bool folder = !files.empty() && files.front().listed;
    if (labels && folder) LabelByFolder(path, options_, &files);
    std::move(files.begin(), files.end(), std::back_inserter(files_));
  }
}

std::optional<InputFile> InputFiles::NextFile() {
  while (!files_.empty()) {
    InputFile file = std::move(files_.front());
    files_.pop_front();
    const std::string why = WhyPassedOver(file, options_);
    if (why.empty()) return file;
    notes_.push_back(PassedOver(file.path, why));
  }
  return std::nullopt;
}

std::optional<std::string> InputFiles::Next() {
  std::optional<InputFile> file = NextFile();
  return file ? std::optional(std::move(file->path)) : std::nullopt;
}

Texts::Texts(const std::vector<std::string>& paths, std::vector<std::string> given, RowRules rules)
    : rules_(std::move(rules)),
      files_(paths, rules_.options, rules_.missing_hint, rules_.labels),
      first_(paths.empty() ? "" : paths.front()),
      given_(std::move(given)) {
  Check(!paths.empty() || !given_.empty(), ErrorCode::kUsage,
        "inputs: nothing to read; give files, folders, - for stdin, or --text TEXT");
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

void Texts::CheckSomeText(bool given) {
  any_ = any_ || given;
  if (any_) return;
  const std::vector<std::string> notes = files_.TakeNotes();
  Fail(ErrorCode::kFormat, "{}: no text in it{}", io::EscapeName(first_),
       notes.empty() ? "" : "; " + notes.front());
}

std::optional<Row> Texts::Next() {
  for (;;) {
    if (reader_) {
      if (std::optional<Row> row = reader_->Next()) {
        any_ = true;
        return row;
      }
      reader_.reset();
    }
    const std::optional<InputFile> file = files_.NextFile();
    if (!file) {
      std::optional<Row> row = Given();
      CheckSomeText(row.has_value());
      return row;
    }
    try {
      reader_ = std::make_unique<RowReader>(fs::path(file->path), rules_, file->label);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kFormat) throw;
      Row row;
      row.name = file->path;
      row.refused = error;
      any_ = true;
      return row;
    }
  }
}

void Texts::ForEach(const UseRow& use, const RefuseRow& refuse,
                    const std::function<void(const std::string&)>& tell) {
  for (;;) {
    std::optional<Row> row = Next();
    for (const std::string& note : TakeNotes()) tell(note);
    if (!row) return;
    TakeRow(*row, use, refuse);
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
