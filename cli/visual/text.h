// Text that comes from outside and goes onto a screen or into a picture.
#pragma once

#include <string>
#include <string_view>

#include "longspan/types.h"

namespace longspan::cli {

// Valid UTF-8 without control characters: each bad byte and each control character becomes "?".
// Keeps file names from driving a terminal and from breaking an XML file.
std::string Printable(std::string_view text);

// Printable(), between quotation marks if a blank begins or ends it, or if it is empty: so that a
// table shows the blank.
std::string PrintableName(std::string_view name);

// Printable(), with &, <, >, " and ' written as XML entities.
std::string EscapeXml(std::string_view text);

// Capital letters of ASCII as small ones, whatever the locale; other bytes stay.
std::string LowerAscii(std::string_view text);

// A word that a shell reads as it is written here: in quotation marks where it needs them.
std::string ShellWord(const std::string& word);

// Columns that valid UTF-8 takes on a terminal, at one column a code point; escape sequences
// ("\x1b[...m") take none.
idx_t Columns(std::string_view text);

// The longest beginning of `text` that takes at most `columns` columns.
std::string ClipColumns(std::string_view text, idx_t columns);

// `text` and as many spaces as fill it up to `columns`.
std::string PadColumns(std::string_view text, idx_t columns);

}  // namespace longspan::cli
