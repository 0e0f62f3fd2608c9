// The part of TOML that a file of options needs: keys at the top with texts, numbers, true and
// false, and lists of these. No tables, dates or lists in lists.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace longspan::cli {

// One key with its value, or the values of a list. Numbers and truth values are as they were typed.
struct TomlEntry {
  std::string key;
  std::vector<std::string> values;
  bool list = false;
  int line = 0;  // counts from 1
};

// In the order of the text. `source` names it in messages. kFormat names the line of what is no
// TOML, of what is beyond this part of it, and of a key that is there twice.
std::vector<TomlEntry> ParseToml(std::string_view text, const std::string& source);

// "key = value" with a line break. Values that are numbers, true or false stand as they are, others
// between quotes.
std::string TomlLine(const std::string& key, const std::vector<std::string>& values, bool list);

}  // namespace longspan::cli
