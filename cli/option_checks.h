// What every option of every command refuses, whatever it is for.
#pragma once

#include <CLI/CLI.hpp>
#include <span>
#include <string_view>

namespace longspan::cli {

// Adds to all options of the program, once they are registered:
// - numbers: no empty text, nothing beyond 64 bits (CLI11 would cut it to the largest number), no
//   NaN and no infinity;
// - names and paths: no empty text, which would count as not given. Options that hold a text of the
//   user's (a prompt, a title) may be empty.
void RefuseUnfitValues(CLI::App& app);

// kUsage for the first of these options that is given with another value than its default, because
// it would be ignored: "top-k: has no effect WHY; leave it out". Options that the command does not
// have are passed over. An option that has no effect must not be ignored in silence.
void RefuseIdle(const CLI::App& command, std::span<const char* const> options,
                std::string_view why);
// The same for the command that `app` has parsed, where one option leaves another one idle whatever
// the command is.
void RefuseIdleOptions(const CLI::App& app);

// kUsage where --stride is given for windows that --overflow does not make. `overflow`: its value,
// given or not. RefuseIdleOptions calls it where it is given.
void CheckStrideHasWindows(const CLI::App& command, std::string_view overflow);

// A whole number from `least`, said in words instead of as a range that ends nowhere.
CLI::Validator AtLeast(long long least);

}  // namespace longspan::cli
