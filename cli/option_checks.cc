#include "cli/option_checks.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "cli/check.h"
#include "cli/help.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

// Options whose value is text of the user's own. A `text` that is given once only is a file.
constexpr std::string_view kTexts[] = {"pair",  "question", "prompt", "stop",
                                       "title", "x-label",  "choice", "TEXT"};

// Options whose empty value says that there is none.
constexpr std::string_view kNoneIfEmpty[] = {"text-pair-column"};

bool MayBeEmpty(const CLI::Option& option) {
  return std::any_of(option.get_lnames().begin(), option.get_lnames().end(),
                     [](const std::string& name) {
                       return std::find(std::begin(kNoneIfEmpty), std::end(kNoneIfEmpty), name) !=
                              std::end(kNoneIfEmpty);
                     });
}

bool HoldsText(const CLI::Option& option) {
  const auto is_text = [](const std::string& name) {
    return std::find(std::begin(kTexts), std::end(kTexts), name) != std::end(kTexts);
  };
  if (option.get_single_name() == "text") return option.get_expected_max() > 1;
  return is_text(option.get_single_name()) ||
         std::any_of(option.get_lnames().begin(), option.get_lnames().end(), is_text);
}

// The end of a marked word (MarkedWords): a control character that no option's value needs. A word
// that ends in it by itself is marked too, and loses one mark alone.
constexpr char kMark = '\x1f';

bool NeedsMark(const std::string& word) {
  const bool empty_value = word.starts_with("--") && word.find('=') + 1 == word.size();
  return empty_value || word == "++" || word.ends_with(']') || word.ends_with(kMark);
}

constexpr const char* kEmptyNumber = "needs a number, it is empty";

// What CLI11's own readers (strtoll, strtoull) let pass: they cut what is too large.
std::string SignedProblem(const std::string& text) {
  if (text.empty()) return kEmptyNumber;
  errno = 0;
  std::strtoll(text.c_str(), nullptr, 0);
  return errno == ERANGE ? "needs a number of 64 bits at most, not " + text : std::string();
}

std::string UnsignedProblem(const std::string& text) {
  if (text.empty()) return kEmptyNumber;
  if (text.find('-') != text.npos) return "needs a number from 0, not " + text;
  errno = 0;
  std::strtoull(text.c_str(), nullptr, 0);
  return errno == ERANGE ? "needs a number of 64 bits at most, not " + text : std::string();
}

std::string FloatProblem(const std::string& text) {
  if (text.empty()) return kEmptyNumber;
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return end != text.c_str() && !std::isfinite(value) ? "needs a finite number, not " + text
                                                      : std::string();
}

std::string TextProblem(const std::string& text) {
  return text.empty() ? std::string("needs a value, it is empty") : std::string();
}

std::string FlagProblem(const std::string& text) {
  return text.empty() ? std::string("takes no value, leave the = out") : std::string();
}

// The values that the option is given lose their marks: first of all checks, and in place.
void TakeMarksOff(CLI::Option& option) {
  option.transform(CLI::Validator(
      [](std::string& text) {
        if (text.ends_with(kMark)) text.pop_back();
        return std::string();
      },
      ""));
}

void RefuseUnfitValues(CLI::Option& option) {
  TakeMarksOff(option);
  const std::string type = option.get_type_name();
  std::string (*problem)(const std::string&) = nullptr;
  if (option.get_items_expected_max() == 0) {
    problem = FlagProblem;
  } else if (type.starts_with("INT")) {
    problem = SignedProblem;
  } else if (type.starts_with("UINT")) {
    problem = UnsignedProblem;
  } else if (type.starts_with("FLOAT")) {
    problem = FloatProblem;
  } else if (!HoldsText(option) && !MayBeEmpty(option)) {
    problem = TextProblem;
  }
  if (problem == nullptr) return;
  option.check(CLI::Validator([problem](std::string& text) { return problem(text); }, ""));
}

}  // namespace

void CheckStrideHasWindows(const CLI::App& command, std::string_view overflow) {
  const CLI::Option* stride = command.get_option_no_throw("--stride");
  const bool shares = stride != nullptr && stride->count() > 0 && stride->results().back() != "0";
  const bool none = overflow == "error" || overflow.starts_with("truncate");
  Check(!shares || !none, ErrorCode::kUsage,
        "stride: it is what neighbouring windows share, and --overflow {} makes none; leave one of "
        "them out",
        overflow);
}

void RefuseIdle(const CLI::App& command, std::span<const char* const> options,
                std::string_view why) {
  for (const char* name : options) {
    const CLI::Option* option = command.get_option_no_throw(name);
    if (option == nullptr || option->count() == 0) continue;
    const bool agrees = !option->get_default_str().empty() &&
                        option->results() == std::vector<std::string>{option->get_default_str()};
    Check(agrees, ErrorCode::kUsage, "{}: has no effect {}; leave it out", name + 2, why);
  }
}

namespace {

// Whether a command that reads files is given none: all texts stand on the command line.
bool ReadsNoFile(const CLI::App& command) {
  constexpr const char* kFiles[] = {"FILE", "--file", "--among"};
  bool may_read = false;
  for (const char* name : kFiles) {
    const CLI::Option* files = command.get_option_no_throw(name);
    if (files == nullptr) continue;
    if (files->count() > 0) return false;
    may_read = true;
  }
  const CLI::Option* texts = command.get_option_no_throw("TEXT");  // "-" is stdin
  const bool stdin_too =
      texts != nullptr && std::count(texts->results().begin(), texts->results().end(), "-") > 0;
  return may_read && !stdin_too;
}

}  // namespace

void RefuseIdleOptions(const CLI::App& app) {
  for (const CLI::App* command : app.get_subcommands()) {
    const CLI::Option* temperature = command->get_option_no_throw("--temperature");
    if (temperature != nullptr && temperature->count() > 0 &&
        std::strtod(temperature->results().back().c_str(), nullptr) == 0.0) {
      constexpr const char* kOfDraws[] = {"--top-k", "--top-p", "--seed"};
      RefuseIdle(*command, kOfDraws, "with --temp 0, which always takes the most likely token");
    }
    const CLI::Option* overflow = command->get_option_no_throw("--overflow");
    if (overflow != nullptr && overflow->count() > 0) {
      CheckStrideHasWindows(*command, overflow->results().back());
    }
    if (ReadsNoFile(*command)) {
      constexpr const char* kOfFiles[] = {"--lines",    "--json-lines",  "--format",
                                          "--encoding", "--text-column", "--text-pair-column"};
      RefuseIdle(*command, kOfFiles, "without a file to read");
    }
    RefuseIdleOptions(*command);
  }
}

void RefuseContradictions(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_multi_option_policy() != CLI::MultiOptionPolicy::TakeLast) continue;
    if (option->get_expected_max() > 1) continue;  // a list, whose values follow each other
    const std::string kind = Placeholder(*option);
    if (kind != "DIR" && kind != "FILE") continue;  // a setting: the last one counts
    const std::vector<std::string>& given = option->results();
    if (given.size() < 2) continue;
    const auto other = std::find_if(given.begin(), given.end(), [&given](const std::string& value) {
      return value != given.front();
    });
    Check(other == given.end(), ErrorCode::kUsage, "{} is given twice: {} and {}; give one",
          option->get_name(), io::Escape(given.front()),
          other == given.end() ? "" : io::Escape(*other));
  }
  for (const CLI::App* command : app.get_subcommands()) RefuseContradictions(*command);
}

std::vector<std::string> MarkedWords(std::vector<std::string> words) {
  for (std::string& word : words) {
    if (NeedsMark(word)) word += kMark;
  }
  return words;
}

std::string WithoutMarks(std::string message) {
  std::erase(message, kMark);
  return message;
}

CLI::Validator AtLeast(long long least) {
  const auto problem = [least](std::string& text) {
    if (std::string unfit = SignedProblem(text); !unfit.empty()) return unfit;
    long long value = 0;
    const bool fits = CLI::detail::lexical_cast(text, value) && value >= least;
    return fits ? std::string()
                : "needs a whole number from " + std::to_string(least) + ", not " + text;
  };
  return {problem, ""};
}

void RefuseUnfitValues(CLI::App& app) {
  for (CLI::Option* option : app.get_options([](CLI::Option*) { return true; }))
    RefuseUnfitValues(*option);
  const auto all = [](CLI::App*) { return true; };
  for (CLI::App* command : app.get_subcommands(all)) RefuseUnfitValues(*command);
}

}  // namespace longspan::cli
