// What every option of every command refuses, whatever it is for.
#pragma once

#include <CLI/CLI.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longspan::cli {

// Adds to all options of the program, once they are registered:
// - numbers: no empty text, nothing beyond 64 bits (CLI11 would cut it to the largest number), no
//   NaN and no infinity;
// - names and paths: no empty text, which would count as not given. Options that hold a text of the
//   user's (a prompt, a title) may be empty;
// - flags: no empty value (`--json=`).
// It also takes the marks of MarkedWords off all values, before anything else looks at them.
void RefuseUnfitValues(CLI::App& app);

// kUsage for the first of these options that is given with another value than its default, because
// it would be ignored: "top-k: has no effect WHY; leave it out". Options that the command does not
// have are passed over. An option that has no effect must not be ignored in silence.
void RefuseIdle(const CLI::App& command, std::span<const char* const> options,
                std::string_view why);
// The same for the command that `app` has parsed, where one option leaves another one idle whatever
// the command is.
void RefuseIdleOptions(const CLI::App& app);

// Words of a command line for CLI::App::parse, which by itself would read some values as something
// else: "[a, b]" as a list of two, `--name=` as an option whose value is the next word, and "++" as
// the end of a command. Those words get a mark at their end, so that each value is one value as it
// is. An app that parses them has been through RefuseUnfitValues.
std::vector<std::string> MarkedWords(std::vector<std::string> words);

// A message of CLI11, which may repeat marked words, without their marks.
std::string WithoutMarks(std::string message);

// kUsage where --stride is given for windows that --overflow does not make. `overflow`: its value,
// given or not. RefuseIdleOptions calls it where it is given.
void CheckStrideHasWindows(const CLI::App& command, std::string_view overflow);

// kUsage for an option that names one folder or file, of the command that `app` has parsed, and is
// given two: results would be where nobody looks for them, or another model's. The same one again
// is no contradiction. Of settings the last one counts, so that a script may append one.
void RefuseContradictions(const CLI::App& app);

// A whole number from `least`, said in words instead of as a range that ends nowhere.
CLI::Validator AtLeast(long long least);

}  // namespace longspan::cli
