#include "io/json_events.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

namespace longspan::io {
namespace {

// What the parser's own message says, and what stands in ours.
struct Wording {
  std::string_view library, ours;
};
constexpr Wording kInStrings[] = {
    {"missing closing quote", "a string is not closed"},
    {"ill-formed UTF-8", "a byte that is no UTF-8"},
    {"surrogate", "half a surrogate pair"},
    {"4 hex digits", "\\u without four hexadecimal digits"},
    {"after backslash", "an escape that JSON does not have"},
};
constexpr Wording kWanted[] = {
    {"expected string literal", "a name in double quotes"},
    {"expected ':'", "a colon"},
    {"expected ']'", "a comma or the end of the list"},
    {"expected '}'", "a comma or the end of the object"},
    {"expected end of input", "nothing"},
};

std::string_view Find(std::span<const Wording> list, std::string_view library) {
  for (const Wording& wording : list) {
    if (library.find(wording.library) != library.npos) return wording.ours;
  }
  return {};
}

std::string Shown(std::string_view token) {
  const bool text = token.size() > 1 && token.starts_with('"') && token.ends_with('"');
  return text ? fmt::format("the text '{}'", Escape(token.substr(1, token.size() - 2), 40))
              : fmt::format("'{}'", Escape(token, 40));
}

// What stands at a place: a word, a number, or a character.
std::string_view WordAt(std::string_view text, std::size_t at) {
  constexpr std::string_view kBetween = " \t\r\n,:[]{}\"";
  const std::string_view rest = text.substr(at);
  return rest.substr(0,
                     std::max<std::size_t>(1, std::min(rest.find_first_of(kBetween), rest.size())));
}

bool InWord(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
         c == '+' || c == '.';
}

// Where the word begins that holds a place; a character that stands for itself is one.
std::size_t WordBegin(std::string_view text, std::size_t at) {
  while (at > 0 && (at == text.size() || InWord(text[at])) && InWord(text[at - 1])) --at;
  return at;
}

}  // namespace

std::string PlaceIn(std::string_view text, std::size_t at) {
  const std::string_view before = text.substr(0, at);
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const std::string_view line = before.substr(lines == 0 ? 0 : before.rfind('\n') + 1);
  const auto characters = std::count_if(line.begin(), line.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  });
  return fmt::format("line {}, column {}", lines + 1, characters + 1);
}

JsonFault FaultOf(std::string_view text, std::size_t position, std::string_view last_token,
                  std::string_view library) {
  // Behind this the text itself is quoted.
  const std::string_view what = library.substr(0, library.find("; last read"));
  const auto says = [&](std::string_view part) { return what.find(part) != what.npos; };
  std::size_t at = std::min(position > 0 ? position - 1 : 0, text.size());
  if (says("number overflow")) {
    const std::size_t begin = WordBegin(text, at);
    return {begin, fmt::format("{}: the number overflows, JSON's are doubles here",
                               Escape(WordAt(text, begin), 40))};
  }
  if (const std::string_view fault = Find(kInStrings, what); !fault.empty()) {
    const bool ended = at >= text.size();
    return {at, fmt::format("{}{}", fault,
                            ended ? "" : fmt::format(": '{}'", Escape(text.substr(at, 1))))};
  }
  if (says("control character")) {
    return {at,
            fmt::format("the control character 0x{:02x} stands bare in a string (a line break is "
                        "written \\n there)",
                        static_cast<unsigned>(static_cast<unsigned char>(text[at])))};
  }
  // A word ends at the first character that does not fit: "nul}".
  const bool unknown = says("invalid literal") || says("invalid comment") || says("invalid BOM");
  const bool behind =
      unknown && at > 0 && InWord(text[at - 1]) && (at == text.size() || !InWord(text[at]));
  if (behind) --at;
  const std::string_view found =
      Find(kWanted, library.substr(std::min(library.rfind("; expected "), library.size())));
  const std::string_view wanted = found.empty() ? "a value" : found;
  if (at >= text.size()) return {at, fmt::format("ends too early, where {} must stand", wanted)};
  if (says("invalid number")) {
    return {at,
            fmt::format("'{}' in a number, where a digit must stand", Escape(text.substr(at, 1)))};
  }
  // A word that JSON does not have, or a token in a wrong place, which was read to its end.
  // Of texts and numbers the parser has the whole token; of the rest, all since the last of those.
  const bool known = text[at] == '"' || (text[at] >= '0' && text[at] <= '9');
  const std::size_t length = known && !unknown ? std::min(last_token.size(), at + 1) : 0;
  const std::size_t begin = length > 0 ? at + 1 - length : WordBegin(text, at);
  const std::string token = Shown(length > 0 ? text.substr(begin, length) : WordAt(text, begin));
  if (unknown && found.empty()) return {begin, token + " is no JSON"};
  if (wanted == "nothing") return {begin, token + " stands behind the end"};
  return {begin, fmt::format("{} stands where {} must", token, wanted)};
}

}  // namespace longspan::io
