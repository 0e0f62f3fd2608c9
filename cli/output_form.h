// The form of what a command writes. One rule decides it for all commands that have several: an
// option says it, or else the name of the file does.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace longspan::cli {

enum class OutputForm { kJsonLines, kJson, kNpy, kCsv, kTsv, kText };

// What a file's ending says: ".jsonl" or ".ndjson", ".json", ".npy", ".csv", ".tsv", ".txt", in
// letters of any case. Nothing for another one.
std::optional<OutputForm> OutputFormOfEnding(const std::filesystem::path& file);

// Whether a form is a table.
bool IsTableForm(OutputForm form);

// What a command can write.
struct OutputForms {
  std::string_view command;             // for messages
  std::span<const OutputForm> can;      // in the order in which messages list them
  OutputForm on_stdout;                 // without a file
  std::optional<OutputForm> otherwise;  // of .log and of no ending; absent: kUsage
};
// What was asked for.
struct OutputRequest {
  std::optional<std::string> named;  // --output-format
  bool json = false;                 // --json
  std::optional<std::string> file;   // -o
};
// `named` wins, then --json, then the file's ending. kUsage, with the forms that there are, for one
// that the command does not write, and for --json beside another name.
OutputForm ChooseOutputForm(const OutputForms& forms, const OutputRequest& request);

}  // namespace longspan::cli
