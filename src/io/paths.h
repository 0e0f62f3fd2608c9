// Questions about paths, and folders: what std::filesystem answers, with this project's errors.
// kIo "<path>: cannot <what>: <reason>" instead of filesystem_error, whose text shows a path raw.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace longspan::io {

// What is there, links followed. A link to nowhere is not there. kIo when that cannot be found out:
// no permission, a loop of links, a name that is too long.
bool Exists(const std::filesystem::path& path);
bool IsDirectory(const std::filesystem::path& path);
bool IsRegularFile(const std::filesystem::path& path);
// Whether both are there and one file, whatever names and links lead to it: by device and inode.
bool IsSameFile(const std::filesystem::path& a, const std::filesystem::path& b);
bool IsLink(const std::filesystem::path& path);  // false for what cannot be looked at
// Bytes of a regular file. kIo.
std::uint64_t FileBytes(const std::filesystem::path& path);

// Names of everything in a folder, hidden things too, sorted. kIo.
std::vector<std::string> ListFolder(const std::filesystem::path& folder);
// Paths of all regular files below a folder, sorted; links to folders are not followed. kIo.
std::vector<std::filesystem::path> FilesBelow(const std::filesystem::path& folder);
// The same of everything that is no folder: links, FIFOs and sockets too.
std::vector<std::filesystem::path> EntriesBelow(const std::filesystem::path& folder);
// Likewise of all folders below it, links to folders among them.
std::vector<std::filesystem::path> FoldersBelow(const std::filesystem::path& folder);
bool IsEmptyFolder(const std::filesystem::path& folder);

// Creates a folder and those above it that are missing; fine when it is there. Whether it was made.
// kIo.
bool MakeDirectories(const std::filesystem::path& folder);
// Removes a file, or a folder with everything in it; fine when nothing is there. kIo.
void RemoveAll(const std::filesystem::path& path);

// The path with all its links followed. kIo when it leads nowhere.
std::filesystem::path RealPath(const std::filesystem::path& path);

// Whether the path itself, or something in it down to `depth` folders below, lies in `folder` when
// all links are followed, however both are spelt. What leads nowhere does not, and a `folder` that
// lies in the path, as it stands there, is no part of it.
bool LeadsInto(const std::filesystem::path& path, const std::filesystem::path& folder,
               int depth = 0);

// What a link in a model's folder leads to, where it may: a file or folder in `folder` itself that
// is not hidden, or a file among the blobs of the hub's cache that `folder` is a snapshot of
// (models--NAME/snapshots/REVISION and models--NAME/blobs). Empty where it may not, or leads
// nowhere. The result holds no link any more: open that and not the path.
std::filesystem::path ResolveInside(const std::filesystem::path& folder,
                                    const std::filesystem::path& path);

}  // namespace longspan::io
