// Numbers before nouns, as messages and reports have them.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

#pragma GCC visibility push(default)
namespace longspan {

// "1 class", "2 classes".
template <std::integral Number>
std::string Counted(Number number, std::string_view noun, std::string_view nouns) {
  return std::to_string(number).append(" ").append(number == 1 ? noun : nouns);
}
// "1 text", "2 texts".
template <std::integral Number>
std::string Counted(Number number, std::string_view noun) {
  return Counted(number, noun, std::string(noun) + "s");
}

}  // namespace longspan
#pragma GCC visibility pop
