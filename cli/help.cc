#include "cli/help.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/unknown_words.h"
#include "cli/visual/command.h"

namespace longspan::cli {
namespace {

constexpr std::size_t kNamesColumns = 32;  // where descriptions begin

struct ValueName {
  std::string_view option, value;
};
// What the values of options of these names are, wherever they stand.
constexpr ValueName kValueNames[] = {
    {"model", "DIR"},           {"output", "DIR"},
    {"tokenizer", "DIR"},       {"config", "FILE"},
    {"case", "FILE"},           {"save", "FILE"},
    {"eval", "FILE"},           {"train", "FILE"},
    {"file", "FILE"},           {"memory", "SIZE"},
    {"max-line-bytes", "SIZE"}, {"max-shard-size", "SIZE"},
    {"text", "TEXT"},           {"prompt", "TEXT"},
    {"question", "TEXT"},       {"choice", "TEXT"},
    {"pair", "TEXT"},           {"stop", "TEXT"},
    {"title", "TEXT"},          {"x-label", "TEXT"},
    {"minutes", "MINUTES"},     {"patience", "SECONDS"},
    {"trial", "SECONDS"},       {"labels", "NAME,NAME"},
    {"freeze", "NAME,NAME"},    {"train-only", "NAME,NAME"},
    {"max-time", "TIME"},       {"global", "TOKENS"},
    {"lengths", "N,N"},         {"contexts", "N,N"},
    {"global-at", "N,N"},
};

std::string Names(const CLI::Option& option) {
  if (option.get_positional() && option.get_lnames().empty() && option.get_snames().empty()) {
    return option.get_name(true, false);
  }
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return fmt::format("{}", fmt::join(names, ", "));
}

// How an error or a hint calls an option.
std::string LongName(const CLI::Option& option) {
  if (!option.get_lnames().empty()) return "--" + option.get_lnames().front();
  return option.get_snames().empty() ? option.get_name(true, false)
                                     : "-" + option.get_snames().front();
}

bool IsRepeated(const CLI::Option& option) {
  return option.get_expected_max() >= CLI::detail::expected_max_vector_size;
}

template <typename Options>
std::string LongNames(const Options& options) {
  std::vector<std::string> names;
  for (const CLI::Option* option : options) names.push_back(LongName(*option));
  std::sort(names.begin(), names.end());
  return fmt::format("{}", fmt::join(names, ", "));
}

// What a description ends with: whether it is needed, what it goes with, its default.
std::string Remarks(const CLI::Option& option) {
  std::vector<std::string> remarks;
  if (option.get_required() && !option.get_positional()) remarks.push_back("required");
  if (!option.get_needs().empty()) remarks.push_back("with " + LongNames(option.get_needs()));
  if (!option.get_excludes().empty()) {
    remarks.push_back("not with " + LongNames(option.get_excludes()));
  }
  std::string value = option.get_default_str();
  if (value.starts_with('[') && value.ends_with(']')) value = value.substr(1, value.size() - 2);
  if (!value.empty()) remarks.push_back("default: " + value);
  return remarks.empty() ? std::string() : fmt::format(" ({})", fmt::join(remarks, "; "));
}

// Two columns: names, and a description in lines of its own column.
std::string Entry(const std::string& names, const std::string& description) {
  std::string text = "  " + names;
  std::size_t column = text.size();
  const auto next_line = [&] {
    text += "\n" + std::string(kNamesColumns, ' ');
    column = kNamesColumns;
  };
  if (column + 2 > kNamesColumns) {
    next_line();
  } else {
    text += std::string(kNamesColumns - column, ' ');
    column = kNamesColumns;
  }
  for (std::size_t begin = 0; begin < description.size();) {
    const std::size_t end = std::min(description.find(' ', begin), description.size());
    const std::size_t letters = end - begin;
    const bool first = column == kNamesColumns;
    if (!first && column + 1 + letters > kPageColumns) next_line();
    if (column > kNamesColumns) {
      text += ' ';
      ++column;
    }
    text.append(description, begin, letters);
    column += letters;
    begin = end + 1;
  }
  return text + "\n";
}

std::string OptionEntry(const CLI::Option& option) {
  std::string names = Names(option);
  const std::string value = Placeholder(option);
  if (!option.get_positional() && !value.empty()) names += " " + value;
  if (IsRepeated(option) && option.get_delimiter() == '\0') names += "...";
  return Entry(names, option.get_description() + Remarks(option));
}

std::string Usage(const CLI::App* app) {
  std::string text = "Usage: longspan";
  if (const std::string path = CommandPath(app); !path.empty()) text += " " + path;
  const auto all = app->get_options([](const CLI::Option*) { return true; });
  for (const CLI::Option* option : all) {
    if (!option->get_required() || option->get_positional()) continue;
    text += option->get_snames().empty() ? " " + LongName(*option)
                                         : " -" + option->get_snames().front();
    text += " " + Placeholder(*option) + (IsRepeated(*option) ? "..." : "");
  }
  for (const CLI::Option* option : all) {
    if (!option->get_positional()) continue;
    std::string name = option->get_name(true, false);
    if (IsRepeated(*option)) name += "...";
    text += option->get_required() ? " " + name : " [" + name + "]";
  }
  if (!app->get_subcommands({}).empty()) {
    text += app->get_require_subcommand_min() > 0 ? " COMMAND" : " [COMMAND]";
  }
  return text + " [OPTIONS]\n";
}

std::string Section(const std::string& heading, const std::string& entries) {
  return entries.empty() ? std::string() : "\n" + heading + ":\n" + entries;
}

bool IsHelp(const CLI::App* app, const CLI::Option* option) {
  return app->get_parent() != nullptr && option == app->get_help_ptr();
}

// `all`: with those that are seldom needed, after the others.
std::string OptionSections(const CLI::App* app, bool all) {
  std::string arguments, more, text;
  std::vector<std::pair<std::string, std::string>> sections;  // in the order of the first options
  for (const CLI::Option* option : app->get_options([](const CLI::Option*) { return true; })) {
    if (option->get_positional()) {
      arguments += OptionEntry(*option);
    } else if (option->get_group() == heading::kMore) {
      if (all) more += OptionEntry(*option);
    } else if (!IsHelp(app, option)) {
      const auto known = std::find_if(sections.begin(), sections.end(), [&](const auto& section) {
        return section.first == option->get_group();
      });
      auto& section =
          known == sections.end() ? sections.emplace_back(option->get_group(), "") : *known;
      section.second += OptionEntry(*option);
    }
  }
  text = Section("Arguments", arguments);
  for (const auto& [heading, entries] : sections) text += Section(heading, entries);
  return text + Section(heading::kMore, more);
}

std::string CommandSections(const CLI::App* app) {
  std::vector<std::pair<std::string, std::string>> sections;
  for (const CLI::App* command : app->get_subcommands({})) {
    const std::string& group = command->get_group();
    const std::string heading = app->get_parent() == nullptr ? group : "Commands";
    if (sections.empty() || sections.back().first != heading) sections.emplace_back(heading, "");
    sections.back().second += Entry(command->get_name(), command->get_description());
  }
  std::string text;
  for (const auto& [heading, entries] : sections) text += Section(heading, entries);
  return text;
}

// One line of what the root's page explains.
std::string EveryCommandLine(const CLI::App* app) {
  const CLI::App* root = app;
  while (root->get_parent() != nullptr) root = root->get_parent();
  if (root == app) return "";
  std::vector<std::string> names;
  for (const CLI::Option* option : root->get_options([](const CLI::Option*) { return true; })) {
    const std::string name = LongName(*option);
    const bool own = app->get_option_no_throw(name) != nullptr && option != root->get_help_ptr();
    if (own || option->get_group() != kEveryCommand || name == "--version") continue;
    const std::string value = Placeholder(*option);
    names.push_back(value.empty() ? name : name + " " + value);
  }
  return fmt::format("\n{} ('longspan help' explains them):\n  {}\n", kEveryCommand,
                     fmt::join(names, "  "));
}

// Notes and examples, a blank line between them.
std::string Footer(const CLI::App* app) {
  std::string text = app->get_footer();
  if (text.empty()) return text;
  const std::size_t examples = text.find("\nExamples:");
  if (examples != std::string::npos) text.insert(examples, "\n");
  return "\n" + text + "\n";
}

}  // namespace

std::string CommandPath(const CLI::App* app) {
  std::string path;
  for (; app->get_parent() != nullptr; app = app->get_parent()) {
    path = app->get_name() + (path.empty() ? "" : " ") + path;
  }
  return path;
}

std::string Placeholder(const CLI::Option& option) {
  if (option.get_expected_max() == 0 || option.get_items_expected_max() == 0) return "";
  const std::string full = option.get_type_name();
  const std::string type = full.substr(0, full.find(':'));
  const bool named =
      type != "TEXT" && type != "ENUM" && type != "INT" && type != "UINT" && type != "FLOAT";
  if (named) return type;
  const bool whole = type == "INT" || type == "UINT";
  if (whole && option.get_delimiter() == '\0') return "N";
  for (const ValueName& known : kValueNames) {
    for (const std::string& name : option.get_lnames()) {
      if (name == known.option) return std::string(known.value);
    }
  }
  if (type == "TEXT" || type == "ENUM") return "NAME";
  return whole ? "N" : "X";
}

std::string PageFormatter::make_help(const CLI::App* app, std::string /*name*/,
                                     CLI::AppFormatMode /*mode*/) const {
  const bool root = app->get_parent() == nullptr;
  std::string text = app->get_description() + ".\n\n" + Usage(app);
  text += root ? CommandSections(app) + OptionSections(app, all_)
               : OptionSections(app, all_) + CommandSections(app);
  return text + Footer(app) + EveryCommandLine(app);
}

std::string PageOf(const CLI::App* root, std::span<const std::string> words, bool all) {
  const CLI::App* app = root;
  for (const std::string& word : words) app = CommandOf(app, word);
  // Not app->help(), which gives the page of the command that the line itself is of.
  std::string page = PageFormatter(all).make_help(app, "", CLI::AppFormatMode::Normal);
  if (all && !app->get_subcommands({}).empty()) {
    const std::string path = CommandPath(app);
    page += fmt::format("\nAdd a command, and 'longspan help --all {}' lists all of its options.\n",
                        path.empty() ? "train lm" : path + " COMMAND");
  }
  return page;
}

}  // namespace longspan::cli
