// Fields of tables that the program writes.
#pragma once

#include <string>
#include <string_view>

namespace longspan::cli {

// A field of a table, in quotes where it needs them (RFC 4180).
std::string TableField(std::string_view text, char separator);

}  // namespace longspan::cli
