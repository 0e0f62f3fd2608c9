// Numbers before nouns.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "longspan/types.h"

namespace longspan::cli {

// "1 text", "2 texts".
inline std::string Counted(idx_t number, std::string_view noun) {
  return fmt::format("{} {}{}", number, noun, number == 1 ? "" : "s");
}
// "1 class", "2 classes".
inline std::string Counted(idx_t number, std::string_view noun, std::string_view nouns) {
  return fmt::format("{} {}", number, number == 1 ? noun : nouns);
}

}  // namespace longspan::cli
