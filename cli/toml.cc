#include "cli/toml.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "cli/check.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

bool IsBare(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '+' || c == '.' || c == ':';
}

// The bytes of a character in UTF-8; none: it is no character.
std::optional<std::string> Utf8(std::uint32_t code) {
  if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return std::nullopt;
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  std::string bytes;
  const auto low = [&](int shift) { bytes += static_cast<char>(0x80 | (code >> shift & 0x3f)); };
  if (code < 0x800) {
    bytes += static_cast<char>(0xc0 | code >> 6);
  } else if (code < 0x10000) {
    bytes += static_cast<char>(0xe0 | code >> 12);
    low(6);
  } else {
    bytes += static_cast<char>(0xf0 | code >> 18);
    low(12);
    low(6);
  }
  low(0);
  return bytes;
}

class TomlReader {
 public:
  TomlReader(std::string_view text, const std::string& source) : text_(text), source_(source) {}

  std::vector<TomlEntry> Run() {
    for (SkipLines(); at_ < text_.size(); SkipLines()) {
      if (text_[at_] == '[') Refuse("a table in brackets; options stand at the top of the file");
      TomlEntry entry = Entry();
      const auto [known, added] = lines_.emplace(entry.key, entry.line);
      if (!added) {
        Refuse(fmt::format("'{}' is there already, in line {}", Shown(entry.key), known->second));
      }
      entries_.push_back(std::move(entry));
      SkipBlanks();
      if (at_ < text_.size() && text_[at_] != '\n') Refuse("need one option a line");
    }
    return std::move(entries_);
  }

 private:
  static std::string Shown(std::string_view text) { return io::Escape(text, 60); }
  [[noreturn]] void Refuse(const std::string& what) const {
    Fail(ErrorCode::kFormat, "{}, line {}: {}", source_, line_, what);
  }

  // Blanks and a comment, not the end of the line.
  void SkipBlanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\r')) {
      ++at_;
    }
    if (at_ < text_.size() && text_[at_] == '#')
      at_ = std::min(text_.find('\n', at_), text_.size());
  }
  void SkipLines() {
    for (SkipBlanks(); at_ < text_.size() && text_[at_] == '\n'; SkipBlanks()) {
      ++at_;
      ++line_;
    }
  }

  TomlEntry Entry() {
    TomlEntry entry;
    entry.line = line_;
    entry.key = Value("a key");
    SkipBlanks();
    if (at_ == text_.size() || text_[at_] != '=') {
      Refuse(fmt::format("need '=' behind '{}'", Shown(entry.key)));
    }
    ++at_;
    SkipBlanks();
    entry.list = at_ < text_.size() && text_[at_] == '[';
    if (!entry.list) {
      entry.values.push_back(Value("a value"));
      return entry;
    }
    ++at_;
    for (SkipLines(); at_ < text_.size() && text_[at_] != ']'; SkipLines()) {
      entry.values.push_back(Value("a value"));
      SkipLines();
      if (at_ < text_.size() && text_[at_] == ',') {
        ++at_;
      } else if (at_ < text_.size() && text_[at_] != ']') {
        Refuse("need ',' or ']' in the list");
      }
    }
    if (at_ == text_.size()) Refuse("the list has no end");
    ++at_;
    return entry;
  }

  // A text in quotes, or a bare word.
  std::string Value(const char* what) {
    if (at_ < text_.size() && text_[at_] == '"') return Basic();
    if (at_ < text_.size() && text_[at_] == '\'') return Literal();
    const std::size_t begin = at_;
    while (at_ < text_.size() && IsBare(text_[at_])) ++at_;
    if (at_ == begin) {
      Refuse(fmt::format("need {}; texts stand between quotes: \"text\"", what));
    }
    return std::string(text_.substr(begin, at_ - begin));
  }

  std::string Literal() {
    const std::size_t end = text_.find_first_of("'\n", at_ + 1);
    if (end == text_.npos || text_[end] == '\n') Refuse("a text has no end");
    const std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }

  std::string Basic() {
    std::string value;
    for (++at_; at_ < text_.size() && text_[at_] != '\n'; ++at_) {
      if (text_[at_] == '"') {
        ++at_;
        return value;
      }
      if (text_[at_] == '\\') {
        ++at_;
        value += Escaped();
      } else {
        value += text_[at_];
      }
    }
    Refuse("a text has no end");
  }

  // The character behind a backslash; leaves at_ on its last letter.
  std::string Escaped() {
    constexpr std::string_view kLetters = "btnfr\"\\", kMeant = "\b\t\n\f\r\"\\";
    const char letter = at_ < text_.size() ? text_[at_] : '\n';
    if (const std::size_t place = kLetters.find(letter); place != kLetters.npos) {
      return std::string(1, kMeant[place]);
    }
    const std::size_t digits = letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
    std::uint32_t code = 0;
    const std::string_view hex = text_.substr(std::min(at_ + 1, text_.size()), digits);
    const auto [end, error] = std::from_chars(hex.data(), hex.data() + hex.size(), code, 16);
    const bool whole = digits > 0 && hex.size() == digits && error == std::errc() &&
                       end == hex.data() + hex.size();
    const auto character = whole ? Utf8(code) : std::nullopt;
    if (!character) Refuse("a backslash stands before no known letter; write \\\\ for one");
    at_ += digits;
    return *character;
  }

  std::string_view text_;
  const std::string& source_;
  std::size_t at_ = 0;
  int line_ = 1;
  std::vector<TomlEntry> entries_;
  std::map<std::string, int> lines_;  // of each key
};

bool IsTomlNumber(std::string_view text) {
  if (text.empty() || text.find_first_not_of("0123456789+-.eE") != text.npos) return false;
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

std::string TomlText(const std::string& value) {
  if (value == "true" || value == "false" || IsTomlNumber(value)) return value;
  std::string text = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      text += '\\';
      text += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      text += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      text += c;
    }
  }
  return text + '"';
}

}  // namespace

std::vector<TomlEntry> ParseToml(std::string_view text, const std::string& source) {
  return TomlReader(text, source).Run();
}

std::string TomlLine(const std::string& key, const std::vector<std::string>& values, bool list) {
  std::vector<std::string> texts;
  for (const std::string& value : values) texts.push_back(TomlText(value));
  const std::string joined = fmt::format("{}", fmt::join(texts, ", "));
  return fmt::format("{} = {}{}{}\n", key, list ? "[" : "", joined, list ? "]" : "");
}

}  // namespace longspan::cli
