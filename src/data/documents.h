// Where one document of a text ends.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "longspan/data.h"

namespace longspan::data {

// What ParseDocuments reads.
const char* DocumentsName(Documents documents);
// The documents of a text, in order; none is empty or of white space only. The line break that ends
// a document is no part of it, but where everything is joined: there the text goes on.
std::vector<std::string_view> SplitDocuments(std::string_view text, Documents documents);
// Gives each of them to `use`, one after another: a text may have millions.
using UseDocument = std::function<void(std::string_view document)>;
void ForEachDocument(std::string_view text, Documents documents, const UseDocument& use);

}  // namespace longspan::data
