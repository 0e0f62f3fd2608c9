// Texts that a command is asked about: files, folders, standard input, the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <deque>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace longspan::cli {

struct InputOptions {
  std::vector<std::string> paths;  // files, folders, "-"
  std::vector<std::string> texts;  // as they stand
  bool lines = false;              // each line of a file is a text
  bool json_lines = false;         // standard input is JSON lines
};

// Registers FILE..., --text, --lines and --json-lines.
void AddInputOptions(CLI::App& command, InputOptions& options);

struct InputText {        // NOLINT(bugprone-exception-escape): moving JSON does not throw
  std::string name;       // "a.txt", "a.txt:12" (a line), "stdin", "text 1"
  std::string text;       // plain text; of a JSON line its "text", if it has one
  nlohmann::json fields;  // of a JSON line; null for plain text
  bool is_json() const { return fields.is_object(); }
  // A field of a JSON line. kFormat when it is missing or no string.
  std::string Field(std::string_view field) const;
  std::optional<std::string> OptionalField(std::string_view field) const;
};

// A file is one text; *.jsonl is a JSON object a line; of a folder all *.txt and *.jsonl files
// below it, in the order of their names. Files are read when their turn comes.
class TextInputs {
 public:
  // kUsage when there is nothing to read or a folder holds nothing; kIo for what does not exist.
  explicit TextInputs(InputOptions options);
  // The next few texts, as many as are worth running together; none: that was all.
  std::vector<InputText> NextChunk();

 private:
  struct Source {
    explicit Source(std::string name) : path(std::move(name)) {}
    std::string path;  // "-": standard input
    std::string content;
    std::size_t at = 0, line = 0;
    bool open = false, lines = false, json = false;
  };
  void AddFolder(const std::string& path);
  void Open(Source& source) const;
  std::optional<InputText> Next();
  InputText NextLine(Source& source) const;

  InputOptions options_;
  std::deque<Source> sources_;
  std::size_t next_text_ = 0;
};

}  // namespace longspan::cli
