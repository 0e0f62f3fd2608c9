// Where one document of a text ends.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace longspan::data {

// With its file, at every blank line, at every line; kJoined: all files are one.
enum class Documents { kFile, kBlankLine, kLine, kJoined };
// "file", "blank-line", "line", and "joined" where it is allowed; kUsage otherwise.
Documents ParseDocuments(const std::string& name, bool joined = false);

// The documents of a text, in order; none is empty or of white space only. The line break that ends
// a document is no part of it, but where everything is joined: there the text goes on.
std::vector<std::string_view> SplitDocuments(std::string_view text, Documents documents);

}  // namespace longspan::data
