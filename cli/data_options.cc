#include "cli/data_options.h"

#include <fmt/format.h>

#include "cli/memory_size.h"
#include "cli/visual/command.h"
#include "cli/visual/stderr_lines.h"
#include "longspan/counted.h"
#include "longspan/data.h"

namespace longspan::cli {

void AddReadOptions(CLI::App* command, DataOptions* data, bool listed) {
  if (listed) BeginGroup(command, heading::kTexts);
  const auto list = [listed](CLI::Option* option) {
    if (!listed) option->group(heading::kMore);
    return option;
  };
  list(command->add_option_function<std::string>(
      "--format", [data](const std::string& name) { data->format = ParseDataFormat(name); },
      "Format of files and stdin: text, csv, tsv, jsonl or json (default: by the name)"));
  list(command->add_option("--encoding", data->encoding,
                           "Encoding of the texts: utf-8, latin-1, cp1252, utf-16, ...; bytes "
                           "takes prose as it stands"))
      ->capture_default_str();
  list(command->add_option(
      "--text-column,--text-field", data->text_field,
      fmt::format("Column or field that holds the texts (default: {})", data->text_field)));
  list(command->add_option_function<std::string>(
           "--max-line-bytes",
           [data](const std::string& size) {
             data->most_line_bytes = ParseMemory("--max-line-bytes", size);
           },
           "Largest line, row or text that is accepted (default: 64M)"))
      ->type_name("SIZE");
  list(command->add_flag(
      "--skip-bad", data->skip_bad,
      "Leave out rows that cannot be used and count them, instead of ending with status 3"));
}

void AddPairOption(CLI::App* command, DataOptions* data, bool listed) {
  auto* option = command->add_option_function<std::string>(
      "--text-pair-column,--text-pair-field",
      [data](const std::string& name) { data->pair_field = name; },
      "Column or field of a second text (default: text_pair; '': none)");
  option->type_name("NAME");
  if (!listed) option->group(heading::kMore);
}

CLI::Option* AddLabelOption(CLI::App* command, DataOptions* data, const char* text) {
  return command->add_option("--label-column,--label-field", data->label_field, text);
}

void AddLabelOptions(CLI::App* command, DataOptions* data, bool listed) {
  AddPairOption(command, data, listed);
  AddLabelOption(command, data,
                 "Column or field of the labels (default: label); a|b: two of a set");
}

void Refusals::Add(const TextRow& row, const Error& why) {
  if (row.given) throw Error(ErrorCode::kUsage, why.what());
  if (++count_ > kMostNamed) return;
  list_.push_back({{"input", row.name}, {"error", why.what()}});
  if (!allowed_ || row.ends_file) tell_(why.what());
}

nlohmann::ordered_json Refusals::Members() const {
  nlohmann::ordered_json members = nlohmann::ordered_json::object();
  if (count_ > 0) members = {{"refused", count_}, {"refusals", list_}};
  return members;
}

int Refusals::Finish() const {
  if (count_ > 0 && (allowed_ || count_ > kMostNamed)) {
    tell_(fmt::format("{} cannot be used{}", Counted(count_, "text"),
                      allowed_ ? (count_ == 1 ? " and is left out" : " and are left out") : ""));
  }
  if (count_ == 0 || allowed_) return 0;
  TellErrorObject(ErrorCode::kFormat,
                  fmt::format("{} cannot be used; --skip-bad leaves such texts out and ends with 0",
                              Counted(count_, "text")));
  return static_cast<int>(ErrorCode::kFormat);
}

void ForEachRow(TextSource texts, const std::function<void(TextRow& row)>& use,
                Refusals* refusals) {
  for (;;) {
    std::optional<TextRow> row = texts.Next();
    TellNotes(texts.TakeNotes());
    if (!row) return;
    UseRow(*row, use,
           [&](const TextRow& refused, const Error& why) { refusals->Add(refused, why); });
  }
}

void CheckGivenText(const char* option, const std::string& text) {
  try {
    CheckUtf8(text, option);
  } catch (const Error& error) {
    throw Error(ErrorCode::kUsage, error.what());
  }
}

}  // namespace longspan::cli
