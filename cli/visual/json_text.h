// JSON as the program prints it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace longspan::cli {

// A value as text: `indent` spaces a level (negative: one line). Bytes of a string that are not
// UTF-8 (a path, a name from the command line) become U+FFFD: it is always written, and is always
// JSON.
std::string JsonText(const nlohmann::ordered_json& value, int indent = -1);
// A whole document, with a line break at its end.
std::string DumpJson(const nlohmann::ordered_json& document, int indent = 2);

// JSON text of somebody else's as a value. An integer of any length keeps its digits.
nlohmann::ordered_json ParsedJson(const std::string& text);

}  // namespace longspan::cli
