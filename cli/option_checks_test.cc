// Values of every option of every command, as a shell hands them over.
#include "cli/option_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/help.h"
#include "tests/support/files.h"

namespace longspan::cli {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

using Words = std::vector<std::string>;

class OptionValues : public testing::Test {
 protected:
  OptionValues() { AddCommands(app, globals, action); }

  // What CLI11 says of `words`; empty: nothing.
  std::string Parse(const Words& words) {
    Words reversed = MarkedWords(words);
    std::reverse(reversed.begin(), reversed.end());
    value_refused = false;
    try {
      app.parse(reversed);
    } catch (const CLI::ParseError& error) {
      value_refused = dynamic_cast<const CLI::ValidationError*>(&error) != nullptr ||
                      dynamic_cast<const CLI::ConversionError*>(&error) != nullptr;
      return WithoutMarks(error.what());
    } catch (const std::exception& error) {
      value_refused = true;
      return error.what();
    }
    return {};
  }

  // work(command, the words that name it) for each command that does something.
  using Work = std::function<void(CLI::App&, const Words&)>;
  void ForEachCommand(const Work& work) { Below(app, {}, work); }

  CLI::App app;
  Globals globals;
  Action action;
  bool value_refused = false;  // for what it is, by the last Parse

 private:
  void Below(CLI::App& command, const Words& words, const Work& work) {
    if (command.get_require_subcommand_min() == 0) work(command, words);
    for (CLI::App* child : command.get_subcommands({})) {
      Words longer = words;
      longer.push_back(child->get_name());
      Below(*child, longer, work);
    }
  }
};

bool IsPositional(const CLI::Option* option) { return option->get_positional(); }
bool TakesValues(const CLI::Option* option) {
  return !option->get_lnames().empty() && option->get_items_expected_max() > 0;
}
bool IsFlag(const CLI::Option* option) { return option->get_items_expected_max() == 0; }

Words With(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST_F(OptionValues, InBracketsAreOneValue) {
  std::size_t options = 0, positionals = 0;
  ForEachCommand([&](CLI::App& command, const Words& name) {
    for (const CLI::Option* option : command.get_options(TakesValues)) {
      const bool cut = option->get_delimiter() != '\0';
      for (const std::string value : {cut ? "[a]" : "[a, b]", "[]", "x\x1f"}) {
        for (const Words& words : {Words{"--" + option->get_lnames()[0], value},
                                   Words{"--" + option->get_lnames()[0] + "=" + value}}) {
          Parse(With(name, words));
          EXPECT_THAT(option->results(), ElementsAre(value))
              << command.get_name() << " " << option->get_name();
        }
      }
      ++options;
    }
    const auto places = command.get_options(IsPositional);
    for (const char* value : {"[a, b]", "[]", "++"}) {
      Parse(With(name, Words(places.size(), value)));
      Words taken;
      for (const CLI::Option* option : places) taken = With(taken, option->results());
      EXPECT_THAT(taken, SizeIs(places.size())) << command.get_name();
      EXPECT_THAT(taken, Each(value)) << command.get_name();
    }
    positionals += places.size();
  });
  EXPECT_GT(options, 300);
  EXPECT_GT(positionals, 15);
  // Several of them, and what is no list.
  Parse({"embed", "[0].txt", "-m", "M", "--text", "[MASK] a [MASK]", "--text=[CLS]"});
  const CLI::App* embed = app.get_subcommand("embed");
  EXPECT_THAT(embed->get_option("--text")->results(), ElementsAre("[MASK] a [MASK]", "[CLS]"));
  EXPECT_THAT(embed->get_option("FILE")->results(), ElementsAre("[0].txt"));
}

TEST_F(OptionValues, AfterAnEqualsSignMayBeEmpty) {
  std::set<std::string> taken;
  ForEachCommand([&](CLI::App& command, const Words& name) {
    for (const CLI::Option* option : command.get_options(TakesValues)) {
      const std::string& own = option->get_lnames()[0];
      Parse(With(name, {"--" + own + "=", "--" + own + "=x"}));
      if (!value_refused) taken.insert(own);
      EXPECT_EQ(option->results()[0], "") << command.get_name() << " --" << own;
      EXPECT_THAT(option->results(), SizeIs(2)) << command.get_name() << " --" << own;
    }
    for (const CLI::Option* option : command.get_options(IsFlag)) {
      if (option->get_lnames().empty() || option->check_lname("help")) continue;
      Parse(With(name, {"--" + option->get_lnames()[0] + "="}));
      EXPECT_TRUE(value_refused) << command.get_name() << " " << option->get_name();
    }
  });
  EXPECT_THAT(taken, ElementsAre("choice", "pair", "prompt", "question", "stop", "text",
                                 "text-pair-column", "title", "x-label"));
  EXPECT_THAT(Parse({"embed", "--json="}), HasSubstr("--json: takes no value"));
  EXPECT_THAT(Parse({"embed", "--model=", "x"}), HasSubstr("--model: needs a value, it is empty"));
  EXPECT_THAT(Parse({"embed", "-m", "M", "--text=", "--normalize"}), IsEmpty());
  EXPECT_THAT(app.get_subcommand("embed")->get_option("--text")->results(), ElementsAre(""));
}

TEST_F(OptionValues, OfAnOptionThatNamesAPlaceContradictEachOther) {
  std::set<std::string> tried;
  ForEachCommand([&](CLI::App& command, const Words&) {
    for (CLI::Option* option : command.get_options(TakesValues)) {
      const std::string value = Placeholder(*option);
      const bool one = option->get_expected_max() == 1 && (value == "DIR" || value == "FILE") &&
                       option->get_multi_option_policy() != CLI::MultiOptionPolicy::TakeAll;
      const std::string name = option->get_name();
      option->add_result("1");
      option->add_result("1");
      EXPECT_NO_THROW(RefuseContradictions(command)) << command.get_name() << " " << name;
      option->add_result("2");
      if (one) {
        tried.insert(command.get_name() + " " + name);
        EXPECT_TRUE(test::Throws([&] { RefuseContradictions(command); }, ErrorCode::kUsage,
                                 name + " is given twice: 1 and 2; give one"))
            << command.get_name();
      } else {
        EXPECT_NO_THROW(RefuseContradictions(command)) << command.get_name() << " " << name;
      }
      option->clear();
    }
  });
  EXPECT_THAT(tried, testing::IsSupersetOf({"embed --output", "generate --model", "lm --output",
                                            "lm --eval", "eval --predictions"}));
  for (const char* more : {"embed --text", "tokenize --file", "lm --train", "lm --steps",
                           "generate --prompt", "eval --tokens"}) {
    EXPECT_FALSE(tried.contains(more)) << more;
  }
}

}  // namespace
}  // namespace longspan::cli
