// Tables about texts that commands write: a header, and lines that begin with the text they are
// about.
#pragma once

#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "cli/output_form.h"

namespace longspan::cli {

// A value as a cell of any table that a command writes: texts as they are, null and NaN empty, all
// else as in JSON: 0.25, 1.0, true, ["a","b"]. An integer of any length keeps its digits.
std::string CellOf(const nlohmann::ordered_json& value);

// The cells of a line for each object of a list, from these members.
std::vector<std::vector<std::string>> LinesOf(const nlohmann::ordered_json& list,
                                              std::initializer_list<const char*> members);

// The lines of a .csv or .tsv (RFC 4180): `input`, `id` where the first texts have one, and columns
// of the command's own.
class TextTable {
 public:
  // `form` is kCsv or kTsv. `note` gets what is odd, a line each.
  TextTable(OutputForm form, std::function<void(const std::string&)> note);

  bool begun() const { return begun_; }  // whether there is a header
  // Its header. `ids`: whether the first texts have an id.
  std::string Header(bool ids, std::span<const std::string> columns);
  // What a line about a text begins with: its input, and its id where there is such a column.
  // `described` is what TaskRun::Describe says of it.
  std::string Begin(const nlohmann::ordered_json& described);
  // A whole line.
  std::string Line(const nlohmann::ordered_json& described, std::span<const std::string> cells);
  char separator() const { return separator_; }

 private:
  char separator_;
  std::function<void(const std::string&)> note_;
  bool begun_ = false, has_ids_ = false, told_ = false;
};

}  // namespace longspan::cli
