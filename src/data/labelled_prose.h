// Prose with labels (TextRules::labels).
#pragma once

#include <string_view>

namespace longspan::data {

// Whether the first line of `text` that is not blank begins with `__label__`.
bool BeginsWithLabel(std::string_view text);

}  // namespace longspan::data
