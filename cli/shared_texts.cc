#include "cli/shared_texts.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <span>
#include <string_view>

#include "cli/check.h"
#include "cli/ranks.h"
#include "cli/visual/command.h"
#include "longspan/files.h"
#include "longspan/world.h"

namespace longspan::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kResume = "--resume";

// Options that change how answers are written and told, and no answer. The model has a checksum.
constexpr std::string_view kOnlyForm[] = {"help",  "output", "output-format", "resume",   "json",
                                          "quiet", "ranges", "precision",     "skip-bad", "model"};

bool IsOneOf(std::string_view name, std::span<const std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The long name of an option, or the name of a word: "output", "FILE".
std::string PlainName(const CLI::Option& option) {
  return option.get_lnames().empty() ? option.get_single_name() : option.get_lnames().front();
}

std::string SettingsOf(const CLI::App& command) {
  std::string text = command.get_name();
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = PlainName(*option);
    if (option->count() == 0 || IsOneOf(name, kOnlyForm)) continue;
    text += fmt::format(" {}={}", name, fmt::join(option->results(), ","));
  }
  return text;
}

// The files of a model's folder and of the folders in it (pooling, dense layers), but the
// checkpoints of a run.
std::vector<fs::path> ModelFiles(const fs::path& model) {
  std::vector<fs::path> files;
  const auto add = [&](const fs::path& folder, std::vector<fs::path>* folders) {
    std::error_code error;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
      const std::string name = at->path().filename().string();
      if (name.starts_with('.')) continue;
      if (at->is_regular_file(error)) files.push_back(at->path());
      const bool inner = at->is_directory(error) && !name.starts_with("checkpoint-");
      if (inner && folders != nullptr) folders->push_back(at->path());
    }
  };
  std::vector<fs::path> folders;
  add(model, &folders);
  for (const fs::path& folder : folders) add(folder, nullptr);
  if (files.empty()) files.push_back(model);
  std::sort(files.begin(), files.end());
  return files;
}

std::string ModelChecksum(const fs::path& model) {
  std::string all;
  for (const fs::path& file : ModelFiles(model)) {
    all += fmt::format("{} {}\n", file.filename().string(), io::FileChecksum(file));
  }
  return io::ChecksumOf(all);
}

}  // namespace

void AddSharedOutput(CLI::App& command, const std::string& what, SharedOutput& output) {
  output.command = &command;
  BeginGroup(&command, heading::kOutput);
  command
      .add_option_function<std::string>(
          "-o,--output", [to = &output.file](const std::string& name) { *to = name; }, what)
      ->type_name("FILE");
  command.add_flag(kResume, output.resume,
                   "Keep finished texts beside -o while they wait, and go on from them");
}

bool IsInParts(const SharedOutput& output, const std::vector<std::string>& inputs) {
  if (output.command == nullptr) return false;
  const int ranks = StartRanks().size();
  const std::string name = output.command->get_name();
  Check(ranks == 1 || output.file, ErrorCode::kUsage,
        "{}: {} ranks write one file together, not to stdout; name it with -o FILE", name, ranks);
  Check(!output.file || *output.file != "-", ErrorCode::kUsage,
        "{}: -o names a file; leave it out, and the answers go to stdout", name);
  Check(!output.resume || output.file, ErrorCode::kUsage,
        "resume: finished texts wait beside the output; name it with -o FILE");
  if (ranks == 1 && !output.resume) return false;
  for (const std::string& input : inputs) {
    std::error_code error;
    const auto status = fs::status(input, error);
    const bool odd =
        fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status);
    Check(input != "-" && !odd, ErrorCode::kUsage,
          "{}: {} cannot be read twice, as {} needs; write it into a file first", name,
          input == "-" ? "stdin" : io::EscapeName(input), ranks > 1 ? "mpirun" : "--resume");
  }
  return true;
}

RankFacts AnswerFacts(const CLI::App& command, const std::string& model) {
  RankFacts facts = ProgramFacts();
  facts["the command"] = SettingsOf(command);
  facts["the model's checksum"] = ModelChecksum(model);
  return facts;
}

std::string SetupOf(const RankFacts& facts) {
  std::string all;
  for (const auto& [name, value] : facts) {
    if (name != "the program's checksum") all += fmt::format("{}: {}\n", name, value);
  }
  return io::ChecksumOf(all);
}

}  // namespace longspan::cli
