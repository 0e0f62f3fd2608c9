// tokenizer.json: one document that describes a whole tokenizer.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "text/subword_tokenizer.h"

namespace longspan::text {

// The parts that a tokenizer.json describes. A component, an option or a field that is not known
// here is refused (kFormat) by its name, never passed over: ids would silently be others. The
// sections `truncation` and `padding` are read and not applied: see Overflow.
TokenizerParts ReadTokenizerJson(const nlohmann::json& document, std::string_view source);

}  // namespace longspan::text
