#include "cli/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/files.h"

namespace longspan::cli {
namespace {

using test::PutFile;
using test::TempDir;
using test::Throws;
using testing::ElementsAre;

// A program with one command that has options of every form.
class ConfigFile : public testing::Test {
 protected:
  ConfigFile() {
    app.require_subcommand(1);
    CLI::App* run = app.add_subcommand("run");
    run->add_option("--config", file)->type_name(kConfigType);
    run->add_option("-o,--output", output)->required();
    run->add_option("--train", train)->required();
    run->add_option("--learning-rate,--lr", rate)->capture_default_str();
    auto* epochs = run->add_option("--epochs", passes)->capture_default_str();
    run->add_option("--steps", steps)->excludes(epochs);
    run->add_flag("--packed", packed);
    run->add_flag("--resume", resume);
    app.add_subcommand("other")->add_option("--config", file);  // of another form
  }

  std::vector<std::string> With(std::vector<std::string> words) const {
    return WithConfigFile(app, std::move(words));
  }
  std::string Config(const std::string& text) const {
    return PutFile(d / "options.toml", text).string();
  }

  TempDir d;
  CLI::App app;
  std::string file, output;
  std::vector<std::string> train;
  double rate = 0.001, passes = 3.0;
  int steps = 0;
  bool packed = false, resume = false;
};

TEST_F(ConfigFile, AddsWhatTheCommandLineDoesNotHave) {
  const std::string path = Config(
      "output = \"mine\"\ntrain = [\"a b\", \"c\"]\nlearning-rate = -1\npacked = true\n"
      "epochs = 2\nresume = false\n");
  EXPECT_TRUE(Throws(
      [&] {
        With({"run", "--config", path});
      },
      ErrorCode::kUsage, "line 6: a file of run has no option 'resume'"));
  const std::string good =
      Config("output = \"mine\"\ntrain = [\"a b\", \"c\"]\nlr = -1\npacked = true\nepochs = 2\n");
  EXPECT_THAT(With({"run", "--config", good}),
              ElementsAre("run", "--config", good, "--output=mine", "--train=a b", "--train=c",
                          "--learning-rate=-1", "--packed", "--epochs=2"));
  EXPECT_THAT(With({"run", "-omine", "--config=" + good, "--learning-rate=3", "--train", "x",
                    "--packed", "--steps", "4"}),
              ElementsAre("run", "-omine", "--config=" + good, "--learning-rate=3", "--train", "x",
                          "--packed", "--steps", "4"));
  // Without --config, and for a command that has none.
  EXPECT_THAT(With({"run", "-o", "x"}), ElementsAre("run", "-o", "x"));
  EXPECT_THAT(With({"other", "--config", good}), ElementsAre("other", "--config", good));
}

TEST_F(ConfigFile, NamesWhatIsWrong) {
  const auto refuses = [&](const char* text, ErrorCode code, const char* said) {
    const std::string path = Config(text);
    return Throws([&] { With({"run", "--config", path}); }, code, said);
  };
  EXPECT_TRUE(refuses("\nlearning-rat = 1", ErrorCode::kUsage,
                      "line 2: a file of run has no option 'learning-rat'; did you mean "
                      "learning-rate?"));
  EXPECT_TRUE(refuses("packed = 1", ErrorCode::kUsage, "packed needs true or false"));
  EXPECT_TRUE(refuses("output = [\"a\", \"b\"]", ErrorCode::kUsage, "takes one value"));
  EXPECT_TRUE(refuses("output", ErrorCode::kFormat, "need '='"));
  EXPECT_TRUE(Throws(
      [&] {
        With({"run", "--config", (d / "none").string()});
      },
      ErrorCode::kIo, "none"));
}

TEST_F(ConfigFile, IsWrittenWithEveryValue) {
  const auto parse = [&](std::vector<std::string> words) {
    const std::vector<std::string> all = With(std::move(words));
    std::vector<std::string> reversed(all.rbegin(), all.rend());
    app.parse(reversed);
    return ConfigFileText(*app.get_subcommand("run"));
  };
  const std::string text = parse({"run", "-o", "a \"b\"", "--train", "x", "y", "--packed"});
  EXPECT_EQ(text.substr(text.find('\n') + 1),
            "output = \"a \\\"b\\\"\"\ntrain = [\"x\", \"y\"]\nlearning-rate = 0.001\nepochs = 3\n"
            "packed = true\n");
  // What is written gives the same again, and an option that excludes a default takes its place.
  EXPECT_EQ(parse({"run", "--config", Config(text)}), text);
  const std::string by_steps = parse({"run", "--config", Config(text), "--steps", "4"});
  EXPECT_EQ(by_steps.find("epochs"), std::string::npos) << by_steps;
  EXPECT_NE(by_steps.find("steps = 4"), std::string::npos) << by_steps;
}

}  // namespace
}  // namespace longspan::cli
