#include "train/run_output.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/errors.h"
#include "data/inputs.h"
#include "io/atomic_file.h"
#include "io/checkpoint.h"
#include "io/checksum.h"
#include "io/file.h"
#include "io/json.h"
#include "io/paths.h"
#include "io/transformer_folder.h"
#include "longspan/files.h"
#include "train/tensorboard_log.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kRecord = ".longspan-run.json";
constexpr const char* kAny = "*";
constexpr std::uint64_t kSummed = std::uint64_t{1} << 20;  // larger files are known by their size

// Locks, records and files of crashed writers. They are not results.
bool IsHidden(const std::string& name) { return name.starts_with('.'); }
bool IsLog(const std::string& name) {
  return name == "metrics.jsonl" || name == "best.json" || name == "run.toml" ||
         name == kEventsFile;
}

std::vector<std::string> VisibleNames(const fs::path& output) {
  std::vector<std::string> names = io::ListFolder(output);
  std::erase_if(names, IsHidden);
  return names;
}

// The files of every model, and the one that says how long its rows are.
constexpr std::array<const char*, 4> kModelNames = {"config.json", "generation_config.json",
                                                    "model.safetensors", "tokenizer_config.json"};

// A file as the run left it.
struct Written {
  std::uint64_t bytes = 0;
  std::string checksum;  // empty for a large one; kAny: it was about to be written

  bool operator==(const Written&) const = default;
};

Written Look(const fs::path& path) {
  Written written;
  written.bytes = io::FileBytes(path);
  if (written.bytes <= kSummed) written.checksum = io::ChecksumOf(io::ReadWholeFile(path, kSummed));
  return written;
}

// Files of the output by their paths below it.
using Record = std::map<std::string, Written>;

// None when no run has finished here, or one of before there were records.
std::optional<Record> ReadRecord(const fs::path& output) {
  const fs::path path = output / kRecord;
  if (!io::IsRegularFile(path)) return std::nullopt;
  const json document = io::ReadJsonFile(path);
  const std::string source = io::Escape(path.string());
  Check(document.contains("files") && document["files"].is_object(), ErrorCode::kFormat,
        "{}: has no list of files; remove it by hand, and what the run wrote", source);
  Record record;
  for (const auto& [name, entry] : document["files"].items()) {
    record[name] = {
        static_cast<std::uint64_t>(io::GetInt(entry, "bytes", 0, std::numeric_limits<idx_t>::max(),
                                              io::kRequired, source)),
        io::GetString(entry, "checksum", io::kRequired, source)};
  }
  return record;
}

void WriteRecord(const fs::path& output, const Record& record) {
  json files = json::object();
  for (const auto& [name, written] : record) {
    files[name] = {{"bytes", written.bytes}, {"checksum", written.checksum}};
  }
  io::WriteFileAtomic(output / kRecord, io::DumpJson(json{{"files", files}}));
}

// Paths below the output of all its files but hidden ones, logs and checkpoints.
std::set<std::string> ModelFiles(const fs::path& output) {
  std::set<std::string> found;
  for (const std::string& name : VisibleNames(output)) {
    const fs::path path = output / name;
    if (IsLog(name) || io::IsCheckpoint(path)) continue;
    if (!io::IsDirectory(path)) {
      found.insert(name);
      continue;
    }
    for (const fs::path& file : io::FilesBelow(path)) {
      found.insert(file.lexically_relative(output).string());
    }
  }
  return found;
}

// Files of a run from before records existed: its log, and the files that its checkpoints
// list.
Record RecordFromCheckpoints(const fs::path& output) {
  Record record;
  std::set<std::string> names(kModelNames.begin(), kModelNames.end());
  bool any = false;
  for (const io::CheckpointInfo& checkpoint : io::ListCheckpoints(output)) {
    if (!io::IsCheckpoint(checkpoint.path)) continue;
    any = true;
    for (const std::string& name : io::ListFolder(checkpoint.path)) names.insert(name);
  }
  if (!any) return record;
  for (const std::string& name : names) {
    if (io::IsRegularFile(output / name)) record[name] = Look(output / name);
  }
  return record;
}

// ---- whose it is --------------------------------------------------------------------------------

void CheckNeedsNothingOf(const TrainOptions& o, const TrainTask& task) {
  const auto refuse = [&](const fs::path& path, const char* what) {
    Fail(ErrorCode::kUsage,
         "{}: --overwrite would clear {} ({}); give another output, or move that away first",
         io::Escape(o.output.string()), what, io::Escape(path.string()));
  };
  // A model's folder may hold folders of modules, with links in them to a cache's files.
  constexpr int kModelDepth = 2;
  if (!o.model.empty() && io::LeadsInto(o.model, o.output, kModelDepth)) {
    refuse(o.model, "the model to start from");
  }
  for (const fs::path& file : task.FilesBeside()) {
    if (io::LeadsInto(file, o.output)) refuse(file, "a file of the model or its tokenizer");
  }
  std::vector<std::string> texts;
  for (const fs::path& path : o.data.train) texts.push_back(path.string());
  if (!o.data.eval.empty()) texts.push_back(o.data.eval.string());
  if (texts.empty()) return;
  for (const data::InputFile& file : data::ListFiles(texts)) {
    if (file.path != "-" && io::LeadsInto(file.path, o.output)) refuse(file.path, "a text");
  }
}

// Whether a folder holds what the record lists, as it was written, and nothing else.
bool IsAllOurs(const fs::path& output, const std::string& name, const Record& record) {
  const fs::path path = output / name;
  const auto ours = [&](const fs::path& file) {
    const auto entry = record.find(file.lexically_relative(output).string());
    return entry != record.end() && io::IsRegularFile(file) && !io::IsLink(file) &&
           (entry->second.checksum == kAny || entry->second == Look(file));
  };
  if (io::IsLink(path)) return false;
  if (!io::IsDirectory(path)) return ours(path);
  const std::vector<fs::path> files = io::EntriesBelow(path);
  return !files.empty() && std::all_of(files.begin(), files.end(), ours);
}

}  // namespace

std::vector<fs::path> ToBeCleared(const TrainOptions& o, const TrainTask& task) {
  std::vector<fs::path> found;
  const std::vector<std::string> names = VisibleNames(o.output);
  if (names.empty()) return found;
  const std::string shown = io::Escape(o.output.string());
  Check(o.checkpoints.overwrite, ErrorCode::kUsage,
        "{}: not empty (it has {}); --resume goes on with the run in it, --overwrite clears it",
        shown, io::Escape(names.front()));
  const std::optional<Record> known = ReadRecord(o.output);
  const Record record = known ? *known : RecordFromCheckpoints(o.output);
  for (const std::string& name : names) {
    const fs::path path = o.output / name;
    const bool log = IsLog(name) && io::IsRegularFile(path) && !io::IsLink(path);
    Check(log || io::IsCheckpoint(path) || IsAllOurs(o.output, name, record), ErrorCode::kUsage,
          "{}: has {}, which no training wrote, or which was changed since; --overwrite clears "
          "what trainings wrote and nothing else: move it away first",
          shown, io::Escape(name));
    found.push_back(path);
  }
  CheckNeedsNothingOf(o, task);
  found.push_back(o.output / kRecord);
  return found;
}

void Clear(const std::vector<fs::path>& paths) {
  for (const fs::path& path : paths) io::RemoveAll(path);
}

void CheckNothingToResume(const fs::path& output) {
  for (const std::string& name : VisibleNames(output)) {
    Check(!IsLog(name) && name != "model.safetensors", ErrorCode::kFormat,
          "{}: cannot be resumed: it has {}, but no checkpoint is left; --overwrite starts again "
          "from step 0",
          io::Escape(output.string()), name);
  }
}

void BeginRecord(const fs::path& output) { WriteRecord(output, {}); }

void SaveRecorded(const fs::path& output, TrainTask& task) {
  const Record old = ReadRecord(output).value_or(Record());
  const std::set<std::string> before = ModelFiles(output);
  // Files that a killed run wrote and that will be written again.
  std::set<std::string> ours(kModelNames.begin(), kModelNames.end());
  for (const fs::path& file : task.FilesBeside()) ours.insert(file.filename().string());
  Record record = old;
  for (const std::string& name : ours) record[name] = {0, kAny};
  WriteRecord(output, record);
  task.Save(output);
  record.clear();
  for (const std::string& name : ModelFiles(output)) {
    if (!before.contains(name) || old.contains(name) || ours.contains(name)) {
      record[name] = Look(output / name);
    }
  }
  WriteRecord(output, record);
}

}  // namespace longspan
