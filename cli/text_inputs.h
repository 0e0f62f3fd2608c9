// Texts that a command is asked about: files, folders, standard input, the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "longspan/data.h"

namespace longspan::cli {

struct InputOptions {
  std::vector<std::string> paths;  // files, folders, "-"
  std::vector<std::string> texts;  // as they stand
  bool lines = false;              // each line of a file of prose is a text
  bool json_lines = false;         // --format jsonl, as it was called once
  bool pairs = true;               // whether a text may come with a second one (--text-pair-column)
  DataOptions data;
};

// kUsage for --lines of files that have rows of their own, each of them: by what is said of their
// format, or by their names (`paths` may hold folders and "-").
void CheckLinesOf(bool lines, DataFormat format, const std::vector<std::string>& paths);

// Registers FILE..., --text, --lines, --json-lines and the options about reading.
void AddInputOptions(CLI::App& command, InputOptions& options);

using InputText = TextRow;

// The texts that the options name, with the fields that the command asks for.
class TextInputs : public TextSource {
 public:
  // Errors of TextSource.
  // `squad`: .json may be SQuAD's own form.
  TextInputs(const InputOptions& options, std::vector<WantedField> fields, bool squad = false);
  // Texts, alone or in pairs.
  explicit TextInputs(const InputOptions& options);

  // The same texts again, from the first one on.
  TextInputs Again() const;

  // The files that hold them; "-" is standard input.
  std::vector<std::string> Files() const;

 private:
  InputOptions options_;
  std::vector<WantedField> fields_;
  bool squad_;
};

// How long a text is with its fields, in bytes.
std::uint64_t BytesOf(const InputText& text);

// kUsage when `output` is one of the files that these paths, folders among them, mean, or lies in
// the folder of the model that reads them, or below it, whether it is there already or not.
void CheckIsNoInputOf(const std::vector<std::string>& paths, const std::filesystem::path& model,
                      const std::filesystem::path& output);

}  // namespace longspan::cli
