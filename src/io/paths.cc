#include "io/paths.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/errors.h"
#include "io/posix.h"

namespace longspan::io {
namespace {

namespace fs = std::filesystem;

fs::file_status StatusOf(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = Again(error, [&] { return fs::status(path, error); });
  const bool absent = status.type() == fs::file_type::not_found;
  if (error && !absent) FailSystem(path, "open", error.value());
  return status;
}

// Whether `inner` lies below `outer`; both without links.
bool IsBelow(const fs::path& outer, const fs::path& inner) {
  const auto [end, rest] = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  return end == outer.end() && rest != inner.end();
}

bool HasHiddenPart(const fs::path& relative) {
  return std::any_of(relative.begin(), relative.end(),
                     [](const fs::path& part) { return part.native().starts_with("."); });
}

// Of a snapshot's folder the folder with the files' contents; empty when it is no snapshot.
fs::path BlobsOf(const fs::path& folder) {
  for (fs::path at = folder; at.has_relative_path(); at = at.parent_path()) {
    const fs::path snapshots = at.parent_path(), model = snapshots.parent_path();
    if (snapshots.filename() == "snapshots" && model.filename().native().starts_with("models--")) {
      return model / "blobs";
    }
  }
  return {};
}

// Paths below a folder, sorted, of the entries that `is_wanted`, which gives its error_code on;
// links to folders are not followed.
template <class IsWanted>
std::vector<fs::path> PathsBelow(const fs::path& folder, const IsWanted& is_wanted) {
  std::vector<fs::path> paths;
  std::error_code error;
  Again(error, [&] {
    paths.clear();
    fs::recursive_directory_iterator entries(folder, error);
    for (; !error && entries != fs::recursive_directory_iterator(); entries.increment(error)) {
      std::error_code unknown;  // a link to nowhere is of no kind
      if (Again(unknown, [&] { return is_wanted(*entries, unknown); })) {
        paths.push_back(entries->path());
      }
    }
  });
  if (error) FailSystem(folder, "list", error.value());
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace

bool Exists(const fs::path& path) { return fs::exists(StatusOf(path)); }
bool IsDirectory(const fs::path& path) { return fs::is_directory(StatusOf(path)); }
bool IsRegularFile(const fs::path& path) { return fs::is_regular_file(StatusOf(path)); }

bool IsSameFile(const fs::path& a, const fs::path& b) {
  std::error_code error;  // what cannot be looked at is nobody's file
  return fs::equivalent(a, b, error) && !error;
}

bool IsLink(const fs::path& path) {
  std::error_code error;
  return fs::is_symlink(fs::symlink_status(path, error));
}

std::uint64_t FileBytes(const fs::path& path) {
  std::error_code error;
  const std::uintmax_t bytes = Again(error, [&] { return fs::file_size(path, error); });
  if (error) FailSystem(path, "tell its size", error.value());
  return bytes;
}

std::vector<std::string> ListFolder(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  Again(error, [&] {
    names.clear();
    fs::directory_iterator entries(folder, error);
    for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
      names.push_back(entries->path().filename().native());
    }
  });
  if (error) FailSystem(folder, "list", error.value());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<fs::path> FilesBelow(const fs::path& folder) {
  return PathsBelow(folder, [](const fs::directory_entry& entry, std::error_code& unknown) {
    return entry.is_regular_file(unknown);
  });
}

std::vector<fs::path> FoldersBelow(const fs::path& folder) {
  return PathsBelow(folder, [](const fs::directory_entry& entry, std::error_code& unknown) {
    return entry.is_directory(unknown);
  });
}

std::vector<fs::path> EntriesBelow(const fs::path& folder) {
  return PathsBelow(folder, [](const fs::directory_entry& entry, std::error_code& unknown) {
    return !fs::is_directory(entry.symlink_status(unknown));
  });
}

bool IsEmptyFolder(const fs::path& folder) {
  std::error_code error;
  const bool empty = Again(error, [&] { return fs::is_empty(folder, error); });
  if (error) FailSystem(folder, "list", error.value());
  return empty;
}

bool MakeDirectories(const fs::path& folder) {
  std::error_code error;
  const bool created = Again(error, [&] { return fs::create_directories(folder, error); });
  if (error) FailSystem(folder, "create the directory", error.value());
  return created;
}

void RemoveAll(const fs::path& path) {
  std::error_code error;
  Again(error, [&] { fs::remove_all(path, error); });
  if (error) FailSystem(path, "remove", error.value());
}

fs::path RealPath(const fs::path& path) {
  std::error_code error;
  fs::path real = Again(error, [&] { return fs::canonical(path, error); });
  if (error) FailSystem(path, "open", error.value());
  return real;
}

bool LeadsInto(const fs::path& path, const fs::path& folder, int depth) {
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  const fs::path outer = error ? fs::path() : fs::canonical(folder, error);
  if (error) return false;
  if (real == outer || IsBelow(outer, real)) return true;
  if (depth == 0 || !fs::is_directory(real, error)) return false;
  fs::directory_iterator entries(real, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    const fs::path& entry = entries->path();
    if (!IsLink(entry) && entry == outer) continue;  // it is a part of the path, not the other way
    if (LeadsInto(entry, outer, depth - 1)) return true;
  }
  return false;
}

fs::path ResolveInside(const fs::path& folder, const fs::path& path) {
  const fs::path root = RealPath(folder);
  std::error_code error;
  fs::path real = Again(error, [&] { return fs::canonical(path, error); });
  if (error) return {};
  if (IsBelow(root, real)) {
    return HasHiddenPart(real.lexically_relative(root)) ? fs::path() : real;
  }
  const fs::path blobs = BlobsOf(root);
  const bool blob = !blobs.empty() && real.parent_path() == blobs &&
                    fs::is_regular_file(fs::symlink_status(real, error));
  return blob ? real : fs::path();
}

}  // namespace longspan::io
