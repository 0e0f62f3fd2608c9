// Options about how files of texts are read: in one meaning in every command.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "longspan/data.h"
#include "longspan/error.h"
#include "longspan/types.h"

namespace longspan::cli {

// Registers --format, --encoding, --text-column (--text-field), --max-line-bytes and --skip-bad.
// Not `listed`: they work and are not in the help, which has kReading at its end instead.
void AddReadOptions(CLI::App* command, DataOptions* data, bool listed = true);
inline constexpr const char* kReading =
    "docs/reference/data.md explains how texts are read, and these options, which work here too:\n"
    "--format, --encoding, --text-column, --text-pair-column, --skip-bad, --max-line-bytes.\n";
// The same where the columns have options of their own.
inline constexpr const char* kReadingRows =
    "docs/reference/data.md explains how texts are read, and these options, which work here too:\n"
    "--format, --encoding, --skip-bad, --max-line-bytes.\n";
// Registers --text-pair-column, --label-column, or both, each with its -field spelling.
void AddPairOption(CLI::App* command, DataOptions* data, bool listed = true);
CLI::Option* AddLabelOption(CLI::App* command, DataOptions* data, const char* text);
void AddLabelOptions(CLI::App* command, DataOptions* data, bool listed = true);

// Rows and texts that a command is asked about and that cannot be used: each is named, the others
// are answered, and the command ends with 3; with --skip-bad they are counted, and it ends with 0.
class Refusals {
 public:
  // `tell` shows a line on stderr, whether or not progress is shown.
  Refusals(bool allowed, std::function<void(const std::string&)> tell)
      : allowed_(allowed), tell_(std::move(tell)) {}
  // What is lost with more than a row is named in any case. What stands on the command line is the
  // caller's to put right: kUsage.
  void Add(const TextRow& row, const Error& why);
  // Tells how many there were where they were not named. The exit code.
  int Finish() const;

  idx_t count() const { return count_; }
  // What a document says of them: nothing, or {"refused": N, "refusals": [{"input", "error"}, ...]}
  // with the first ones.
  nlohmann::ordered_json Members() const;

 private:
  static constexpr idx_t kMostNamed = 100;
  bool allowed_;
  std::function<void(const std::string&)> tell_;
  idx_t count_ = 0;
  nlohmann::ordered_json list_ = nlohmann::ordered_json::array();
};

// Gives each row of `texts` to `use`, or to `refusals` when the reader or `use` itself says that it
// cannot be used (kFormat). Notes go to stderr, before the rows that follow them.
void ForEachRow(TextSource texts, const std::function<void(TextRow& row)>& use, Refusals* refusals);

// kUsage for a text of the command line that is not UTF-8; `option` names it.
void CheckGivenText(const char* option, const std::string& text);

}  // namespace longspan::cli
