#include "cli/text_inputs.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "cli/check.h"
#include "cli/data_options.h"
#include "cli/visual/command.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"

namespace longspan::cli {

void CheckLinesOf(bool lines, DataFormat format, const std::vector<std::string>& paths) {
  if (!lines) return;
  Check(format == DataFormat::kAuto || format == DataFormat::kText, ErrorCode::kUsage,
        "lines: it is for prose, and tables and JSON have rows of their own; leave it or --format "
        "out");
  // Beside prose a table is read as what it is.
  const bool rows = !paths.empty() && std::all_of(paths.begin(), paths.end(), [](const auto& path) {
    return DataFormatOf(path) != DataFormat::kText;
  });
  Check(format == DataFormat::kText || !rows, ErrorCode::kUsage,
        "lines: it is for prose, and {} has rows of its own; leave it out, or say --format text",
        rows ? Printable(paths.front()) : "");
}

namespace {

// kUsage for options about the form of the texts that do not go together.
void CheckForms(const InputOptions& options) {
  const DataFormat format = options.data.format;
  Check(!options.json_lines || format == DataFormat::kAuto || format == DataFormat::kJsonLines,
        ErrorCode::kUsage,
        "json-lines: it is --format jsonl, and --format names another one; leave one of them out");
  Check(!options.lines || !options.json_lines, ErrorCode::kUsage,
        "lines: it is for prose, and tables and JSON have rows of their own; leave it or "
        "--json-lines out");
  CheckLinesOf(options.lines, format, options.paths);
}

TextRules RulesOf(const InputOptions& options, std::vector<WantedField> fields, bool squad) {
  CheckForms(options);
  TextRules rules;
  rules.options = options.data;
  if (options.json_lines && rules.options.format == DataFormat::kAuto) {
    rules.options.format = DataFormat::kJsonLines;
  }
  rules.fields = std::move(fields);
  rules.fields.push_back({"id", false, true});  // comes back with the result
  rules.lines = options.lines;
  rules.squad = squad;
  rules.missing_hint = " (a text itself is given with --text)";
  return rules;
}

std::vector<WantedField> TextFields(const DataOptions& data) {
  std::vector<WantedField> fields = {{data.text_field, true}};
  if (const auto pair = PairFieldOf(data)) fields.push_back(*pair);
  return fields;
}

}  // namespace

void AddInputOptions(CLI::App& command, InputOptions& options) {
  command
      .add_option("FILE", options.paths,
                  "Texts, tables (.csv, .tsv), JSON (.jsonl, .json) or folders of them; - is stdin")
      ->type_name("FILE");
  BeginGroup(&command, heading::kTexts);
  command.add_option("--text", options.texts, "Text to read instead of files; may be given again")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command.add_flag("--lines", options.lines, "Take each line of a file as a text of its own");
  command.add_flag("--json-lines", options.json_lines, "Read JSON lines, as --format jsonl does");
  AddReadOptions(&command, &options.data);
  if (options.pairs) AddPairOption(&command, &options.data);
}

void CheckIsNoInputOf(const std::vector<std::string>& paths, const std::filesystem::path& model,
                      const std::filesystem::path& output) {
  const std::vector<std::string> files = ListTextFiles(paths);
  CheckIsNoInput(output, files);
  std::error_code none;
  const auto folder = std::filesystem::weakly_canonical(output, none).parent_path();
  for (std::filesystem::path above = folder; !above.empty(); above = above.parent_path()) {
    Check(
        !std::filesystem::equivalent(above, model, none), ErrorCode::kUsage,
        "output: {} is in the model's folder, which holds the model alone; write to another place",
        Printable(output.string()));
    if (above == above.root_path()) break;
  }
}

TextInputs::TextInputs(const InputOptions& options, std::vector<WantedField> fields, bool squad)
    : TextSource(options.paths, options.texts, RulesOf(options, fields, squad)),
      options_(options),
      fields_(std::move(fields)),
      squad_(squad) {}

TextInputs::TextInputs(const InputOptions& options)
    : TextInputs(options, TextFields(options.data)) {}

TextInputs TextInputs::Again() const { return TextInputs(options_, fields_, squad_); }

std::vector<std::string> TextInputs::Files() const {
  return options_.paths.empty() ? std::vector<std::string>() : ListTextFiles(options_.paths);
}

std::uint64_t BytesOf(const InputText& text) {
  std::uint64_t bytes = text.text.size();
  for (const auto& [name, value] : text.fields) bytes += value.size();
  return bytes;
}

}  // namespace longspan::cli
