// What a command line is told that could not be understood: which word is unknown, and which known
// one is most like it.
#pragma once

#include <CLI/CLI.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace longspan::cli {

// The name that `word` was probably meant to be: the one that the fewest letters (inserted, left
// out, replaced, or two that changed places) separate from it. Empty when more than a third of the
// letters differ.
std::string Similar(std::string_view word, const std::vector<std::string>& names);

// The command `word` of `app`. Throws kUsage when there is none, with the most similar name.
const CLI::App* CommandOf(const CLI::App* app, const std::string& word);

// The command that these words lead to.
const CLI::App* CommandAt(const CLI::App& root, std::span<const std::string> words);

// The words with "--json" behind the command's name where it stands before that: every command that
// has it takes it there too.
std::vector<std::string> WithJsonBehindCommand(const CLI::App& root,
                                               std::vector<std::string> words);

// One line about a command line that `error` refused: its unknown options in the order typed, its
// unknown command, a command or a required option that is missing, or what `error` says; and the
// command that explains more. `words` are the arguments behind the program's name.
std::string UsageMessage(const CLI::App& root, std::span<const std::string> words,
                         const CLI::ParseError& error);

}  // namespace longspan::cli
