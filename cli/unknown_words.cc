#include "cli/unknown_words.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "cli/check.h"
#include "cli/failure.h"
#include "cli/help.h"
#include "cli/option_checks.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

constexpr std::size_t kLongestWord = 60;  // of one that is repeated in a message

// Letters inserted, left out or replaced, or neighbours that changed places, between two words.
std::size_t Distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = std::exchange(above, row);
  }
  return above[b.size()];
}

std::string Shown(const std::string& word) { return io::Escape(word, kLongestWord); }

std::vector<std::string> CommandNames(const CLI::App* app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app->get_subcommands({})) names.push_back(command->get_name());
  return names;
}

// "--tokens" and "-t" of the command and of those above it, whose options it takes too.
std::vector<std::string> OptionNames(const CLI::App* app) {
  std::vector<std::string> names;
  for (; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options([](const CLI::Option*) { return true; })) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  return names;
}

const CLI::App* FindCommand(const CLI::App* app, const std::string& name) {
  const auto found =
      app->get_subcommands([&](const CLI::App* command) { return command->get_name() == name; });
  return found.empty() ? nullptr : found.front();
}

const CLI::Option* FindOption(const CLI::App* app, const std::string& name) {
  for (; app != nullptr; app = app->get_parent()) {
    if (const CLI::Option* option = app->get_option_no_throw(name)) return option;
  }
  return nullptr;
}

std::string DidYouMean(const std::string& name) {
  return name.empty() ? name : fmt::format("; did you mean {}?", name);
}

// "train" for "lm": commands below another one are easily typed without it.
std::string WithParent(const CLI::App* app, const std::string& word) {
  for (const CLI::App* group : app->get_subcommands({})) {
    for (const std::string& name : CommandNames(group)) {
      if (name == word) return group->get_name() + " " + word;
    }
  }
  return "";
}

std::string NoCommand(const CLI::App* app, const std::string& word) {
  const std::vector<std::string> names = CommandNames(app);
  const std::string path = CommandPath(app);
  const std::string before = path.empty() ? path : path + " ";
  const std::string message = fmt::format("there is no command '{}{}'", before, Shown(word));
  std::string similar = Similar(word, names);
  if (similar.empty()) similar = WithParent(app, word);
  if (!similar.empty()) return message + DidYouMean(fmt::format("'{}{}'", before, similar));
  if (path.empty() || names.empty()) return message;
  return fmt::format("{}; {} has: {}", message, path, fmt::join(names, ", "));
}

// Follows a command line as CLI11 does, as far as names go: which command it ends at, and which
// words nobody knows.
class Walk {
 public:
  Walk(const CLI::App& root, std::span<const std::string> words) : command_(&root) {
    for (std::size_t i = 0; i < words.size() && words[i] != "--" && no_command_.empty();) {
      i += Take(words, i);
    }
  }

  const CLI::App* command() const { return command_; }
  // Where the words that name the command end: behind "lm" of "train -t 2 lm".
  std::size_t names_end() const { return names_end_; }

  // Empty: every word is known.
  std::string Problem() const {
    if (!no_command_.empty()) return no_command_;
    if (options_.empty()) return "";
    if (options_.size() == 1) return "there is no option " + options_.front();
    return fmt::format("there are no options {}", fmt::join(options_, ", "));
  }

 private:
  // How many words it took.
  std::size_t Take(std::span<const std::string> words, std::size_t i) {
    const std::string& word = words[i];
    if (word.size() > 1 && word[0] == '-') {
      return 1 + (word[1] == '-' ? TakeLong(word) : TakeShort(word));
    }
    if (const CLI::App* command = FindCommand(command_, word)) {
      command_ = command;
      names_end_ = i + 1;
      open_ = false;
    } else if (!open_ && command_->get_require_subcommand_min() > 0) {
      no_command_ = NoCommand(command_, word);
    }
    return 1;
  }

  // How many words behind an option are its values.
  std::size_t Values(const CLI::Option* option, bool has_one) {
    open_ = option->get_items_expected_max() > option->get_items_expected_min();
    const int least = option->get_items_expected_min() - (has_one ? 1 : 0);
    return static_cast<std::size_t>(std::max(0, least));
  }

  std::size_t TakeLong(const std::string& word) {
    const std::size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    if (const CLI::Option* option = FindOption(command_, name)) {
      return Values(option, equals != std::string::npos);
    }
    const std::string similar = Similar(name, OptionNames(command_));
    options_.push_back(Shown(name) + (similar.empty() ? "" : DidYouMean(similar)));
    open_ = true;  // what follows may have been its value
    return 0;
  }

  std::size_t TakeShort(const std::string& word) {
    for (std::size_t letter = 1; letter < word.size(); ++letter) {
      const std::string name = {'-', word[letter]};
      const CLI::Option* option = FindOption(command_, name);
      if (option == nullptr) {
        options_.push_back(Shown(word));
        open_ = true;
        return 0;
      }
      if (option->get_items_expected_max() > 0) return Values(option, letter + 1 < word.size());
    }
    return 0;
  }

  const CLI::App* command_;
  std::size_t names_end_ = 0;
  bool open_ = false;  // the option before takes more values, or nobody knows what it takes
  std::string no_command_;
  std::vector<std::string> options_;
};

// `text` with the first `from` in it replaced; false where it has none.
bool Replace(std::string* text, std::string_view from, std::string_view to) {
  const std::size_t at = text->find(from);
  if (at == std::string::npos) return false;
  text->replace(at, from.size(), to);
  return true;
}

// "0 to 0.99" for the "0.000000 to 0.990000" that std::to_string makes, from a place on.
std::string WithPlainNumbers(std::string text, std::size_t from) {
  for (std::size_t dot = text.find('.', from); dot != text.npos; dot = text.find('.', dot + 1)) {
    const std::size_t end = std::min(text.find_first_not_of("0123456789", dot + 1), text.size());
    if (end == dot + 1) continue;  // the end of a sentence
    const std::size_t last = text.find_last_not_of('0', end - 1);
    const std::size_t keep = last == dot ? dot : last + 1;
    text.erase(keep, end - keep);
  }
  return text;
}

// What CLI11 says of a value or a word, in our words.
std::string Plainly(std::string said) {
  if (Replace(&said, "Could not convert: ", "")) {
    Replace(&said, " = ", ": '");
    return said + "' is no number that this option takes";
  }
  if (said.ends_with(" missing") && said.find(" required ") != std::string::npos) {
    return said.substr(0, said.find(": ")) + ": a value is missing";
  }
  for (const char* start : {"The following argument was not expected: ",
                            "The following arguments were not expected: "}) {
    if (Replace(&said, start, "")) return fmt::format("there is no argument '{}'", said);
  }
  if (Replace(&said, " not in {", " is unknown, need one of ") && said.ends_with('}')) {
    said.pop_back();
  }
  if (Replace(&said, " not in range ", " is not from ")) {
    Replace(&said, "Value ", "");
    const std::size_t range = said.find(" is not from ");
    return WithPlainNumbers(std::move(said), range);
  }
  return said;
}

// What is missing, when that is what CLI11 complains about.
std::string Missing(const CLI::App* command, const CLI::ParseError& error) {
  const bool chosen = !command->get_subcommands().empty();
  if (command->get_require_subcommand_min() == 0 || chosen)
    return io::Escape(Plainly(WithoutMarks(error.what())), kLongestMessage);
  if (command->get_parent() == nullptr) return "no command is given";
  return fmt::format("a command is missing: {}", fmt::join(CommandNames(command), ", "));
}

}  // namespace

std::string Similar(std::string_view word, const std::vector<std::string>& names) {
  const std::size_t letters = word.size() - std::min(word.find_first_not_of('-'), word.size());
  std::size_t least = letters / 3 + 1;
  std::string best;
  for (const std::string& name : names) {
    const std::size_t distance = Distance(word, name);
    if (distance < least || (distance == least && best.empty())) {
      least = distance;
      best = name;
    }
  }
  return best;
}

const CLI::App* CommandOf(const CLI::App* app, const std::string& word) {
  const CLI::App* command = FindCommand(app, word);
  if (command == nullptr) Fail(ErrorCode::kUsage, "{}", NoCommand(app, word));
  return command;
}

const CLI::App* CommandAt(const CLI::App& root, std::span<const std::string> words) {
  return Walk(root, words).command();
}

std::vector<std::string> WithJsonBehindCommand(const CLI::App& root,
                                               std::vector<std::string> words) {
  const auto end = words.begin() + static_cast<std::ptrdiff_t>(Walk(root, words).names_end());
  // What stands before the command's name is no value of an option: none of the root's is "--json".
  const auto first = std::stable_partition(
      words.begin(), end, [](const std::string& word) { return word != "--json"; });
  if (end - first > 1) words.erase(first + 1, end);
  return words;
}

std::string UsageMessage(const CLI::App& root, std::span<const std::string> words,
                         const CLI::ParseError& error) {
  const Walk walk(root, words);
  const std::string path = CommandPath(walk.command());
  std::string problem = walk.Problem();
  if (problem.empty()) problem = Missing(walk.command(), error);
  const std::string before =
      path.empty() || problem.starts_with("there is no command") ? "" : path + ": ";
  return fmt::format("{}{} ('longspan help{}{}' explains it)", before, problem,
                     path.empty() ? "" : " ", path);
}

}  // namespace longspan::cli
