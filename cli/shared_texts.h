// Whether a question to a model about many texts is answered in parts, by several ranks or in
// several goes, and what must stay the same from one to the next.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "longspan/ranks.h"

namespace longspan::cli {

// The options of a command whose texts ranks can share.
struct SharedOutput {
  const CLI::App* command = nullptr;  // null: a command that cannot
  std::optional<std::string> file;    // what is written instead of stdout
  bool resume = false;                // go on from the parts of an earlier start
};

// Registers -o and --resume. `what` describes the file.
void AddSharedOutput(CLI::App& command, const std::string& what, SharedOutput& output);

// Whether the answers wait in parts (answer_parts.h): under mpirun, and with --resume. Starts the
// ranks. kUsage when they have no file to write together, or when the texts cannot be read twice.
bool IsInParts(const SharedOutput& output, const std::vector<std::string>& inputs);

// What decides the answers of a command but the texts: the program, the options, the model in this
// folder. Reads its files once.
RankFacts AnswerFacts(const CLI::App& command, const std::string& model);
// One checksum of these, without that of the program: a build anew may go on.
std::string SetupOf(const RankFacts& facts);

}  // namespace longspan::cli
