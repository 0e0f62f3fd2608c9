// The options of a training as a file: --config reads one, and each run writes its own.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace longspan::cli {

// The file of a run's options in its folder.
inline constexpr const char* kConfigName = "run.toml";

// The placeholder of --config's value, by which it is told from options of this name that take
// other files.
inline constexpr const char* kConfigType = "TOML";

// `words` (the arguments behind the program's name) with those that the file of --config adds: its
// options, but for those that the words have, or that exclude one that they have. Without --config
// the words alone. kIo; kFormat for what is no TOML; kUsage names file and line of an option that
// the command does not have, with the most similar one.
std::vector<std::string> WithConfigFile(const CLI::App& root, std::vector<std::string> words);

// The values of the command's options, given or not, as such a file. What a run does once
// (--resume,
// --overwrite, ...) and how it reports are left out.
std::string ConfigFileText(const CLI::App& command);

}  // namespace longspan::cli
