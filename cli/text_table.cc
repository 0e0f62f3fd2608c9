#include "cli/text_table.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "cli/table_field.h"
#include "cli/visual/json_text.h"
#include "cli/visual/text.h"

namespace longspan::cli {

std::string CellOf(const nlohmann::ordered_json& value) {
  if (value.is_null()) return "";
  if (value.is_number_float() && !std::isfinite(value.get<double>())) return "";
  std::string text = JsonText(value);  // an integer of any length is written by this alone
  return text.starts_with('"') ? value.get<std::string>() : text;
}

std::vector<std::vector<std::string>> LinesOf(const nlohmann::ordered_json& list,
                                              std::initializer_list<const char*> members) {
  std::vector<std::vector<std::string>> lines;
  for (const nlohmann::ordered_json& one : list) {
    std::vector<std::string>& cells = lines.emplace_back();
    for (const char* member : members) cells.push_back(CellOf(one.at(member)));
  }
  return lines;
}

TextTable::TextTable(OutputForm form, std::function<void(const std::string&)> note)
    : separator_(form == OutputForm::kTsv ? '\t' : ','), note_(std::move(note)) {}

std::string TextTable::Header(bool ids, std::span<const std::string> columns) {
  begun_ = true;
  has_ids_ = ids;
  std::string line = "input";
  if (ids) line += fmt::format("{}id", separator_);
  for (const std::string& column : columns) line += separator_ + TableField(column, separator_);
  return line + '\n';
}

std::string TextTable::Begin(const nlohmann::ordered_json& described) {
  const std::string input = CellOf(described.at("input"));
  const bool id = described.contains("id");
  std::string line = TableField(input, separator_);
  if (has_ids_) {
    line += separator_;
    if (id) line += TableField(CellOf(described.at("id")), separator_);
  } else if (id && !told_) {
    told_ = true;
    note_(
        fmt::format("{}: has an id, but the table began without; ids are left out from here on "
                    "(.jsonl keeps them)",
                    Printable(input)));
  }
  return line;
}

std::string TextTable::Line(const nlohmann::ordered_json& described,
                            std::span<const std::string> cells) {
  std::string line = Begin(described);
  for (const std::string& cell : cells) line += separator_ + TableField(cell, separator_);
  return line + '\n';
}

}  // namespace longspan::cli
