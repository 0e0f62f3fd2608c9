#include "io/checkpoint.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <system_error>

#include "base/errors.h"
#include "base/limits.h"
#include "base/parse_number.h"
#include "io/atomic_file.h"
#include "io/checksum.h"
#include "io/file_name.h"
#include "io/manifest.h"
#include "io/paths.h"
#include "io/posix.h"
#include "io/temporaries.h"
#include "longspan/files.h"

namespace longspan::io {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCheckpointPrefix = "checkpoint-";
constexpr std::string_view kUnfinished = ".tmp-";  // being written
constexpr std::string_view kReplaced = ".old-";    // was committed, a new one takes its place
constexpr std::string_view kDoomed = ".trash-";    // being removed

std::string NameOf(idx_t step) { return fmt::format("{}{}", kCheckpointPrefix, step); }

// The step of "checkpoint-<step>" as NameOf writes it.
std::optional<idx_t> StepOf(std::string_view name) {
  if (!name.starts_with(kCheckpointPrefix)) return std::nullopt;
  const auto step = ParseNumber<idx_t>(name.substr(kCheckpointPrefix.size()));
  return step && *step >= 0 && NameOf(*step) == name ? step : std::nullopt;
}

// Whether it is a folder and no link to one. kIo when that cannot be found out.
bool IsOwnFolder(const fs::path& path) {
  struct stat status {};
  if (Again([&] { return lstat(path.c_str(), &status); }) == 0) return S_ISDIR(status.st_mode);
  if (errno != ENOENT) FailSystem(path, "open", errno);
  return false;
}

// Whether anything has this name, a link to nowhere too.
bool IsThere(const fs::path& path) {
  struct stat status {};
  return Again([&] { return lstat(path.c_str(), &status); }) == 0 || errno != ENOENT;
}

bool NewerFirst(const CheckpointInfo& a, const CheckpointInfo& b) { return a.step > b.step; }

// Sums and counts what passes to the file.
class SummingFile final : public ByteSink {
 public:
  // expected_bytes: for the message when the disk is full; 0 = unknown.
  SummingFile(const fs::path& path, std::uint64_t expected_bytes)
      : path_(path), expected_(expected_bytes) {
    fd_ = Again([&] { return open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
    if (fd_ < 0) FailSystem(path, "write", errno);
  }
  ~SummingFile() override {
    if (fd_ >= 0) close(fd_);
  }
  SummingFile(const SummingFile&) = delete;
  SummingFile& operator=(const SummingFile&) = delete;

  using ByteSink::Write;
  void Write(const void* data, std::size_t bytes) override {
    WriteAll(fd_, data, bytes, path_, expected_);
    checksum_.Update(data, bytes);
    bytes_ += bytes;
  }
  void Finish() { SyncAndClose(fd_, path_); }
  std::uint64_t bytes() const { return bytes_; }
  std::string checksum() const { return checksum_.Hex(); }

 private:
  fs::path path_;
  int fd_ = -1;
  Checksum checksum_;
  std::uint64_t bytes_ = 0, expected_ = 0;
};

void VerifyFile(const fs::path& path, const ManifestEntry& entry) {
  Check(IsThere(path), ErrorCode::kFormat, "{}: missing, but named in {}", PathText(path),
        kManifestName);
  const File file = File::OpenRegular(path);
  Check(file.size() == entry.bytes, ErrorCode::kFormat, "{}: damaged: {} bytes, {} says {}",
        PathText(path), file.size(), kManifestName, entry.bytes);
  Checksum checksum;
  ForEachPiece(file, [&](const char* data, std::size_t bytes) { checksum.Update(data, bytes); });
  Check(checksum.Hex() == entry.checksum, ErrorCode::kFormat,
        "{}: damaged: its checksum is {}, {} says {}", PathText(path), checksum.Hex(),
        kManifestName, entry.checksum);
}

}  // namespace

CheckpointWriter::CheckpointWriter(const fs::path& run_dir, idx_t step)
    : run_dir_(run_dir),
      temporary_(run_dir / (std::string(kUnfinished) + NameOf(step))),
      manifest_{step, {}} {
  Check(step >= 0, ErrorCode::kUsage, "checkpoint: step is {}, must be >= 0", step);
  RemoveAll(temporary_);
  live_.emplace(temporary_);
  if (Again([&] { return mkdir(temporary_.c_str(), 0777); }) != 0) {
    FailSystem(temporary_, "create", errno);
  }
  live_->Made();
}

CheckpointWriter::~CheckpointWriter() {
  std::error_code ignored;
  if (!committed_) Again(ignored, [&] { fs::remove_all(temporary_, ignored); });
}

void CheckpointWriter::CheckMayAdd(std::string_view name) const {
  const auto same = [&](const ManifestEntry& entry) { return entry.name == name; };
  Check(IsPlainFilePath(name) && name[0] != '.' && name.find("/.") == name.npos &&
            name != kManifestName,
        ErrorCode::kUsage, "checkpoint: \"{}\" cannot be the name of a file in it", Escape(name));
  Check(std::none_of(manifest_.files.begin(), manifest_.files.end(), same), ErrorCode::kUsage,
        "checkpoint: {} is added twice", name);
  Check(!committed_ && whole_, ErrorCode::kUsage,
        "checkpoint: {} comes after the commit or a failed write", name);
}

void CheckpointWriter::Add(std::string_view name, const std::function<void(ByteSink&)>& write,
                           std::uint64_t expected_bytes) {
  Check(name.find('/') == name.npos, ErrorCode::kUsage,
        "checkpoint: \"{}\" cannot be the name of a file in it", Escape(name));
  CheckMayAdd(name);
  whole_ = false;
  SummingFile file(temporary_ / name, expected_bytes);
  write(file);
  file.Finish();
  manifest_.files.push_back({std::string(name), file.bytes(), file.checksum()});
  whole_ = true;
}

void CheckpointWriter::AddFile(std::string_view name, const std::function<void(ByteSink&)>& write) {
  Add(name, write, 0);
}

void CheckpointWriter::AddFile(std::string_view name, std::string_view bytes) {
  Add(
      name, [&](ByteSink& sink) { sink.Write(bytes); }, bytes.size());
}

void CheckpointWriter::AddTensors(std::string_view name, std::span<const TensorEntry> entries,
                                  const std::map<std::string, std::string>& metadata) {
  Add(
      name, [&](ByteSink& sink) { WriteSafetensors(sink, entries, metadata); },
      SafetensorsBytes(entries, metadata));
}

void CheckpointWriter::AddWritten(const std::function<void(const fs::path& folder)>& write) {
  Check(!committed_ && whole_, ErrorCode::kUsage,
        "checkpoint: files come after the commit or a failed write");
  whole_ = false;
  write(temporary_);
  whole_ = true;
  std::set<std::string> known;
  for (const ManifestEntry& entry : manifest_.files) known.insert(entry.name);
  for (const fs::path& path : EntriesBelow(temporary_)) {
    const std::string name = path.lexically_relative(temporary_).string();
    if (known.contains(name)) continue;
    CheckMayAdd(name);
    const File file = File::OpenRegular(path);
    Checksum checksum;
    ForEachPiece(file, [&](const char* data, std::size_t bytes) { checksum.Update(data, bytes); });
    manifest_.files.push_back({name, file.size(), checksum.Hex()});
    const std::size_t slash = name.find('/');
    if (slash != name.npos) folders_.insert(name.substr(0, slash));
  }
}

fs::path CheckpointWriter::Commit() {
  const idx_t step = manifest_.step;
  Check(!committed_ && whole_, ErrorCode::kUsage,
        "checkpoint: step {} cannot be committed: it is already, or a write failed", step);
  std::sort(manifest_.files.begin(), manifest_.files.end(),
            [](const ManifestEntry& a, const ManifestEntry& b) { return a.name < b.name; });
  whole_ = false;
  SummingFile file(temporary_ / kManifestName, 0);
  file.Write(ManifestText(manifest_));
  file.Finish();
  for (const std::string& folder : folders_) SyncDirectory(temporary_ / folder);
  SyncDirectory(temporary_);
  whole_ = true;

  const fs::path path = run_dir_ / NameOf(step);
  const fs::path replaced = run_dir_ / (std::string(kReplaced) + NameOf(step));
  bool aside = false, visible = false;
  try {
    if (IsThere(path)) {  // the folder of an earlier save, or something that took its name
      RemoveAll(replaced);
      Rename(path, replaced);
      aside = true;
      SyncDirectory(run_dir_);
    }
    live_->RenameTo(path);
    visible = true;
    SyncDirectory(run_dir_);
  } catch (...) {
    // As if it had not been tried: what is not surely on disk is not there, and a crash in between
    // leaves what RecoverRunDirectory puts in order.
    if (visible) Again([&] { return rename(path.c_str(), temporary_.c_str()); });
    if (aside) Again([&] { return rename(replaced.c_str(), path.c_str()); });
    throw;
  }
  committed_ = true;
  LiveEntry entry(replaced);  // a signal that ends the process takes it along
  entry.Made();
  std::error_code ignored;  // the next rotation or start tries it again, and says so
  if (aside) Again(ignored, [&] { fs::remove_all(replaced, ignored); });
  return path;
}

std::vector<CheckpointInfo> ListCheckpoints(const fs::path& run_dir) {
  std::vector<CheckpointInfo> found;
  for (const std::string& name : ListFolder(run_dir)) {
    const auto step = StepOf(name);
    if (step && IsOwnFolder(run_dir / name)) found.push_back({*step, run_dir / name});
  }
  std::sort(found.begin(), found.end(), NewerFirst);
  std::reverse(found.begin(), found.end());
  return found;
}

bool IsCheckpoint(const fs::path& folder) {
  if (!StepOf(folder.filename().native()) || !IsOwnFolder(folder)) return false;
  try {
    const fs::path path = folder / kManifestName;
    const Manifest manifest = ParseManifest(ReadWholeFile(path, limits::kManifest), PathText(path));
    std::set<std::string> known = {std::string(kManifestName)}, top = known;
    for (const ManifestEntry& entry : manifest.files) {
      known.insert(entry.name);
      top.insert(entry.name.substr(0, entry.name.find('/')));
    }
    const std::vector<std::string> names = ListFolder(folder);
    const std::vector<fs::path> files = EntriesBelow(folder);
    return std::all_of(names.begin(), names.end(),
                       [&](const std::string& name) { return top.contains(name); }) &&
           std::all_of(files.begin(), files.end(), [&](const fs::path& file) {
             return known.contains(file.lexically_relative(folder).string());
           });
  } catch (const Error&) {
    return false;
  }
}

void VerifyCheckpoint(const fs::path& checkpoint) {
  const fs::path path = checkpoint / kManifestName;
  Check(IsOwnFolder(checkpoint), ErrorCode::kFormat, "{}: no checkpoint folder",
        PathText(checkpoint));
  Check(IsThere(path), ErrorCode::kFormat, "{}: missing: this is no checkpoint", PathText(path));
  const Manifest manifest = ParseManifest(ReadWholeFile(path, limits::kManifest), PathText(path));
  const auto step = StepOf(checkpoint.filename().native());
  Check(!step || *step == manifest.step, ErrorCode::kFormat, "{}: says step {}, its folder is {}",
        PathText(path), manifest.step, checkpoint.filename().native());
  for (const ManifestEntry& entry : manifest.files) VerifyFile(checkpoint / entry.name, entry);
}

std::optional<CheckpointInfo> LatestValidCheckpoint(const fs::path& run_dir,
                                                    std::vector<std::string>* warnings) {
  // Not ListCheckpoints: a file or a link of a checkpoint's name is a damaged one.
  std::vector<CheckpointInfo> found;
  for (const std::string& name : ListFolder(run_dir)) {
    if (const auto step = StepOf(name)) found.push_back({*step, run_dir / name});
  }
  std::sort(found.begin(), found.end(), NewerFirst);
  std::string newest;
  bool all_unreadable = true;
  for (const CheckpointInfo& checkpoint : found) {
    try {
      VerifyCheckpoint(checkpoint.path);
      return checkpoint;
    } catch (const Error& error) {
      // One that cannot be read (a bad sector, a FIFO in a file's place) is as lost as one with
      // other bytes; a lack of memory is not the checkpoint's fault.
      if (error.code() != ErrorCode::kFormat && error.code() != ErrorCode::kIo) throw;
      all_unreadable = all_unreadable && error.code() == ErrorCode::kIo;
      if (newest.empty()) newest = error.what();
      if (warnings != nullptr) warnings->push_back(error.what());
    }
  }
  Check(found.empty(), all_unreadable ? ErrorCode::kIo : ErrorCode::kFormat,
        "{}: none of its {} checkpoints is whole; the newest: {}", PathText(run_dir), found.size(),
        newest);
  return std::nullopt;
}

void RotateCheckpoints(const fs::path& run_dir, idx_t keep_last, std::optional<idx_t> best_step) {
  Check(keep_last >= 2, ErrorCode::kUsage,
        "checkpoint: keep_last is {}, must be >= 2: a damaged newest one needs a predecessor",
        keep_last);
  RecoverRunDirectory(run_dir);
  const auto found = ListCheckpoints(run_dir);
  const idx_t surplus = static_cast<idx_t>(found.size()) - keep_last;
  for (idx_t i = 0; i < surplus; ++i) {
    const CheckpointInfo& checkpoint = found[static_cast<std::size_t>(i)];
    if (best_step && checkpoint.step == *best_step) continue;
    // Out of sight in one step: a half-removed folder never looks like a checkpoint.
    const fs::path doomed = run_dir / (std::string(kDoomed) + NameOf(checkpoint.step));
    LiveEntry entry(doomed);  // a signal that ends the process takes it along
    Rename(checkpoint.path, doomed);
    entry.Made();
    try {
      SyncDirectory(run_dir);
    } catch (...) {
      entry.RenameTo(checkpoint.path);
      throw;
    }
    RemoveAll(doomed);
  }
}

void RecoverRunDirectory(const fs::path& run_dir) {
  for (const std::string& name : ListFolder(run_dir)) {
    const fs::path path = run_dir / name;
    const auto behind = [&](std::string_view prefix) {
      return name.starts_with(prefix) && StepOf(std::string_view(name).substr(prefix.size()));
    };
    if (behind(kReplaced)) {
      const fs::path committed = run_dir / name.substr(kReplaced.size());
      if (!IsOwnFolder(committed)) {
        Rename(path, committed);
        SyncDirectory(run_dir);
        continue;
      }
    }
    if (behind(kReplaced) || behind(kUnfinished) || behind(kDoomed)) RemoveAll(path);
  }
  RemoveStaleTemporaries(run_dir);
}

}  // namespace longspan::io
