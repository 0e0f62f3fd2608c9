#include "cli/table_field.h"

namespace longspan::cli {

std::string TableField(std::string_view text, char separator) {
  const char odd[] = {separator, '"', '\r', '\n', '\0'};
  if (text.find_first_of(odd) == std::string_view::npos) return std::string(text);
  std::string field = "\"";
  for (const char c : text) field += c == '"' ? std::string("\"\"") : std::string(1, c);
  return field + '"';
}

}  // namespace longspan::cli
