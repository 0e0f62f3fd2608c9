// The form of the pages that --help and `longspan help` print: at most 100 columns, options under
// the headings of their groups, and placeholders that say what a value is (DIR, FILE, SIZE, N).
#pragma once

#include <CLI/CLI.hpp>
#include <span>
#include <string>

namespace longspan::cli {

inline constexpr std::size_t kPageColumns = 100;
// The group of those options of the root that every command takes.
inline constexpr const char* kEveryCommand = "Options of every command";

class PageFormatter : public CLI::Formatter {
 public:
  // `all`: options that pages leave to their closing words have a section of their own too.
  explicit PageFormatter(bool all = false) : all_(all) {}
  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override;

 private:
  bool all_;
};

// "train lm"; empty for the root.
std::string CommandPath(const CLI::App* app);

// What stands for an option's value: "DIR", "N"; empty for a flag.
std::string Placeholder(const CLI::Option& option);

// The page of the command that these words name, one below the other; of the root for none. `all`:
// with every option that the command takes. Throws kUsage for a word that names no command there,
// with the most similar name.
std::string PageOf(const CLI::App* root, std::span<const std::string> words, bool all);

}  // namespace longspan::cli
