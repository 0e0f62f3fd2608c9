#include "cli/config_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "cli/check.h"
#include "cli/help.h"
#include "cli/toml.h"
#include "cli/unknown_words.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

constexpr std::uint64_t kMostConfigBytes = std::uint64_t{1} << 20;

// Options that a file does not have: of one process, not of the run.
constexpr std::array kOfOneProcess = {"help",      "config",   "resume", "extend",
                                      "overwrite", "progress", "json"};

bool IsOfOneProcess(const CLI::Option* option) {
  return std::any_of(kOfOneProcess.begin(), kOfOneProcess.end(),
                     [&](const char* name) { return option->check_lname(name); });
}

bool IsFlag(const CLI::Option* option) { return option->get_items_expected_max() == 0; }

// The options of a command that a file may have, in the order of its page.
std::vector<const CLI::Option*> ConfigOptions(const CLI::App& command) {
  std::vector<const CLI::Option*> found;
  for (const CLI::Option* option : command.get_options()) {
    if (!option->get_lnames().empty() && !IsOfOneProcess(option)) found.push_back(option);
  }
  return found;
}

bool IsGiven(const CLI::Option* option, const std::vector<std::string>& words) {
  const auto names = [&](const std::string& word) {
    for (const std::string& name : option->get_lnames()) {
      if (word == "--" + name || word.starts_with("--" + name + "=")) return true;
    }
    const bool is_short = word.size() > 1 && word[0] == '-' && word[1] != '-';
    return is_short && option->check_sname(word.substr(1, 1));
  };
  return std::any_of(words.begin(), words.end(), names);
}

bool ExcludesGiven(const CLI::Option* option, const std::vector<std::string>& words) {
  const auto& others = option->get_excludes();
  return std::any_of(others.begin(), others.end(),
                     [&](const CLI::Option* other) { return IsGiven(other, words); });
}

// The value of --config; none: it is not there. Without one it is CLI11's to refuse.
std::optional<std::string> ConfigIn(const std::vector<std::string>& words) {
  constexpr std::string_view kName = "--config";
  for (std::size_t i = 0; i < words.size() && words[i] != "--"; ++i) {
    if (words[i].starts_with(fmt::format("{}=", kName))) return words[i].substr(kName.size() + 1);
    if (words[i] == kName && i + 1 < words.size()) return words[i + 1];
  }
  return std::nullopt;
}

const CLI::Option* OptionOf(const CLI::App& command, const TomlEntry& entry,
                            const std::string& place) {
  std::vector<std::string> names;
  for (const CLI::Option* option : ConfigOptions(command)) {
    if (option->check_lname(entry.key)) return option;
    for (const std::string& name : option->get_lnames()) names.push_back(name);
  }
  const std::string similar = Similar(entry.key, names);
  Fail(ErrorCode::kUsage, "{}: a file of {} has no option '{}'{}", place, CommandPath(&command),
       io::Escape(entry.key, 60),
       similar.empty() ? std::string() : fmt::format("; did you mean {}?", similar));
}

// Adds the words of one option.
void AddWords(const CLI::Option* option, const TomlEntry& entry, const std::string& place,
              std::vector<std::string>* words) {
  const std::string name = "--" + option->get_lnames().front();
  if (IsFlag(option)) {
    const bool known = !entry.list && (entry.values[0] == "true" || entry.values[0] == "false");
    Check(known, ErrorCode::kUsage, "{}: {} needs true or false", place, entry.key);
    if (entry.values[0] == "true") words->push_back(name);
    return;
  }
  Check(option->get_items_expected_max() > 1 || entry.values.size() == 1, ErrorCode::kUsage,
        "{}: {} takes one value, not a list of {}", place, entry.key, entry.values.size());
  for (const std::string& value : entry.values) {
    words->push_back(fmt::format("{}={}", name, value));
  }
}

}  // namespace

std::vector<std::string> WithConfigFile(const CLI::App& root, std::vector<std::string> words) {
  const std::optional<std::string> file = ConfigIn(words);
  const CLI::App& command = *CommandAt(root, words);
  const CLI::Option* config = command.get_option_no_throw("--config");
  if (!file || config == nullptr || config->get_type_name() != kConfigType) return words;
  const std::string source = io::EscapeName(*file);
  const std::vector<std::string> typed = words;
  for (const TomlEntry& entry : ParseToml(io::ReadWholeFile(*file, kMostConfigBytes), source)) {
    const std::string place = fmt::format("{}, line {}", source, entry.line);
    const CLI::Option* option = OptionOf(command, entry, place);
    if (IsGiven(option, typed) || ExcludesGiven(option, typed)) continue;
    AddWords(option, entry, place, &words);
  }
  return words;
}

std::string ConfigFileText(const CLI::App& command) {
  std::string text =
      fmt::format("# The options of this run. `longspan {} --config THIS -o OTHER` repeats it.\n",
                  CommandPath(&command));
  for (const CLI::Option* option : ConfigOptions(command)) {
    const auto& others = option->get_excludes();
    const bool excluded = std::any_of(others.begin(), others.end(),
                                      [](const CLI::Option* other) { return other->count() > 0; });
    const std::string& key = option->get_lnames().front();
    if (option->count() > 0) {
      const bool list = option->get_items_expected_max() > 1;
      text += TomlLine(key, IsFlag(option) ? std::vector<std::string>{"true"} : option->results(),
                       list);
    } else if (!IsFlag(option) && !excluded && !option->get_default_str().empty()) {
      text += TomlLine(key, {option->get_default_str()}, false);
    }
  }
  return text;
}

}  // namespace longspan::cli
